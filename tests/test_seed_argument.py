"""Seeds as they are typed: what no draw can take is one line, not a traceback."""

import pytest

from model_export.seed_argument import seed
from model_export.vehicle_model import main


def test_every_seed_of_63_bits_is_taken() -> None:
    assert [seed("0"), seed("17"), seed(str(2**63 - 1))] == [0, 17, 2**63 - 1]


@pytest.mark.parametrize("typed", ["-1", str(2**63), "1" * 5000, "1.5", "", "\u00b2"])
@pytest.mark.parametrize(
    "words",
    [
        ["data", "describe", "x.csv"],
        ["data", "render", "--meshes", "m", "--out", "o"],
        ["export", "m.pt", "--out", "o"],
        ["evaluate", "m.onnx", "--data", "x.csv"],
        ["figures", "m.onnx", "--data", "x.csv", "--out", "o"],
        ["reproduce", "--out", "o"],
    ],
    ids=" ".join,
)
def test_other_seeds_are_refused_in_one_line(words: list[str], typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*words, f"--seed={typed}"])
    assert refused.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--seed: " in last
    assert "is not a whole number from 0 to 9223372036854775807" in last
