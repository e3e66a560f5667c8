"""Checkpoints: whole, or refused by name."""

from pathlib import Path

import pytest

from index.errors import InvalidValue, ModelError
from model_export.network.mvan import MVANConfig
from model_export.training.checkpoint import (
    first_difference,
    load_checkpoint,
    require_another,
    require_writable,
    save_checkpoint,
    set_aside,
)
from model_export.training.configuration import as_mapping, from_mapping


def test_checkpoints_are_whole_or_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"kind": "vnet", "x": 1})
    assert load_checkpoint(tmp_path / "a.pt", kind="vnet")["x"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    with pytest.raises(ModelError, match="a mvan one is needed"):
        load_checkpoint(tmp_path / "a.pt", kind="mvan")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "b.pt", kind="vnet")


def test_an_out_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        require_writable(tmp_path / "file" / "x.pt")
    require_writable(tmp_path / "new" / "x.pt")
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(ModelError, match="it is a folder"):
        require_writable(tmp_path)


def test_what_is_written_never_replaces_what_it_is_made_from(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(b"model")
    with pytest.raises(InvalidValue, match=r"model\.pt is the model that it would be made from"):
        require_another(tmp_path / "." / "model.pt", model)
    with pytest.raises(InvalidValue, match="is a folder; name a file"):
        require_another(tmp_path, model)
    require_another(tmp_path / "other.onnx", model)


def test_a_run_from_before_a_key_existed_goes_on_at_its_default() -> None:
    before = as_mapping(MVANConfig(backbone="tiny"))
    del before["fusion"]
    now = as_mapping(MVANConfig(backbone="tiny"))
    assert first_difference(before, now) == "fusion = None, now it is 'soft'"
    assert first_difference(as_mapping(from_mapping(MVANConfig, before)), now) == ""
    assert first_difference({"a": {"b": 1}, "c": [2]}, {"a": {"b": 1}, "c": [3]}) == "c.0 = 2, now it is 3"
    assert first_difference({"a": 1}, {"a": 2}, but={"a"}) == ""


def test_what_is_set_aside_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    for content in ("first", "second", "third"):
        path.write_text(content)
        set_aside(path)
        assert not path.exists()
    assert [(tmp_path / name).read_text() for name in ("m.pt.before", "m.pt.before-2", "m.pt.before-3")] == [
        "first", "second", "third",
    ]  # fmt: skip
    set_aside(path)  # nothing is there
    assert len(list(tmp_path.iterdir())) == 3
