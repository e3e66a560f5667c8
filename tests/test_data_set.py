"""Data sets by their spec."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Finding, open_data_set


@pytest.mark.parametrize("prefix", ["", "manifest:"])
def test_a_manifest_is_a_data_set(data: Path, prefix: str) -> None:
    opened = open_data_set(f"{prefix}manifest.csv", root=data)
    assert opened.name == data.name
    assert opened.protocol == "cross-camera"
    assert len(opened.part("train")) == len((data / "manifest.csv").read_text().splitlines()) - 1
    with pytest.raises(InvalidValue, match="no part 'query'; it has train"):
        opened.part("query")


def test_a_home_folder_is_found_behind_the_colon(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(data))
    assert open_data_set("manifest:~/manifest.csv").root == data


@pytest.mark.parametrize(("spec", "words"), [("market:x", "'market' is not one of"), ("manifest:", "names no place")])
def test_a_spec_that_says_nothing_known_is_refused(spec: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        open_data_set(spec)


def test_what_cost_pictures_is_told() -> None:
    cost = Finding(what="missing picture", count=2, skipped=2, examples=("a.jpg", "b.jpg"))
    free = Finding(what="one picture of a vehicle", count=5)
    data_set = DataSet(name="x", root=Path("d"), protocol="veri776", parts={}, findings=(cost, free))
    assert data_set.left_out() == ("x: missing picture; left out 2 (as a.jpg, b.jpg)",)


def test_what_would_falsify_a_result_is_refused() -> None:
    odd = Finding(what="3 vehicles in train and test", count=3, examples=("7", "9"))
    sound = DataSet(name="x", root=Path("d"), protocol="veri776", parts={}, findings=(odd,))
    sound.require_sound()
    wrong = DataSet(name="x", root=Path("d"), protocol="veri776", parts={}, findings=(
        Finding(what="3 vehicles in train and test", count=3, examples=("7", "9"), fatal=True),))  # fmt: skip
    with pytest.raises(InvalidValue, match=r"x at d: 3 vehicles in train and test \(7, 9\)"):
        wrong.require_sound()
