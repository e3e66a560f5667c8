"""Both stages on tiny made-up pictures: they learn, they can be taken up again, they refuse what makes no sense."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from index.errors import InvalidValue, ModelError
from model_export.exporting.onnx_export import describe, export
from model_export.network.mvan import MVANConfig
from model_export.training.augment import AugmentConfig
from model_export.training.checkpoint import load_checkpoint
from model_export.training.configuration import as_mapping, from_mapping
from model_export.training.fitting import FitConfig
from model_export.training.mnet_training import Source, Training, restore, train
from model_export.training.vnet_training import LabelledSource, VNetTraining, train_vnet
from model_export.vehicle_model import main

SHAPE = MVANConfig(
    backbone="tiny", vnet="tiny", vnet_size=32, input_size=32, lam="standardized", neck=True, normalized=True
)


def fit(iterations: int) -> FitConfig:
    return FitConfig(iterations=iterations, warm_up=2, learning_rate=5e-3, checkpoint_every=1000, evaluate_every=1000)


GENTLE = AugmentConfig(flip=0, rotate=0, exposure=0.1, grey=0, erase=0, blur=0)


@pytest.fixture(scope="module")
def vnet(data: Path) -> Path:
    config = VNetTraining(
        out=data / "runs" / "vnet.pt", data_root=data, sources=(LabelledSource(data="manifest.csv", hold_out="part=test"),),
        model=SHAPE, batch=24, augment=GENTLE, fit=fit(150),
    )  # fmt: skip
    return train_vnet(config)


def training(data: Path, vnet: Path, out: str, iterations: int) -> Training:
    return Training(
        out=data / "runs" / out, data_root=data, sources=(Source(data="manifest.csv", p=4, k=2, hold_out="part=test"),),
        model=SHAPE, vnet=vnet, augment=GENTLE, fit=fit(iterations), name="cars",
    )  # fmt: skip


def test_vnet_learns_the_viewpoints_of_vehicles_it_has_not_seen(vnet: Path) -> None:
    assert load_checkpoint(vnet, kind="vnet")["metrics"]["mean"] >= 0.9


def test_rows_without_a_viewpoint_are_refused_or_left_out(data: Path, tmp_path: Path) -> None:
    text = (data / "manifest.csv").read_text().replace("v0,c0,front", "v0,c0,")
    labels = data / "unlabelled.csv"
    labels.write_text(text)
    config = VNetTraining(
        out=tmp_path / "v.pt", data_root=data, sources=(LabelledSource(data="unlabelled.csv"),), model=SHAPE, batch=4,
        fit=fit(1),
    )  # fmt: skip
    with pytest.raises(InvalidValue, match=r"line 2, column viewpoint: '' is not one of front, rear, side"):
        train_vnet(config)
    train_vnet(replace(config, sources=(LabelledSource(data="unlabelled.csv", skip_unlabelled=True),)))
    labels.unlink()


def test_mnet_trains_measures_and_exports(data: Path, vnet: Path) -> None:
    before = load_checkpoint(vnet, kind="vnet")["weights"]
    checkpoint = train(training(data, vnet, "mvan.pt", 60))
    restored = restore(checkpoint)
    assert restored.metrics["viewpoint"]["mean"] >= 0.9
    assert (restored.trained_on, restored.viewpoint_labels_from) == ((data.name,), data.name)
    figures = restored.metrics[data.name]
    assert figures["probes"] == 18
    assert figures["rank_1"] > 0.3  # by chance 3 in 36
    state = restored.model.state_dict()
    assert all(torch.equal(state[f"vnet.{name}"], value) for name, value in before.items())
    report = export(checkpoint, data / "cars.onnx")
    assert report.against_pytorch <= 1e-4
    contract = describe(data / "cars.onnx")
    assert (contract.name, contract.metrics) == ("cars", restored.metrics)
    assert main(["describe", str(data / "cars.onnx")]) == 0
    assert main(["evaluate", str(checkpoint), "--data", str(data / "manifest.csv"), "--part", "part=test"]) == 0


def test_a_resumed_run_ends_with_the_same_step_and_refuses_another_shape(data: Path, vnet: Path) -> None:
    train(training(data, vnet, "resumed.pt", 4))
    assert load_checkpoint(train(training(data, vnet, "resumed.pt", 6), resume=True), kind="mvan")["step"] == 6
    other = from_mapping(
        Training, {**as_mapping(training(data, vnet, "resumed.pt", 6)), "model": {**as_mapping(SHAPE), "lam": "paper"}}
    )
    with pytest.raises(ModelError, match=r"trained with model\.lam = 'standardized', now it is 'paper'"):
        train(other, resume=True)
    fewer = from_mapping(Training, as_mapping(training(data, vnet, "resumed.pt", 6)))
    fewer = replace(fewer, sources=(replace(fewer.sources[0], hold_out="50%"),))
    with pytest.raises(ModelError, match=r"trained with sources\.0\.hold_out = 'part=test', now it is '50%'"):
        train(fewer, resume=True)


def test_a_picture_that_cannot_be_read_is_named_with_its_line(data: Path, vnet: Path, tmp_path: Path) -> None:
    cars = shutil.copytree(data, tmp_path / "cars", ignore=shutil.ignore_patterns("runs"))
    damaged = cars / "v5_0_front.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InvalidValue, match=r"line 32: .*v5_0_front\.png: the PNG is truncated"):
        train(training(cars, vnet, "none.pt", 2))
