"""Keys of configurations, told with their meaning."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from model_export.training.configuration import read_configuration
from model_export.training.configuration_keys import configuration_keys
from model_export.training.mnet_training import Training
from model_export.training.vnet_training import VNetTraining
from model_export.vehicle_model import main


@dataclass(frozen=True)
class _Part:
    depth: int  # in metres


@dataclass(frozen=True)
class _Whole:
    name: str  # shown
    parts: tuple[_Part, ...] = ()
    part: _Part = field(default_factory=lambda: _Part(1))
    views: tuple[str, ...] = ("front", "rear")
    fast: bool = False


def test_keys_come_with_default_and_meaning() -> None:
    assert [str(key) for key in configuration_keys(_Whole)] == [
        "name  # shown", "parts.0.depth  # in metres", "part.depth  # in metres", 'views = ["front", "rear"]', "fast = false",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [Training, VNetTraining])
def test_every_default_is_toml_that_the_configuration_takes(kind: type[Any], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        'out = "x.pt"\nvnet = "v.pt"\n[[sources]]\ndata = "m.csv"\n'
        if kind is Training
        else 'out = "x.pt"\n[[sources]]\ndata = "m.csv"\n'
    )
    plain: object = read_configuration(kind, path)
    keys = list(configuration_keys(kind))
    written = [f"{key.name}={key.default}" for key in keys if key.default]
    assert len(written) > 30
    assert read_configuration(kind, path, written) == plain
    assert [key.name for key in keys if not key.meaning] == []


def test_the_door_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--keys"]) == 0
    assert "fit.accumulate = 1  # batches whose gradients are added up for one step" in capsys.readouterr().out
