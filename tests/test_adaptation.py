"""A model learns from pictures without labels: it gets better, it is taken up again, it says what it cannot use."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from index.errors import InvalidValue, ModelError
from model_export.adapting.adaptation import Adaptation, adapt
from model_export.data_sets.data_set import open_data_set
from model_export.exporting.reduced_export import Measuring, export_reduced
from model_export.measuring.measurement import measure
from model_export.reporting.model_file import open_model
from model_export.training.augment import AugmentConfig
from model_export.training.checkpoint import checkpoint_to_resume, load_checkpoint
from model_export.training.fitting import FitConfig
from model_export.training.mnet_training import restore
from model_export.vehicle_model import main
from tests.conftest import untrained, write_checkpoint


@pytest.fixture
def unlabelled(data: Path, tmp_path: Path) -> Path:
    """The cars' manifest with nothing but path and camera."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "unlabelled.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "camera_id"))
        writer.writerows((data / row["path"], row["camera_id"]) for row in rows)
    return path


def configured(unlabelled: Path, out: Path, iterations: int = 60) -> Adaptation:
    return Adaptation(
        out=out, data=str(unlabelled), p=6, k=4, round=20, frozen_stages=0, frozen_depthwise=False,
        augment=AugmentConfig(flip=0, rotate=0, exposure=0.2, erase=0, blur=0),
        fit=FitConfig(
            iterations=iterations, learning_rate=3e-3, warm_up=5, checkpoint_every=20, evaluate_every=20, average=0.9
        ),
    )  # fmt: skip


def test_pictures_without_labels_make_a_model_better(data: Path, unlabelled: Path, tmp_path: Path) -> None:
    before = untrained()
    vnet = {name: value.clone() for name, value in before.model.vnet.state_dict().items()}  # type: ignore[union-attr]
    checkpoint = write_checkpoint(tmp_path / "before.pt", untrained())
    out = adapt(before, configured(unlabelled, tmp_path / "after.pt"), quiet=True)
    cars = open_data_set(str(data / "manifest.csv"))
    was, now = (measure(open_model(path), cars, part="", seed=0).figures.map for path in (checkpoint, out))
    assert now > was + 0.1
    restored = restore(out)
    assert restored.config.name == "tiny-adapted"
    assert restored.trained_on == ("tiny", f"{tmp_path.name} (without labels)")
    assert restored.metrics["adaptation"]["groups"] >= 2
    assert "road-vehicles" not in restored.metrics
    assert all(torch.equal(restored.model.vnet.state_dict()[name], value) for name, value in vnet.items())  # type: ignore[union-attr]
    report = export_reduced(
        restored, tmp_path / "after.onnx", "int8", measuring=Measuring(spec=str(data / "manifest.csv"))
    )
    assert report.parity.reference.probes == 72  # calibrated on pictures without labels, measured on some with


def test_what_stays_and_what_learns(unlabelled: Path, tmp_path: Path) -> None:
    before = untrained()
    old = {name: value.clone() for name, value in before.model.state_dict().items()}
    metrics = {"cars": {"map": 0.5}, "viewpoint": {"mean": 0.9}}
    config = replace(configured(unlabelled, tmp_path / "after.pt", 3), frozen_stages=1)
    after = restore(adapt(replace(before, metrics=metrics), config, quiet=True))
    assert after.metrics.keys() == {"viewpoint", "adaptation"}  # nobody has measured the new model
    new = after.model.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert any(name.startswith("branches.") for name in changed)
    assert any(name.startswith("shared.1.") for name in changed)
    assert not [name for name in changed if name.startswith(("shared.0.", "vnet."))]
    assert not [name for name in changed if "running" in name or "batches" in name]


def test_groups_and_batches_are_the_seeds_and_what_is_seen_is_remembered(unlabelled: Path, tmp_path: Path) -> None:
    def weights(name: str, *, seed: int = 0, momentum: float = 0.2) -> dict[str, torch.Tensor]:
        config = configured(unlabelled, tmp_path / name, 2)
        config = replace(config, momentum=momentum, fit=replace(config.fit, seed=seed))
        return load_checkpoint(adapt(untrained(), config, quiet=True), kind="mvan")["weights"]  # type: ignore[no-any-return]

    first = weights("first.pt")
    assert all(torch.equal(first[name], value) for name, value in weights("again.pt").items())
    for other in (weights("seed.pt", seed=1), weights("momentum.pt", momentum=0.9)):
        assert any(not torch.equal(first[name], value) for name, value in other.items())


def test_a_model_whose_backbone_could_not_learn_is_refused(unlabelled: Path, tmp_path: Path) -> None:
    config = replace(configured(unlabelled, tmp_path / "none.pt", 2), frozen_stages=6)
    with pytest.raises(InvalidValue, match="frozen_stages is 6 and the backbone tiny has 3 stages"):
        adapt(untrained(), config, quiet=True)
    as_trained = replace(config, frozen_stages=-1)
    assert load_checkpoint(adapt(untrained(), as_trained, quiet=True), kind="mvan")["adaptation"]["frozen_stages"] == 0


def test_a_run_that_is_taken_up_again_ends_with_the_same_weights(unlabelled: Path, tmp_path: Path) -> None:
    def steady(name: str) -> Adaptation:
        """At a learning rate that does not know how long the run is."""
        config = configured(unlabelled, tmp_path / name, 40)
        return replace(config, fit=replace(config.fit, schedule="step"))

    whole, half = adapt(untrained(), steady("whole.pt"), quiet=True), steady("half.pt")
    adapt(untrained(), replace(half, fit=replace(half.fit, iterations=20)), quiet=True)
    adapt(untrained(), half, resume=True, quiet=True)
    ours, theirs = (load_checkpoint(path, kind="mvan") for path in (half.out, whole))
    assert ours["step"] == theirs["step"] == 40
    assert all(torch.equal(ours["weights"][name], value) for name, value in theirs["weights"].items())
    other = replace(half, temperature=0.1)
    with pytest.raises(ModelError, match=r"trained with temperature = 0\.07, now it is 0\.1"):
        adapt(untrained(), other, resume=True, quiet=True)
    with pytest.raises(ModelError, match="trained with start = "):
        adapt(untrained(seed=1), half, resume=True, quiet=True)
    with pytest.raises(ModelError, match="is an adapted model; vehicle-model adapt goes on with it"):
        checkpoint_to_resume(half.out, kind="mvan", config=untrained().config, resume=True)


def test_the_command_takes_a_file_and_names_what_is_wrong(
    tiny_model: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapted.pt"
    assert main(["adapt", str(tiny_model), "--manifest", str(unlabelled)]) == 2
    assert "--out is missing" in capsys.readouterr().err
    words = ["adapt", str(tiny_model), "--manifest", str(unlabelled), "--out"]
    few = [word for key in ("fit.iterations=2", "p=2", 'fit.precision="fp32"') for word in ("--set", key)]
    assert main([*words, str(out), *few]) == 0
    assert main(["export", str(out), "--out", str(tmp_path / "adapted.onnx")]) == 0
    assert main([*words, str(tmp_path / "adapted2.onnx"), *few]) == 2
    assert "a checkpoint is written, not an ONNX file" in capsys.readouterr().err
    assert main(["adapt", str(out), "--manifest", str(unlabelled), "--out", str(out), *few]) == 2
    assert "is the model that it would be made from" in capsys.readouterr().err
    assert main(["adapt", "--keys"]) == 0
    assert "groups.same_camera" in capsys.readouterr().out
    assert main(["adapt", str(tiny_model), "--manifest", str(unlabelled), "--out", str(out), "--set", "raduis=1"]) == 2
    assert "raduis" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("v0_0_front,c0 v0_1_front,c1", "among 2 pictures no two vehicles were found that can be told apart, 2 are"),
        ("v0_0_front,c0 v0_1_front,c0", r"has one camera only \(c0\)"),
        ("v0_0_front,c0 v0_1_front,", r"line 3, column camera_id: is empty"),
    ],
)
def test_pictures_that_cannot_be_linked_are_refused(data: Path, tmp_path: Path, rows: str, message: str) -> None:
    manifest = tmp_path / "few.csv"
    manifest.write_text("\n".join(["path,camera_id", *(f"{data}/{row.replace(',', '.png,')}" for row in rows.split())]))
    with pytest.raises((InvalidValue, ModelError), match=message):
        adapt(untrained(), configured(manifest, tmp_path / "none.pt"), quiet=True)


@pytest.mark.parametrize(("key", "value"), [("k", 1), ("round", 0), ("temperature", 0.0), ("momentum", 1.0)])
def test_values_that_make_no_sense_are_refused(key: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=key):
        Adaptation(out=tmp_path / "x.pt", data="x.csv", **{key: value})  # type: ignore[arg-type]


def test_a_run_that_is_refused_moves_nothing(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = write_checkpoint(tmp_path / "good.pt", untrained())
    before = out.read_bytes()
    one = tmp_path / "one.csv"
    one.write_text(f"path,camera_id\n{data}/v0_0_front.png,c0\n{data}/v0_1_front.png,c0\n")
    assert main(["adapt", str(tiny_model), "--manifest", str(one), "--out", str(out)]) == 2
    assert out.read_bytes() == before
    for override in ("out=other.pt", "data=other.csv"):
        words = ["adapt", str(tiny_model), "--manifest", str(one), "--out", str(tmp_path / "x.pt"), "--set", override]
        assert main(words) == 2
    assert {path.name for path in tmp_path.iterdir()} >= {"good.pt", "one.csv"}
    assert not list(tmp_path.glob("*.before*"))
