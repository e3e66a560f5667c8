"""Configurations: files and overrides, and that what is wrong is named."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.adapting.adaptation import Adaptation
from model_export.network.backbones import build_backbone
from model_export.network.mvan import MVAN, MVANConfig
from model_export.training.augment import AugmentConfig
from model_export.training.configuration import read_configuration
from model_export.training.fitting import FitConfig
from model_export.training.mnet_training import Source, Training
from model_export.training.vnet_training import LabelledSource, VNetTraining


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
    for override in ("fit.iterations=true", "sources.0.p=true"):
        with pytest.raises(InvalidValue, match=r"(fit.iterations|sources.0.p): a number is wanted, not true"):
            read_configuration(Training, path, [override])
    for override in ("sources.5.p=2", "sources.x.p=2", "name.x.p=2"):
        with pytest.raises(InvalidValue, match=r"there is no key|name"):
            read_configuration(Training, path, ["name=cars", override])
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_configuration(Training, tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(Path("model_export/configurations").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_read_and_says_what_it_is(path: Path) -> None:
    kind: type[VNetTraining | Training | Adaptation] = VNetTraining if "vnet" in path.stem else Training
    if path.stem == "adapt":  # the command line says where
        kind = Adaptation
        with pytest.raises(InvalidValue, match=r"(out|data) is missing"):
            read_configuration(kind, path)
    config = read_configuration(kind, path, ['out="runs/x.pt"', 'data="x.csv"'] if kind is Adaptation else [])
    assert config.out.parts[0] == "runs"
    assert path.read_text().startswith("# ")


def _fields(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


PAPER = ["paper-vgg16", "paper-resnet50", "paper-vgg16-2", "paper-resnet50-2"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipe(name: str) -> None:
    config = read_configuration(Training, Path(f"model_export/configurations/{name}.toml"))
    resnet, two = "resnet50" in name, name.endswith("-2")
    fit, model = config.fit, config.model
    assert (fit.optimizer, fit.momentum, fit.learning_rate) == ("sgd", 0.9, 0.01 if resnet else 0.001)
    assert (fit.schedule, fit.step_every, fit.step_factor, fit.iterations) == ("step", 80_000, 0.2, 400_000)
    assert (fit.weight_decay, fit.warm_up) == (4e-4 if resnet else 2e-4, 0)
    assert (config.resize, model.input_size, config.margin, config.triplet_weight) == (256, 224, 0.5, 1.0)
    assert [(source.p, source.k) for source in config.sources] == [(8, 2) if two else (4, 4)]
    assert model.viewpoints == (("front", "rear") if two else ("front", "rear", "side"))
    assert (model.vnet, model.attention, model.lam, model.embedding) == ("vgg_cnn_m_1024", "glam", "paper", "fused")
    assert [model.neck, model.normalized, config.soft_margin, config.smoothing] == [False, False, False, 0.0]
    changes = dataclasses.asdict(config.augment)
    assert [key for key, value in changes.items() if value and key != "smallest"] == ["flip"]
    assert MVAN(model).config.split == build_backbone(model.backbone).split
    vnet = read_configuration(VNetTraining, Path(f"model_export/configurations/paper-vnet{'-2' * two}.toml"))
    assert config.vnet == vnet.out
    assert all(getattr(vnet.model, key) == getattr(model, key) for key in ("vnet", "vnet_size", "viewpoints"))
    assert ("side" in vnet.sources[0].leave_out) == two


@pytest.mark.parametrize("name", [*PAPER, "paper-vnet", "paper-vnet-2"])
def test_the_papers_configurations_name_every_key(name: str) -> None:
    document = tomllib.loads(Path(f"model_export/configurations/{name}.toml").read_text(encoding="utf-8"))
    if "vnet" in name:
        parts: dict[str, type] = {"sources": LabelledSource, "augment": AugmentConfig, "fit": FitConfig}
        whole, unused = _fields(VNetTraining), set()
        assert set(document["model"]) == {"vnet", "vnet_size", "vnet_standardized", "viewpoints"}
    else:
        parts = {"model": MVANConfig, "sources": Source, "augment": AugmentConfig, "fit": FitConfig}
        whole, unused = _fields(Training), {"warm_start"}
    assert set(document) | unused == whole
    for part, kind in parts.items():
        [own] = document[part] if part == "sources" else [document[part]]
        assert set(own) == _fields(kind), part
