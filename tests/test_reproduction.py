"""A whole reproduction, minute as it is: every row of every table is trained, measured and told."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import ModelError
from model_export.exporting.onnx_export import export_model
from model_export.reproducing.budgets import chosen_budget
from model_export.reproducing.experiment_data import given
from model_export.reproducing.paper_figures import PaperFigures
from model_export.reproducing.reproduction import Reproduction
from model_export.reproducing.tables import TABLES, chosen_tables, trained_rows
from model_export.training.checkpoint import load_checkpoint
from model_export.training.mnet_training import restore
from tests import data_set_trees

MINUTE = replace(
    chosen_budget("small"),
    overrides=("fit.iterations=3", "resize=36", "model.input_size=32", "sources.0.p=4",
               "sources.0.k=2", "model.vnet=tiny"),
    vnet_overrides=("fit.iterations=40", "fit.learning_rate=5e-3", "model.vnet=tiny", 'pretrained=""'),
)  # fmt: skip


def reproduction(data: Path, out: Path, tables: str, *overrides: str) -> Reproduction:
    return Reproduction(
        budget=replace(MINUTE, overrides=(*MINUTE.overrides, *overrides)), tables=chosen_tables(tables), out=out,
        data=given(f"manifest:{data / 'manifest.csv'}", "", "part=test", seed=0), quiet=True,
        paper={"veri776": {"split-4-glam": PaperFigures(rank_1=0.125)}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    lines: list[str] = []
    path = reproduction(data, tmp_path_factory.mktemp("whole"), "1,2,3,4,5,6,7").run(lines.append)
    return path, lines


def test_every_row_has_its_figures_its_seed_and_its_time(whole: tuple[Path, list[str]]) -> None:
    path, lines = whole
    rows = trained_rows(tuple(TABLES.values()))
    assert len(lines) == 1 + len(rows) + 1
    assert all(re.search(r"rank-1 \d+\.\d%, mAP \d+\.\d%, in 0:00:\d\d$", line) for line in lines[1:-1]), lines
    text = path.read_text(encoding="utf-8")
    for row in rows:
        cells = next(line for line in text.splitlines() if line.startswith(f"| {row.title} |")).split(" | ")
        assert len(cells) == 9, cells
        assert all(re.fullmatch(r"\d+\.\d", cell) for cell in cells[1:4])
        assert cells[7] == "0"
        assert re.match(r"0:00:\d\d", cells[8])
    assert "| not trained |" not in text
    for number in TABLES:
        assert f"\n## {number}. " in text
    assert "| 12.5 | not found |" in text  # what is known of the paper, and what is not
    assert "| 14,714,688 | none | 512 |" in text  # Baseline-1 on VGG16
    assert "borne out" not in text  # three iterations say nothing


def test_the_rows_are_models_that_can_be_exported(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = whole[0].parent / "rows"
    content = load_checkpoint(folder / "baseline-2" / "mvan.pt", kind="mvan")
    assert "fit" not in content  # what only going on needs is dropped
    restored = restore(folder / "baseline-2" / "mvan.pt")
    assert export_model(restored, tmp_path / "model.onnx").against_pytorch <= 1e-4


def test_finished_rows_are_kept_and_unfinished_ones_taken_up(
    whole: tuple[Path, list[str]], data: Path, tmp_path: Path
) -> None:
    first: list[str] = []
    reproduction(data, tmp_path, "3").run(first.append)
    rows = tmp_path / "rows"
    before = (rows / "loss-softmax" / "mvan.pt").stat().st_mtime_ns
    (rows / "split-4-glam" / "row.json").unlink()  # as if it had been killed while measuring
    again: list[str] = []
    path = reproduction(data, tmp_path, "3").run(again.append)
    assert [("finished before" in line) for line in again[:4]] == [True, True, True, False]
    assert (rows / "loss-softmax" / "mvan.pt").stat().st_mtime_ns == before
    assert "(from iteration 3 on)" in path.read_text(encoding="utf-8")
    figures = r"rank-1 \d+\.\d%, mAP \d+\.\d%"
    assert [re.findall(figures, line) for line in first[:-1]] == [re.findall(figures, line) for line in again[:-1]]


def test_another_configuration_is_refused_by_name_before_anything_is_lost(data: Path, tmp_path: Path) -> None:
    reproduction(data, tmp_path, "2").run(lambda _: None)
    with pytest.raises(ModelError, match=r"baseline-3 was made with margin = 0\.5, now it is 0\.4; give another --out"):
        reproduction(data, tmp_path, "2", "margin=0.4").run(lambda _: None)
    other = reproduction(data, tmp_path, "2")
    other = replace(other, data=given(other.data.spec, "", "25%", seed=0))
    with pytest.raises(ModelError, match=r"vnet was made with sources\.0\.hold_out = 'part=test', now it is '25%'"):
        other.run(lambda _: None)


def test_an_interrupted_training_does_not_go_on_with_other_pictures(data: Path, tmp_path: Path) -> None:
    run = reproduction(data, tmp_path, "2")
    run.run(lambda _: None)
    (tmp_path / "vnet" / "vnet.json").unlink()  # as if killed before it was finished
    with pytest.raises(ModelError, match="vnet was made from other pictures"):
        replace(run, data=replace(run.data, digest="another")).run(lambda _: None)


def test_only_the_counted_table_trains_nothing(data: Path, tmp_path: Path) -> None:
    path = reproduction(data, tmp_path, "6").run(lambda _: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tables.md"]
    assert "44,144,064" in path.read_text(encoding="utf-8")  # Baseline-2: three times VGG16


def test_one_network_needs_no_v_net(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    one = replace(chosen_tables("7")[0], rows=chosen_tables("7")[0].rows[:1])
    replace(reproduction(data, tmp_path, "7"), tables=(one,)).run(lines.append)
    assert lines[0].startswith("[ 1/1] the stronger recipe on one network: rank-1 ")
    assert not (tmp_path / "vnet").exists()


def test_two_viewpoints_of_vehicleid(data: Path, tmp_path: Path) -> None:
    place = data_set_trees.vehicleid(tmp_path / "vid")
    found = given(f"vehicleid:{place}", str(data / "manifest.csv"), "", seed=0)
    run = replace(reproduction(data, tmp_path / "out", "2", "sources.0.p=2"), data=found)
    text = run.run(lambda _: None).read_text(encoding="utf-8")
    assert "Baseline-3" in text
    assert "Baseline-4" not in text  # two of two views are all
    assert "vehicleid, 10 draws" in text
