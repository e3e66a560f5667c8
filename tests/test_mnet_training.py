"""Both stages on tiny made-up pictures: they learn, they can be taken up again, they refuse what makes no sense."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from index.errors import InvalidValue, ModelError
from model_export.exporting.onnx_export import describe, export_model
from model_export.network.mvan import MVANConfig
from model_export.training.augment import AugmentConfig
from model_export.training.checkpoint import load_checkpoint
from model_export.training.configuration import as_mapping, from_mapping
from model_export.training.fitting import FitConfig
from model_export.training.mnet_training import Source, Training, restore, start_model, train
from model_export.training.vnet_training import LabelledSource, VNetTraining, train_vnet
from model_export.vehicle_model import main
from tests import data_set_trees

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
    train_vnet(replace(config, sources=(LabelledSource(data="unlabelled.csv", leave_out=("",)),)))
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
    assert (figures["cmc"][0], figures["cmc"][9]) == (figures["rank_1"], figures["rank_10"])
    assert figures["viewpoint"]["pictures"] == 18  # all that were held out
    assert figures["viewpoint"]["mean"] >= 0.9
    state = restored.model.state_dict()
    assert all(torch.equal(state[f"vnet.{name}"], value) for name, value in before.items())
    report = export_model(restored, data / "cars.onnx")
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "30%"], "--part does nothing here; it goes with --precision fp16 or int8"),
        (["--data", "x.csv"], "--data does nothing here; it goes with --precision fp16 or int8"),
        (["--precision", "int8", "--part", "30%"], "--part does nothing here; it goes with --data"),
        (["--precision", "fp16", "--full-weights"], "--full-weights does nothing here; it goes with --precision fp32"),
    ],
)
def test_an_option_of_export_that_would_do_nothing_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["export", str(tiny_checkpoint), "--out", str(tmp_path / "x.onnx"), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_backbone_is_told_before_anything_is_decoded(
    data: Path, vnet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = training(data, vnet, "none.pt", 2)
    with pytest.raises(InvalidValue, match="no_such_backbone"):
        train(replace(config, model=replace(SHAPE, backbone="no_such_backbone")))
    assert "decode" not in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_named_with_its_line(data: Path, vnet: Path, tmp_path: Path) -> None:
    cars = shutil.copytree(data, tmp_path / "cars", ignore=shutil.ignore_patterns("runs"))
    damaged = cars / "v5_0_front.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InvalidValue, match=r"v5_0_front\.png \(row 32 .*\) cannot be read: the PNG is truncated"):
        train(training(cars, vnet, "none.pt", 2))


def test_vehicleid_names_no_cameras_and_is_trained_on(tmp_path: Path) -> None:
    place = data_set_trees.vehicleid(tmp_path / "vid")
    config = Training(
        out=tmp_path / "mvan.pt", sources=(Source(data=f"vehicleid:{place}", p=2, k=2),),
        model=replace(SHAPE, viewpoints=("any",)), augment=GENTLE, fit=fit(2),
    )  # fmt: skip
    assert restore(train(config)).trained_on == ("vehicleid",)
    with pytest.raises(InvalidValue, match=r"has no cameras.*set sources\.0\.measure=false"):
        train(replace(config, sources=(replace(config.sources[0], hold_out="50%"),)))


def test_what_is_held_out_may_be_left_for_later(data: Path, vnet: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = training(data, vnet, "later.pt", 2)
    quiet = replace(config, sources=(replace(config.sources[0], measure=False),))
    assert data.name not in restore(train(quiet, quiet=True)).metrics
    assert capfd.readouterr().err == ""
    labels = load_checkpoint(quiet.out, kind="mvan")["objective"]["head.layers.0.weight"]
    assert len(labels) == 9  # the three vehicles of part test are not learnt


def test_independent_networks_learn_each_from_its_own_losses(data: Path) -> None:
    shape = replace(SHAPE, viewpoints=("any",), networks=3, fusion="concatenate", split="conv1", neck=False)
    config = replace(training(data, Path("none.pt"), "three.pt", 3), model=shape, vnet=None)
    content = load_checkpoint(train(config), kind="mvan")
    assert len([key for key in content["objective"] if key.startswith("head.others.") and key.endswith("3.bias")]) == 2
    assert restore(config.out).model.embedding_dim == 96


def test_a_frozen_stage_is_frozen_in_every_network_that_has_it(data: Path) -> None:
    shape = replace(SHAPE, viewpoints=("any",), networks=2, fusion="concatenate", split="conv1", neck=False)
    config = replace(training(data, Path("none.pt"), "frozen.pt", 2), model=shape, vnet=None, frozen_stages=1)
    torch.manual_seed(config.fit.seed)
    before = start_model(config).state_dict()
    after = restore(train(config)).model.state_dict()
    for name in (f"branches.{network}.stages.{stage}.0.weight" for network in (0, 1) for stage in (0, 1, 2)):
        assert torch.equal(before[name], after[name]) == (".stages.0." in name), name
