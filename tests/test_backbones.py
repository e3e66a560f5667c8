"""Backbones: shapes, and that weights are taken whole or not at all."""

from pathlib import Path

import pytest
import torch
from torch import nn

from index.errors import InvalidValue, ModelError
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.reproducing.budgets import SPLITS

MAPS = {
    "vgg16": (512, 14), "resnet50": (2048, 14), "efficientnet_lite0": (1280, 7), "efficientnet_lite2": (1280, 7),
    "tiny": (32, 28),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MAPS))
def test_maps_at_224_pixels(name: str) -> None:
    backbone = build_backbone(name)
    shared, branch = backbone.cut(backbone.split)
    with torch.no_grad():
        maps = branch.eval()(shared.eval()(torch.zeros(1, 3, 224, 224)))
    assert (maps.shape[1], maps.shape[2]) == MAPS[name]
    assert backbone.channels == MAPS[name][0]
    assert float(maps.min()) >= 0  # the LAM's channel sum needs it


@pytest.mark.parametrize(("name", "millions"), [("efficientnet_lite0", 4.652), ("efficientnet_lite2", 6.092)])
def test_lite_has_the_published_number_of_parameters(name: str, millions: float) -> None:
    stages = nn.ModuleDict(dict(build_backbone(name).stages))
    classifier = 1280 * 1000 + 1000
    assert sum(p.numel() for p in stages.parameters()) + classifier == pytest.approx(millions * 1e6, rel=2e-3)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_imagenet_weights_fill_every_tensor(name: str) -> None:
    backbone = build_backbone(name)
    before = {key: value.clone() for key, value in nn.ModuleDict(dict(backbone.stages)).state_dict().items()}
    load_pretrained(backbone, "imagenet")
    after = nn.ModuleDict(dict(backbone.stages)).state_dict()
    filled = [key for key in before if key.endswith(("weight", "running_var"))]
    assert not [key for key in filled if torch.equal(before[key], after[key])]


def test_a_state_dict_is_taken_whole_or_refused_by_name(tmp_path: Path) -> None:
    weights = nn.ModuleDict(dict(build_backbone("tiny").stages)).state_dict()
    torch.save(weights, tmp_path / "good.pt")
    load_pretrained(build_backbone("tiny"), str(tmp_path / "good.pt"))
    torch.save({**weights, "extra.weight": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(ModelError, match=r"not used: extra\.weight"):
        load_pretrained(build_backbone("tiny"), str(tmp_path / "more.pt"))
    torch.save({key: value for key, value in weights.items() if key != "conv2.0.weight"}, tmp_path / "less.pt")
    with pytest.raises(ModelError, match=r"lack the tensor conv2\.0\.weight"):
        load_pretrained(build_backbone("tiny"), str(tmp_path / "less.pt"))
    torch.save({**weights, "conv2.0.weight": torch.zeros(1, 1, 1, 1)}, tmp_path / "shape.pt")
    with pytest.raises(ModelError, match=r"conv2\.0\.weight is \(1, 1, 1, 1\)"):
        load_pretrained(build_backbone("tiny"), str(tmp_path / "shape.pt"))


def test_sources_that_do_not_exist_are_told() -> None:
    with pytest.raises(ModelError, match="no imagenet weights are known for tiny"):
        load_pretrained(build_backbone("tiny"), "imagenet")
    with pytest.raises(ModelError, match="no such file"):
        load_pretrained(build_backbone("tiny"), "nowhere.pt")
    with pytest.raises(InvalidValue, match="vgg16 only"):
        load_pretrained(build_backbone("tiny"), "hed")
    with pytest.raises(InvalidValue, match="efficientnet_lite2"):
        build_backbone("resnet18")


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_before_the_first_stage_nothing_is_shared_and_each_split_ends_at_its_stride(name: str) -> None:
    backbone = build_backbone(name)
    x = torch.zeros(1, 3, 64, 64)
    for number, split in enumerate(SPLITS[name]):
        shared, branch = backbone.cut(split)
        with torch.no_grad():
            maps = shared.eval()(x)
        assert maps.shape[2] == 64 >> number or (name.startswith("resnet") and number in (1, 2) and maps.shape[2] == 16)
        assert len(shared) + len(branch) == len(backbone.stages)
