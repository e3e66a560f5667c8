"""Configurations: files and overrides, and that what is wrong is named."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.training.configuration import read_configuration
from model_export.training.mnet_training import Training
from model_export.training.vnet_training import VNetTraining


def test_configurations_name_the_key_that_is_wrong(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('out = "x.pt"\n[[sources]]\ndata = "m.csv"\n[model]\nviewpoints = ["any"]\n')
    assert read_configuration(Training, path, ["fit.seed=3", "model.lam=standardized"]).fit.seed == 3
    with pytest.raises(InvalidValue, match=r"fit\.sede is not known; seed is"):
        read_configuration(Training, path, ["fit.sede=3"])
    with pytest.raises(InvalidValue, match=r"sources\.0\.data is missing"):
        read_configuration(Training, path, ["sources=[{p=4}]"])
    with pytest.raises(InvalidValue, match="iterations"):
        read_configuration(Training, path, ["fit.iterations=0"])
    for override in ("sources.5.p=2", "sources.x.p=2", "name.x.p=2"):
        with pytest.raises(InvalidValue, match=r"there is no key|name"):
            read_configuration(Training, path, ["name=cars", override])
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_configuration(Training, tmp_path / "none.toml")


def test_the_shipped_configurations_are_read() -> None:
    folder = Path("model_export/configurations")
    read_configuration(VNetTraining, folder / "default-vnet.toml")
    for name in ("default-single", "default-mvan"):
        read_configuration(Training, folder / f"{name}.toml")
