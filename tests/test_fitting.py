"""The loop, as real processes run it: taken up again, on several processes, and stopped by what can go wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from index.errors import InvalidValue, ModelError
from index.manifest import ManifestRow
from model_export.network.mvan import MVANConfig
from model_export.training.augment import AugmentConfig
from model_export.training.checkpoint import load_checkpoint
from model_export.training.fitting import FitConfig, Fitter, Objective
from model_export.training.loader import Batch
from model_export.training.mnet_training import Source, Training, train
from model_export.training.processes import Processes
from model_export.training.vnet_training import LabelledSource, VNetTraining, train_vnet
from tests.small_disk import fill, small_disk

SHAPE = MVANConfig(
    backbone="tiny", vnet="tiny", vnet_size=32, input_size=32, lam="standardized", neck=True, normalized=True
)
ALONE = Processes(0, 1, torch.device("cpu"))
ONE_VIEW = """
out = "{out}"
data_root = "{data}"
resize = 36
frozen_norms = true
[model]
backbone = "tiny"
viewpoints = ["any"]
neck = true
input_size = 32
[[sources]]
data = "manifest.csv"
p = 3
k = 2
hold_out = "part=test"
[fit]
iterations = {iterations}
warm_up = 2
average = 0.9
learning_rate = 1e-3
checkpoint_every = 5
evaluate_every = 1000
"""


def configuration(folder: Path, data: Path, out: str, iterations: int = 60) -> list[str]:
    """Words of a command line that trains a tiny model."""
    path = folder / f"{out}.toml"
    path.write_text(ONE_VIEW.format(out=folder / out, data=data, iterations=iterations))
    return ["model_export.vehicle_model", "train", str(path)]


def finish(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=120, check=False, env=_environment()
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}  # the same sums in the same order, however many processes


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_ends_with_the_weights_of_an_unbroken_one(
    data: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    whole = finish(configuration(tmp_path, data, "whole.pt"))
    assert whole.returncode == 0, whole.stderr
    words = configuration(tmp_path, data, "broken.pt")
    slow = [sys.executable, "-m", *words, "--set", "fit.iterations=1000000", "--set", "fit.schedule=step"]
    words += ["--set", "fit.schedule=step"]  # a rate that does not depend on the iterations
    run = subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, env=_environment())
    _wait_for(tmp_path / "broken.pt", run)
    run.send_signal(ending)
    _, told = run.communicate(timeout=60)
    assert run.returncode == (130 if ending == signal.SIGINT else -9), told
    assert ("--resume" in told) == (ending == signal.SIGINT)
    stopped = load_checkpoint(tmp_path / "broken.pt", kind="mvan")["step"]
    ends = ["--set", f"fit.iterations={stopped + 20}"]
    resumed = finish([*words, *ends, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    unbroken = finish([*configuration(tmp_path, data, "unbroken.pt"), "--set", "fit.schedule=step", *ends])
    assert unbroken.returncode == 0, unbroken.stderr
    ours, theirs = (load_checkpoint(tmp_path / name, kind="mvan") for name in ("broken.pt", "unbroken.pt"))
    assert ours["step"] == theirs["step"] == stopped + 20
    assert same(ours["objective"], theirs["objective"])
    assert same(ours["weights"], theirs["weights"])
    assert not same(ours["weights"], load_checkpoint(tmp_path / "whole.pt", kind="mvan")["weights"])


def _wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    """Return when a checkpoint is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_do_what_one_does_with_twice_the_batches(data: Path, tmp_path: Path) -> None:
    two = finish([
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        *configuration(tmp_path, data, "two.pt", 8),
    ])  # fmt: skip
    assert two.returncode == 0, two.stderr
    one = finish([*configuration(tmp_path, data, "one.pt", 8), "--set", "fit.accumulate=2"])
    assert one.returncode == 0, one.stderr
    single = finish(configuration(tmp_path, data, "single.pt", 8))
    assert single.returncode == 0, single.stderr
    ours, theirs, less = (
        load_checkpoint(tmp_path / name, kind="mvan")["objective"] for name in ("two.pt", "one.pt", "single.pt")
    )
    learned = [name for name in ours if "running" not in name and "batches_tracked" not in name]
    assert max(float((ours[name].float() - theirs[name].float()).abs().max()) for name in learned) < 1e-5
    assert max(float((ours[name].float() - less[name].float()).abs().max()) for name in learned) > 1e-4
    assert two.stderr.count("M-Net 8:") == 1  # one process speaks


def test_a_run_logs_a_line_of_json_and_scalars(data: Path, tmp_path: Path) -> None:
    assert finish(configuration(tmp_path, data, "told.pt", 20)).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "told-log" / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("train", 10), ("train", 20), ("measure", 20)]
    assert {"loss", "id", "triplet", "right", "learning_rate", "pictures_per_second", "seconds"} <= lines[0].keys()
    assert 0 <= lines[2][f"{data.name}/rank_1"] <= 1
    board = EventAccumulator(str(tmp_path / "told-log"))
    board.Reload()
    assert {"train/loss", "train/learning_rate", f"measure/{data.name}/map"} <= set(board.Tags()["scalars"])
    assert set(board.Tags()["images"]) == {f"{data.name}/ranking", f"{data.name}/attention"}
    assert board.Images(f"{data.name}/ranking")[0].step == 20


def test_a_loss_that_is_no_number_names_the_pictures_and_keeps_the_weights(data: Path, tmp_path: Path) -> None:
    words = configuration(tmp_path, data, "nan.pt")
    run = finish([*words, "--set", "fit.learning_rate=1e30", "--set", "fit.optimizer=sgd", "--set", "fit.warm_up=0"])
    assert run.returncode == 2
    message = run.stderr.strip().splitlines()[-1]
    assert "the loss is nan" in message or "the loss is inf" in message
    assert f"made by {data}/v" in message
    assert "lower learning_rate" in message
    assert not (tmp_path / "nan.pt").exists()  # weights that are no numbers


def test_a_run_can_go_on_from_before_its_loss_was_no_number() -> None:
    config = FitConfig(
        device="cpu",
        iterations=30,
        checkpoint_every=4,
        schedule="step",
        step_every=10,
        step_factor=1e30,
        warm_up=0,
        optimizer="sgd",
        learning_rate=0.1,
    )
    saved: list[int] = []
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) at iteration 11"):
        Fitter(config, _Line(), ALONE).run(
            _batch, title="t", log=None, measure=lambda _: ("", {}), save=saved.append, advice="", quiet=True
        )
    assert saved == [4, 8]


def test_a_run_that_fails_before_it_learnt_anything_leaves_what_is_there(data: Path, tmp_path: Path) -> None:
    out = train_briefly(data, tmp_path)
    before = out.read_bytes()
    content = load_checkpoint(out, kind="mvan")

    def save(_: int) -> None:
        out.write_bytes(b"")

    def broken(number: int) -> Batch:
        raise InvalidValue(f"batch {number} cannot be read")

    fitter = Fitter(FitConfig(device="cpu", iterations=9), _Line(), ALONE)
    with pytest.raises(InvalidValue, match="cannot be read"):
        fitter.run(
            broken,
            title="t",
            log=None,
            measure=lambda _: ("", {}),
            save=save,
            advice="",
            quiet=True,
        )
    assert out.read_bytes() == before
    train_briefly(data, tmp_path)  # --resume forgotten
    assert same(load_checkpoint(out.with_name("m.pt.before"), kind="mvan")["weights"], content["weights"])


def test_a_full_disk_on_the_way_loses_no_checkpoint(data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        words = configuration(disk, data, "full.pt", 10)
        assert finish(words).returncode == 0
        whole = (disk / "full.pt").read_bytes()
        filler = fill(disk, leave=2**16)
        run = finish([*words, "--set", "fit.iterations=20", "--resume"])
        assert run.returncode == 2
        assert "going on, the checkpoint before it is whole" in run.stderr
        assert "full.pt was not written" in run.stderr.splitlines()[-1]
        assert "Traceback" not in run.stderr
        assert (disk / "full.pt").read_bytes() == whole
        filler.unlink()
        assert finish([*words, "--set", "fit.iterations=20", "--resume"]).returncode == 0


def test_a_gpu_that_is_not_there_is_told(data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    run = finish([*configuration(tmp_path, data, "gpu.pt"), "--set", "fit.device=cuda"])
    assert run.returncode == 2
    assert "torch finds no GPU" in run.stderr.splitlines()[-1]


def train_briefly(data: Path, folder: Path) -> Path:
    """A single branch of three iterations at ``m.pt``."""
    return train(Training(
        out=folder / "m.pt", data_root=data, sources=(Source(data="manifest.csv", p=2, k=2),),
        model=replace(SHAPE, viewpoints=("any",)), fit=FitConfig(iterations=3, warm_up=1, device="cpu"),
    ), quiet=True)  # fmt: skip


def test_the_smallest_batches_train(data: Path, tmp_path: Path) -> None:
    shortly = FitConfig(iterations=3, warm_up=1, device="cpu")
    vnet = train_vnet(VNetTraining(
        out=tmp_path / "v.pt", data_root=data, sources=(LabelledSource(data="manifest.csv"),), model=SHAPE, batch=1, fit=shortly,
    ))  # fmt: skip
    train(Training(
        out=tmp_path / "m.pt", data_root=data, sources=(Source(data="manifest.csv", p=1, k=2),), model=SHAPE, vnet=vnet,
        augment=AugmentConfig(), fit=shortly,
    ))  # fmt: skip


class _Greedy(Objective):
    """Runs out of memory as torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.weight * torch.empty(1 << 60)).sum() + crops.sum() + labels.sum(), {}


class _Line(Objective):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 1))

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.weight.sum() - labels.float().mean()).square() + 0 * crops.sum(), {}


def _batch(number: int) -> Batch:
    row = ManifestRow(line=1, path=Path("x.jpg"), vehicle_id="v", camera_id="c")
    return Batch(torch.zeros(1, 3, 2, 2), torch.tensor([number % 3]), [row])


def test_memory_that_runs_out_is_told_with_what_needs_less() -> None:
    saved: list[int] = []
    fitter = Fitter(FitConfig(device="cpu"), _Greedy(), ALONE)
    with pytest.raises(ModelError, match="memory ran out at iteration 0; lower p"):
        fitter.run(_batch, title="t", log=None, measure=lambda _: ("", {}), save=saved.append, advice="lower p")
    assert saved == []  # nothing was learnt, so what is at out stays


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(InvalidValue, match="needs a GPU"):
        Fitter(FitConfig(precision="fp16"), _Line(), ALONE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"average": 1.0},
        {"workers": -1},
        {"accumulate": 0},
        {"momentum": -1.0},
        {"seed": 2**63},
    ],
)
def test_a_setting_that_makes_no_sense_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(wrong))):
        FitConfig(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def rates() -> Fitter:
    return Fitter(FitConfig(iterations=100, warm_up=10, learning_rate=1.0), _Line(), ALONE)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine(rates: Fitter) -> None:
    assert [round(rates.learning_rate(step), 4) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert rates.learning_rate(55) == pytest.approx(0.01 + 0.99 / 2)
    assert rates.learning_rate(100) == pytest.approx(0.01)
    rates.config = replace(rates.config, schedule="step", step_every=20, step_factor=0.2)
    assert [round(rates.learning_rate(step), 4) for step in (19, 20, 40)] == [1.0, 0.2, 0.04]


def test_accumulated_batches_make_one_step_of_their_mean() -> None:
    config = FitConfig(
        iterations=1, warm_up=0, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.5, accumulate=3
    )
    fitter = Fitter(config, _Line(), ALONE)
    assert list(fitter.numbers()) == [0, 1, 2]
    fitter.run(_batch, title="t", log=None, measure=lambda _: ("", {}), save=lambda _: None, advice="")
    # d/dw of the mean of (2w − n)² over n = 0, 1, 2 at w = 0 is −2 · mean(n) = −2 for each of both weights
    assert torch.allclose(fitter.objective.state_dict()["weight"], torch.full((2, 1), 1.0))
