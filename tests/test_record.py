"""Records: whole, of the same configuration and pictures, or refused with the way out."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from index.errors import ModelError
from model_export.reproducing.record import Begun, begun_training, read_record, write_record
from model_export.training.checkpoint import save_checkpoint
from model_export.training.configuration import as_mapping


@dataclass(frozen=True)
class Fit:
    """A part of it."""

    iterations: int = 3
    device: str = "auto"
    checkpoint_every: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Configuration:
    """What something is made from."""

    out: str = "a.pt"
    fit: Fit = field(default_factory=Fit)


CONFIGURATION = Configuration()


def test_a_record_is_read_where_it_was_made_from_the_same(tmp_path: Path) -> None:
    path = tmp_path / "row" / "row.json"
    assert read_record(path, CONFIGURATION, "d") is None
    write_record(path, {"figures": {"map": 0.5}}, CONFIGURATION, "d")
    elsewhere = Configuration("b.pt", Fit(device="cpu", checkpoint_every=5))
    record = read_record(path, elsewhere, "d")
    assert record is not None
    assert record["figures"] == {"map": 0.5}
    assert [entry.name for entry in path.parent.iterdir()] == ["row.json"]
    with pytest.raises(
        ModelError, match=r"was made with fit\.iterations = 3, now it is 4; give another --out, or remove"
    ):
        read_record(path, Configuration(fit=Fit(iterations=4)), "d")
    with pytest.raises(ModelError, match="was made from other pictures"):
        read_record(path, CONFIGURATION, "e")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read; remove"):
        read_record(path, CONFIGURATION, "d")


def test_a_record_from_before_a_key_existed_stands_for_its_default(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    write_record(path, {}, CONFIGURATION, "d")
    path.write_text(path.read_text().replace(', "seed": 0', ""))
    assert read_record(path, CONFIGURATION, "d") is not None
    with pytest.raises(ModelError, match=r"fit\.seed = 0, now it is 1"):
        read_record(path, Configuration(fit=Fit(seed=1)), "d")


def test_a_training_goes_on_only_as_it_began(tmp_path: Path) -> None:
    path = tmp_path / "row" / "mvan.pt"
    assert begun_training(path, CONFIGURATION, "d", kind="mvan") is None
    save_checkpoint(path, {"kind": "mvan", "config": as_mapping(CONFIGURATION), "step": 17, "fit": {}})
    assert begun_training(path, CONFIGURATION, "d", kind="mvan") == Begun(17, resumable=True)
    save_checkpoint(path, {"kind": "mvan", "config": as_mapping(CONFIGURATION), "step": 17})
    assert begun_training(path, CONFIGURATION, "d", kind="mvan") == Begun(17, resumable=False)
    with pytest.raises(ModelError, match=r"fit\.seed = 0, now it is 1"):
        begun_training(path, Configuration(fit=Fit(seed=1)), "d", kind="mvan")
    with pytest.raises(ModelError, match="row was made from other pictures"):
        begun_training(path, CONFIGURATION, "e", kind="mvan")
    (tmp_path / "row" / "begun.json").unlink()
    with pytest.raises(ModelError, match=r"mvan\.pt says not from which pictures; remove "):
        begun_training(path, CONFIGURATION, "d", kind="mvan")


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "row").write_text("a file where a folder should be")
    with pytest.raises(ModelError, match=r"row\.json cannot be written"):
        write_record(tmp_path / "row" / "row.json", {}, CONFIGURATION, "d")
