"""Time and size of every backbone × precision × routing, over the same model's fp32 dense time, in one run.

    python -m scripts.bench_model [--only resnet50 …] [--threads 2] [--batch 8] [--device cuda]

Weights are ImageNet's where they are installed and random elsewhere: speed does not depend on them. V-Net is made sure
of itself, so that one branch runs for a crop, as trained ones nearly do. The pictures are those of the demo gallery,
over and over where a batch has more. On CUDA fp32 is computed with and without TF32, and int8 is left out: its
quantised convolutions run on the CPU there. The last column is the median of ‖Δf‖/‖f‖ to fp32 dense on the CPU. The last
line is the shipped file, over plain EfficientNet-Lite2 in fp32, which has neither branches, V-Net nor attention.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from index.contract import Precision, Resize
from index.crops import model_crop, read_picture
from index.machine.cpu_quota import usable_cpus
from model_export.exporting.onnx_export import describe, translate
from model_export.exporting.reduction import reduce_precision
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.network.folding import fold
from model_export.network.mvan import MVAN, MVANConfig
from scripts.whole_number import from_one

LIGHT = MVANConfig(
    backbone="efficientnet_lite2", lam="standardized", embedding="fc512", neck=True, normalized=True,
    vnet="lite0-blocks11", vnet_standardized=True, vnet_size=112,
)  # fmt: skip
PLAIN, SHIPPED = "plain lite2 224", Path("models/default.onnx")
SHAPES = {
    PLAIN: replace(LIGHT, viewpoints=("any",), attention="none"),  # neither branches nor V-Net
    "lite0 at 224": replace(LIGHT, backbone="efficientnet_lite0"),
    "lite2 at 224": LIGHT,
    "lite2 at 256": replace(LIGHT, input_size=256, vnet_size=160),
    "resnet50": MVANConfig(backbone="resnet50"),
    "vgg16 split 2": MVANConfig(backbone="vgg16", split="conv3"),
    "vgg16 split 4": MVANConfig(backbone="vgg16"),
}
CALIBRATION, TIMES = 16, 5
Kind = tuple[Precision, bool]  # precision, dense
Providers = list[str | tuple[str, dict[str, int]]]


def build(shape: MVANConfig) -> MVAN:
    """The shape with a V-Net that calls everything by its first viewpoint."""
    torch.manual_seed(0)
    model = MVAN(shape)
    if shape.backbone.startswith("efficientnet"):
        backbone = build_backbone(shape.backbone)
        load_pretrained(backbone, "imagenet")
        model.load_backbone(backbone)
    last = [layer for layer in model.vnet.head if isinstance(layer, nn.Linear)][-1] if model.vnet else nn.Linear(1, 1)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([20.0] + [0.0] * (last.out_features - 1)))
    return fold(model)


def write(model: MVAN, kind: Kind, folder: Path, crops: NDArray[np.uint8]) -> Path:
    """The model as a file of one precision and routing."""
    precision, dense = kind
    model.config = replace(model.config, routing_threshold=None if dense else 0.01)
    path = folder / f"{precision}-{dense}.onnx"
    whole = path if precision == "fp32" else folder / "whole.onnx"
    onnx.save(translate(model), str(whole))
    if precision != "fp32":
        reduce_precision(whole, path, precision, lambda: crops[:CALIBRATION])
    return path


def on(device: str, *, tf32: bool) -> Providers:
    """Execution providers of a device."""
    gpu: Providers = [("CUDAExecutionProvider", {"use_tf32": int(tf32)})]
    return (gpu if device == "cuda" else []) + ["CPUExecutionProvider"]


def crop_ms(
    path: Path, crops: NDArray[np.uint8], threads: int, providers: Providers
) -> tuple[float, NDArray[np.float32]]:
    """Least milliseconds a crop of a few runs, after two that warm up, and the embeddings (N, D)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    if session.get_providers()[0] != (providers[0] if isinstance(providers[0], str) else providers[0][0]):
        raise SystemExit(f"{providers[0]} does not run here")
    seconds = []
    for _ in range(TIMES + 2):
        began = time.perf_counter()
        embedding = session.run(["embedding"], {"crops": crops})[0]
        seconds.append(time.perf_counter() - began)
    return min(seconds[2:]) / len(crops) * 1000, embedding


def crops_of(resize: Resize, count: int) -> NDArray[np.uint8]:
    """Crops uint8 (count, H, W, 3) of the demo gallery, over and over."""
    paths = sorted(Path("examples/demo-gallery/images").glob("*.jpg"))[:count]
    own = [model_crop(read_picture(path.read_bytes(), max_pixels=10**8), resize) for path in paths]
    return np.stack([own[n % len(own)] for n in range(count)])


def drift(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Median of ‖Δf‖/‖f‖."""
    return float(np.median(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(SHAPES)
    parser.add_argument("--only", nargs="*", default=[], choices=SHAPES, metavar="NAME", help=f"of {names}")
    parser.add_argument("--threads", type=from_one, default=usable_cpus())
    parser.add_argument("--batch", type=from_one, default=8)
    parser.add_argument("--fp16", action="store_true", help="fp16 too, which a CPU has no fast kernels for")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: fp32 and fp16")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    if cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    plain_ms = 0.0
    kinds: list[Kind] = [("fp32", True), ("fp32", False)]
    if not cuda:
        kinds += [("int8", True), ("int8", False)]
    if arguments.fp16 or cuda:
        kinds += [("fp16", True), ("fp16", False)]
    where = arguments.device if cuda else f"{arguments.threads} threads"
    print(f"{where}, batches of {arguments.batch}, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':16}{'precision':>10}{'routing':>9}{'ms a crop':>11}{'÷ fp32 dense':>14}{'MB':>8}{'drift':>9}")
    for name, shape in SHAPES.items():
        if arguments.only and name not in arguments.only:
            continue
        model, size = build(shape), (shape.input_size,) * 2
        crops = crops_of(Resize(size=size, crop=size), max(arguments.batch, CALIBRATION))
        dense_ms, reference = 0.0, None
        with tempfile.TemporaryDirectory() as folder:
            for kind in kinds if model.vnet else kinds[::2]:  # one branch has nothing to route
                path = write(model, kind, Path(folder), crops)
                for tf32 in (False, True) if cuda and kind[0] == "fp32" else (False,):
                    providers = on(arguments.device, tf32=tf32)
                    batch = crops[: arguments.batch]
                    each, embedding = crop_ms(path, batch, arguments.threads, providers)
                    if reference is None:
                        dense_ms, reference = each, embedding
                        plain_ms = each if name == PLAIN else plain_ms
                        if cuda:
                            _, reference = crop_ms(path, batch, arguments.threads, on("cpu", tf32=False))
                    precision, routing = "tf32" if tf32 else kind[0], "dense" if kind[1] else "routed"
                    print(
                        f"{name:16}{precision:>10}{routing:>9}{each:11.{2 if cuda else 1}f}{each / dense_ms:14.2f}"
                        f"{path.stat().st_size / 1e6:8.1f}{drift(embedding, reference):9.1e}",
                        flush=True,
                    )
    if plain_ms and not cuda:
        crops = crops_of(describe(SHIPPED).resize, arguments.batch)
        each, _ = crop_ms(SHIPPED, crops, arguments.threads, on("cpu", tf32=False))
        print(f"{SHIPPED}: {each:.1f} ms a crop, {each / plain_ms:.2f} of {PLAIN} in fp32")


if __name__ == "__main__":
    main()
