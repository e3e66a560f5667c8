"""The benchmark of the model's shapes, as far as its command line goes."""

import runpy

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "resnet50", "nonsense"], "argument --only: invalid choice: 'nonsense'"),
        (["--batch", "0"], "argument --batch: '0' is not a whole number from 1 on"),
        (["--threads", "-1"], "argument --threads: '-1' is not a whole number from 1 on"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["bench_model", *words])
    with pytest.raises(SystemExit) as refused:
        runpy.run_module("scripts.bench_model", run_name="__main__")
    assert refused.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
