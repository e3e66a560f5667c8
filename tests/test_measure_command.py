"""``vehicle-model evaluate`` and ``figures`` as they are typed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from model_export.vehicle_model import main
from tests import data_set_trees
from tests.conftest import untrained, write_checkpoint


def test_evaluate_tells_figures_and_writes_them(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"manifest:{data / 'manifest.csv'}"
    assert (
        main(["evaluate", str(tiny_model), "--data", spec, "--part", "part=test", "--json", str(tmp_path / "f.json")])
        == 0
    )
    told = capsys.readouterr().out
    written = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert f"rank-1 {written['rank_1']:.1%}"[:9] in told
    assert "18 probes × 72" in told
    assert main(["evaluate", str(tiny_model), "--data", spec, "--part", "part=test", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert main(["evaluate", str(tiny_checkpoint), "--data", spec, "--rerank", "--seed", "3", "--json", "-"]) == 0
    reranked = json.loads(capsys.readouterr().out)
    assert (reranked["reranked"], reranked["seed"], reranked["probes"]) == (True, 3, 72)


def test_a_share_is_drawn_as_the_model_drew_what_it_held_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restored = untrained()
    restored = replace(restored, config=replace(restored.config, fit=replace(restored.config.fit, seed=7)))
    checkpoint, file = write_checkpoint(tmp_path / "m.pt", restored), tmp_path / "m.onnx"
    assert main(["export", str(checkpoint), "--out", str(file)]) == 0
    capsys.readouterr()
    for model in (checkpoint, file):
        words = ["evaluate", str(model), "--data", str(data / "manifest.csv"), "--part", "25%"]
        assert main(words) == 0
        assert "probes 25% (seed 7)" in capsys.readouterr().out
        assert main([*words, "--seed", "0"]) == 0
        assert "probes 25% (seed 0)" in capsys.readouterr().out


def test_figures_are_told_before_a_file_that_cannot_be_written(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny_model), "--data", str(data / "manifest.csv"), "--json", "/dev/full"]) == 2
    told = capsys.readouterr()
    assert "rank-1 " in told.out
    assert "--json /dev/full cannot be written: " in told.err


def test_public_sets_are_measured_by_their_own_protocol(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    veri, vehicleid = data_set_trees.veri776(tmp_path / "veri"), data_set_trees.vehicleid(tmp_path / "vid")
    assert main(["evaluate", str(tiny_model), "--data", f"veri776:{veri}", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["protocol"], told["probes"], told["gallery"], told["excluded"]) == ("veri776", 2, 6, 0)
    assert (
        main(["evaluate", str(tiny_model), "--data", f"vehicleid:{vehicleid}", "--part", "2,2400", "--json", "-"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert {name: (own["probes"], own["gallery"]) for name, own in told["test_lists"].items()} == {
        "2": (2, 2),
        "2400": (3, 3),
    }
    assert (told["protocol"], told["test_list"], told["draws"]) == ("vehicleid", "2400", 10)


def test_figures_go_into_the_contract_of_a_copy(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(data / "manifest.csv"), "--part", "part=test"]
    out = tmp_path / "told.onnx"
    assert main(["evaluate", str(tiny_model), *words, "--json", "-", "--into", str(out)]) == 0
    told = capsys.readouterr()
    assert f"written into {out}" in told.err
    assert main(["describe", str(out)]) == 0
    (kept,) = (each for each in json.loads(capsys.readouterr().out)["metrics"].values() if "cmc" in each)
    assert kept["cmc"] == json.loads(told.out)["cmc"]
    for model, more, message in (
        (tiny_model, ["--rerank"], "does not go with --rerank"), (tiny_checkpoint, [], "export .* first"),
    ):  # fmt: skip
        assert main(["evaluate", str(model), *words, "--into", str(tmp_path / "no.onnx"), *more]) == 2
        assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "no.onnx").exists()


def test_figures_names_its_page(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["figures", str(tiny_model), "--data", str(data / "manifest.csv"), "--out", str(tmp_path / "out")]
    assert main([*words, "--baseline", str(tiny_checkpoint), "--count", "2", "--part", "25%"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "index.html")
    assert len(list((tmp_path / "out").glob("ranking-*.png"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "market:x"], "'market' is not one of"),
        (["--data", "manifest:none.csv"], "none.csv does not exist"),
        (["--data", "{data}/manifest.csv", "--part", "part=none"], "--part part=none matches no row"),
        (["--data", "{data}/manifest.csv", "--json", "{data}/no/f.json"], "--json {data}/no/f.json cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: list[str], message: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny_model), *(word.format(data=data) for word in words)]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("vehicle-model: ")
    assert message.format(data=data) in told


def test_other_viewpoints_alone_may_count(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(tiny_model), "--data", str(data / "manifest.csv"), "--part", "part=test", "--json", "-"]
    assert main([*words, "--protocol", "cross-viewpoint"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["protocol"], told["probes"], told["gallery"]) == ("cross-viewpoint", 18, 18)
