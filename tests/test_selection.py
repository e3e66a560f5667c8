"""Rows kept back: that a vehicle never lies on both sides."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.selection import Selection, data_set_name, read_rows


def test_selection_never_splits_a_vehicle(data: Path) -> None:
    rows = read_rows(data / "manifest.csv", "vehicle_id")
    kept, held = Selection.parse("25%").split(rows, seed=1)
    assert len({row.vehicle_id for row in held}) == 3
    assert not {row.vehicle_id for row in held} & {row.vehicle_id for row in kept}
    assert Selection.parse("25%").split(rows, seed=1) == (kept, held)
    for wrong in ("x", "0%", "=3", "100%"):
        with pytest.raises(InvalidValue, match="hold_out"):
            Selection.parse(wrong)
    with pytest.raises(InvalidValue, match="matches no row"):
        Selection.parse("part=nothing").split(rows, seed=0)


def test_a_data_set_is_called_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_set_name(Path("data/road-vehicles/manifest.csv")) == "road-vehicles"
    monkeypatch.chdir(tmp_path)
    assert data_set_name(Path("manifest.csv")) == tmp_path.name
