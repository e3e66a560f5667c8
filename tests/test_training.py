"""Both stages on tiny made-up pictures: they learn, they can be taken up again, they refuse what makes no sense."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from index.errors import InvalidValue, ModelError
from model_export.augment import AugmentConfig, augment
from model_export.checkpoint import load_checkpoint, save_checkpoint
from model_export.configuration import as_mapping, from_mapping, read_configuration
from model_export.dataset import Selection, read_rows
from model_export.fitting import FitConfig
from model_export.mvan import MVANConfig
from model_export.onnx_export import describe, export
from model_export.training import Source, Training, restore, train
from model_export.vehicle_model import main
from model_export.vnet_training import LabelledSource, VNetTraining, train_vnet

SHAPE = MVANConfig(
    backbone="tiny", vnet="tiny", vnet_size=32, input_size=32, lam="standardized", neck=True, normalized=True
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 vehicles (a colour each), 2 cameras (bright, dark), 3 viewpoints (where a white bar is)."""
    folder = tmp_path_factory.mktemp("cars")
    rng = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "vehicle_id", "camera_id", "viewpoint", "part"))
        for vehicle in range(12):
            colour = rng.integers(30, 225, 3)
            for camera in range(2):
                for view, name in enumerate(("front", "rear", "side")):
                    pixels = np.full((40, 40, 3), colour, np.float64) * (1.0 if camera else 0.7)
                    pixels[4 + 12 * view : 10 + 12 * view] = 250
                    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
                    path = f"v{vehicle}_{camera}_{name}.png"
                    Image.fromarray(noisy).save(folder / path)
                    writer.writerow((path, f"v{vehicle}", f"c{camera}", name, "test" if vehicle < 3 else "train"))
    return folder


def fit(iterations: int) -> FitConfig:
    return FitConfig(iterations=iterations, warm_up=2, learning_rate=5e-3, checkpoint_every=1000, evaluate_every=1000)


GENTLE = AugmentConfig(flip=0, rotate=0, exposure=0.1, grey=0, erase=0, blur=0)


@pytest.fixture(scope="module")
def vnet(data: Path) -> Path:
    config = VNetTraining(
        out=data / "runs" / "vnet.pt", data_root=data, sources=(LabelledSource(manifest=Path("manifest.csv"), hold_out="part=test"),),
        model=SHAPE, batch=24, augment=GENTLE, fit=fit(150),
    )  # fmt: skip
    return train_vnet(config)


def training(data: Path, vnet: Path, out: str, iterations: int) -> Training:
    return Training(
        out=data / "runs" / out, data_root=data, sources=(Source(manifest=Path("manifest.csv"), p=4, k=2, hold_out="part=test"),),
        model=SHAPE, vnet=vnet, augment=GENTLE, fit=fit(iterations), name="cars",
    )  # fmt: skip


def test_vnet_learns_the_viewpoints_of_vehicles_it_has_not_seen(vnet: Path) -> None:
    assert load_checkpoint(vnet, kind="vnet")["metrics"]["mean"] >= 0.9


def test_mnet_trains_measures_and_exports(data: Path, vnet: Path) -> None:
    before = load_checkpoint(vnet, kind="vnet")["weights"]
    checkpoint = train(training(data, vnet, "mvan.pt", 60))
    restored = restore(checkpoint)
    (figures,) = restored.metrics.values()
    assert figures["probes"] == 18
    assert figures["rank_1"] > 0.3  # by chance 3 in 36
    state = restored.model.state_dict()
    assert all(torch.equal(state[f"vnet.{name}"], value) for name, value in before.items())
    report = export(checkpoint, data / "cars.onnx")
    assert report.against_pytorch <= 1e-4
    contract = describe(data / "cars.onnx")
    assert (contract.name, contract.metrics) == ("cars", restored.metrics)
    assert main(["describe", str(data / "cars.onnx")]) == 0
    assert main(["evaluate", str(checkpoint), "--manifest", str(data / "manifest.csv"), "--part", "part=test"]) == 0


def test_a_resumed_run_ends_with_the_same_step_and_refuses_another_shape(data: Path, vnet: Path) -> None:
    train(training(data, vnet, "resumed.pt", 4))
    assert load_checkpoint(train(training(data, vnet, "resumed.pt", 6), resume=True), kind="mvan")["step"] == 6
    other = from_mapping(
        Training, {**as_mapping(training(data, vnet, "resumed.pt", 6)), "model": {**as_mapping(SHAPE), "lam": "paper"}}
    )
    with pytest.raises(ModelError, match="another configuration"):
        train(other, resume=True)
    fewer = from_mapping(Training, as_mapping(training(data, vnet, "resumed.pt", 6)))
    fewer = replace(fewer, sources=(replace(fewer.sources[0], hold_out="50%"),))
    with pytest.raises(ModelError, match=r"trained on 9 vehicles, the sources give 6"):
        train(fewer, resume=True)


def test_an_out_that_cannot_be_written_is_told_before_the_training(data: Path, vnet: Path) -> None:
    (data / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        train(training(data, vnet, "../file/x.pt", 2))


def test_a_picture_that_cannot_be_read_is_named_with_its_line(data: Path, vnet: Path, tmp_path: Path) -> None:
    text = (data / "manifest.csv").read_text().replace("v0_0_front.png", "missing.png")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InvalidValue, match=r"line 2: .*missing\.png"):
        train(training(tmp_path, vnet, "none.pt", 2))


def test_selection_never_splits_a_vehicle(data: Path) -> None:
    rows = read_rows(data / "manifest.csv", "vehicle_id")
    kept, held = Selection.parse("25%").split(rows, seed=1)
    assert len({row.vehicle_id for row in held}) == 3
    assert not {row.vehicle_id for row in held} & {row.vehicle_id for row in kept}
    assert Selection.parse("25%").split(rows, seed=1) == (kept, held)
    for wrong in ("x", "0%", "=3", "100%"):
        with pytest.raises(InvalidValue, match="hold_out"):
            Selection.parse(wrong)
    with pytest.raises(InvalidValue, match="matches no row"):
        Selection.parse("part=nothing").split(rows, seed=0)


def test_configurations_name_the_key_that_is_wrong(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('out = "x.pt"\n[[sources]]\nmanifest = "m.csv"\n[model]\nviewpoints = ["any"]\n')
    assert read_configuration(Training, path, ["fit.seed=3", "model.lam=standardized"]).fit.seed == 3
    with pytest.raises(InvalidValue, match=r"fit\.sede"):
        read_configuration(Training, path, ["fit.sede=3"])
    with pytest.raises(InvalidValue, match="iterations"):
        read_configuration(Training, path, ["fit.iterations=0"])
    for override in ("sources.5.p=2", "sources.x.p=2", "name.x.p=2"):
        with pytest.raises(InvalidValue, match=r"there is no key|name"):
            read_configuration(Training, path, ["name=cars", override])
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_configuration(Training, tmp_path / "none.toml")


def test_augmentation_is_seeded_and_stays_in_range() -> None:
    crops = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    first = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    second = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    still = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)
    assert torch.allclose(augment(crops, still, torch.Generator()), crops.float(), atol=0.1)


def test_checkpoints_are_whole_or_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"kind": "vnet", "x": 1})
    assert load_checkpoint(tmp_path / "a.pt", kind="vnet")["x"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    with pytest.raises(ModelError, match="a mvan one is needed"):
        load_checkpoint(tmp_path / "a.pt", kind="mvan")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "b.pt", kind="vnet")


def test_the_shipped_configurations_are_read() -> None:
    folder = Path("model_export/configurations")
    read_configuration(VNetTraining, folder / "default-vnet.toml")
    for name in ("default-single", "default-mvan"):
        read_configuration(Training, folder / f"{name}.toml")
