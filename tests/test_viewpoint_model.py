"""The current V-Net, asked about real pictures: the same answers as the network in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from index.crops import model_crop, read_picture
from index.embedder import Embedder
from index.errors import ContractError, ModelError
from index.manifest import ManifestRow, read_manifest
from model_export.annotating.viewpoint_model import guess, open_viewpoint_model
from model_export.exporting.onnx_export import export_model
from model_export.network.mvan import VNet
from model_export.training.checkpoint import save_checkpoint
from model_export.training.configuration import as_mapping
from model_export.training.vnet_training import LabelledSource, VNetTraining
from tests.conftest import TINY, be_sure, untrained


def rows_of(folder: Path) -> list[ManifestRow]:
    return list(read_manifest(folder / "manifest.csv"))


def vnet_checkpoint(folder: Path) -> tuple[Path, VNet]:
    """A V-Net with seeded weights as train-vnet would write it."""
    torch.manual_seed(3)
    net = VNet(replace(TINY, input_size=TINY.vnet_size))
    be_sure(net, replace(TINY, input_size=TINY.vnet_size))
    config = VNetTraining(out=folder / "vnet.pt", sources=(LabelledSource(data="cars/manifest.csv"),), model=TINY)
    content = {"kind": "vnet", "config": as_mapping(config), "weights": net.state_dict(), "trained_on": ["cars"]}
    save_checkpoint(config.out, content)
    return config.out, net.eval()


def test_a_model_file_guesses_what_the_service_sees(tiny_model: Path, data: Path) -> None:
    model = open_viewpoint_model(model=tiny_model)
    assert model is not None
    assert model.viewpoints == TINY.viewpoints
    rows = rows_of(data)
    counted: list[int] = []
    answer = guess(model, rows, report=counted.append)
    crops = np.stack([model_crop(read_picture(row.path.read_bytes(), max_pixels=10**6), model.resize) for row in rows])
    expected = Embedder(tiny_model).embed(crops).viewpoint
    assert expected is not None
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    assert answer.broken == {}
    assert sum(counted) == len(rows) > len(counted) > 1


def test_a_checkpoint_guesses_as_its_network_does(tmp_path: Path, data: Path) -> None:
    path, net = vnet_checkpoint(tmp_path)
    model = open_viewpoint_model(vnet=path)
    assert model is not None
    assert model.labels_from == ("cars",)
    rows = rows_of(data)[:9]
    answer = guess(model, rows)
    crops = np.stack([model_crop(read_picture(row.path.read_bytes(), max_pixels=10**6), model.resize) for row in rows])
    with torch.no_grad():
        expected = net(torch.from_numpy(crops).permute(0, 3, 1, 2).float()).numpy()
    assert crops.shape == (9, 32, 32, 3)
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)


def test_broken_pictures_are_named_and_the_others_are_guessed(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    good = rows_of(data)[:3]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(good[0].path.read_bytes()[:200])
    bad = [
        replace(good[0], path=damaged),
        replace(good[0], path=tmp_path / "missing.png"),
        replace(good[0], box=(30, 30, 50, 50)),
        replace(good[0], path=tmp_path),
    ]
    model = open_viewpoint_model(model=tiny_model)
    assert model is not None
    answer = guess(model, [bad[0], good[0], *bad[1:], good[1], replace(good[2], box=(0, 0, 40, 40))])
    assert sorted(answer.broken) == [0, 2, 3, 4]
    assert "truncated" in answer.broken[0]
    assert answer.broken[2] == "No such file or directory"
    assert "does not lie inside" in answer.broken[3]
    assert np.isnan(answer.probabilities[sorted(answer.broken)]).all()
    np.testing.assert_allclose(answer.probabilities[[1, 5, 6]], guess(model, good).probabilities, atol=1e-5)
    assert guess(model, bad).probabilities.shape == (4, 3)
    assert guess(model, []).probabilities.shape == (0, 3)


def test_a_box_is_what_v_net_sees(tiny_model: Path, data: Path) -> None:
    model = open_viewpoint_model(model=tiny_model)
    assert model is not None
    rows = rows_of(data)[:12]
    whole = guess(model, rows).probabilities
    part = guess(model, [replace(row, box=(0, 20, 40, 20)) for row in rows]).probabilities
    assert np.abs(whole - part).max() > 0.1


def test_what_cannot_guess_is_refused_by_name(tmp_path: Path, tiny_model: Path) -> None:
    assert open_viewpoint_model() is None
    with pytest.raises(ModelError, match=r"there is no model file .*none\.onnx"):
        open_viewpoint_model(model=tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"none\.pt does not exist"):
        open_viewpoint_model(vnet=tmp_path / "none.pt")
    path, _ = vnet_checkpoint(tmp_path)
    with pytest.raises(ModelError, match=r"vnet\.pt is not an ONNX model .* --vnet"):
        open_viewpoint_model(model=path)
    with pytest.raises(ModelError, match=r"tiny\.onnx cannot be read"):
        open_viewpoint_model(vnet=tiny_model)
    bare = onnx.load(tiny_model)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ContractError, match=r"bare\.onnx has no contract"):
        open_viewpoint_model(model=tmp_path / "bare.onnx")
    export_model(untrained(replace(TINY, viewpoints=("any",))), tmp_path / "one.onnx")
    with pytest.raises(ModelError, match=r"one\.onnx knows one viewpoint only"):
        open_viewpoint_model(model=tmp_path / "one.onnx")
