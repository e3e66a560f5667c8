"""Pictures a second of a training, over the same forward and backward passes on a batch in memory, in one run.

    python -m scripts.bench_train [--backbone efficientnet_lite0] [--size 128] [--iterations 60]

What lies between the two figures is decoding, augmentation, averaged weights and the log. ``cached`` keeps decoded crops,
as a training does within ``fit.cache_mb``; ``decoding`` keeps none. The pictures are those of the demo gallery.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from index.machine.cpu_quota import usable_cpus
from model_export.data_sets.selection import identities
from model_export.network.mvan import IdentityHead, MVANConfig
from model_export.training.fitting import FitConfig, Fitter
from model_export.training.loader import Batch
from model_export.training.mnet_training import MNetObjective, Source, Training, open_sources, start_model, train
from model_export.training.processes import started
from model_export.training.run_log import RunLog, log_folder

P, K = 8, 4


def logged_rate(folder: Path) -> float:
    """Median of the pictures a second in a log, its first lines left out."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(median(line["pictures_per_second"] for line in lines[1:] if line["kind"] == "train"))


def training_rate(config: Training) -> float:
    """Of a training as a user runs it."""
    return logged_rate(log_folder(train(config)))


def bare_rate(config: Training) -> float:
    """Of forward, backward and step alone, on one batch."""
    count = sum(len(identities(source.kept)) for source in open_sources(config))
    model = start_model(config)
    objective = MNetObjective(model, IdentityHead(model, count), config)
    objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size, rows = config.model.input_size, open_sources(config)[0].sampler.batch(0)
    crops = (torch.rand(P * K, 3, size, size) * 255).contiguous(memory_format=torch.channels_last)
    batch = Batch(crops, torch.arange(P).repeat_interleave(K), rows)
    log = RunLog(log_folder(config.out))
    with started("cpu") as processes:
        Fitter(replace(config.fit, average=0.0, workers=0), objective, processes).run(
            lambda _: batch, title="bare", log=log, measure=lambda _: ("done", {}), save=lambda _: None, advice=""
        )
    return logged_rate(log_folder(config.out))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    arguments = parser.parse_args()
    print(f"{usable_cpus()} cores, {arguments.backbone} at {arguments.size} px, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        fit = FitConfig(
            iterations=arguments.iterations, precision=arguments.precision, average=0.99, device="cpu",
            evaluate_every=10**6, checkpoint_every=10**6,
        )  # fmt: skip
        model = MVANConfig(
            backbone=arguments.backbone, viewpoints=("any",), input_size=arguments.size, neck=True, lam="standardized"
        )
        config = Training(
            out=Path(folder) / "cached.pt", sources=(Source(data="examples/demo-gallery/manifest.csv", p=P, k=K),),
            model=model, frozen_depthwise=True, fit=fit,
        )  # fmt: skip
        bare = bare_rate(replace(config, out=Path(folder) / "bare.pt"))
        for name, cache in (("cached", fit.cache_mb), ("decoding", 0)):
            ours = training_rate(replace(config, out=Path(folder) / f"{name}.pt", fit=replace(fit, cache_mb=cache)))
            print(f"{name:10}{ours:8.1f} pictures/s    over a batch in memory{bare:8.1f} /s  = {ours / bare:.2f}")


if __name__ == "__main__":
    main()
