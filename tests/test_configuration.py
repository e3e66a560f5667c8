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


@pytest.mark.parametrize("path", sorted(Path("model_export/configurations").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_read_and_says_what_it_is(path: Path) -> None:
    config = read_configuration(VNetTraining, path) if "vnet" in path.stem else read_configuration(Training, path)
    assert config.out.parts[0] == "runs"
    assert path.read_text().startswith("# ")
