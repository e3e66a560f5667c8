"""On a GPU: trainings in every precision, and one session that meets every mixture of viewpoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from index.crops import model_crop, read_picture
from index.embedder import Embedder
from index.errors import ModelError
from model_export.exporting.onnx_export import export_model, mixed_crops
from model_export.exporting.reduction import reduce_precision
from model_export.training.augment import AugmentConfig, augmented
from model_export.training.checkpoint import load_checkpoint
from model_export.training.fitting import FitConfig
from model_export.training.mnet_training import Training, train
from model_export.training.vnet_training import LabelledSource, VNetTraining, train_vnet
from tests.conftest import untrained
from tests.test_mnet_training import SHAPE, training

pytestmark = pytest.mark.gpu

needs_torch = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
needs_onnx_runtime = pytest.mark.skipif(
    "CUDAExecutionProvider" not in ort.get_available_providers(), reason="no ONNX Runtime with CUDA"
)
SHIPPED = Path(__file__).parent.parent / "models" / "default.onnx"


def on_gpu(iterations: int, **more: object) -> FitConfig:
    return replace(
        FitConfig(
            iterations=iterations, warm_up=2, learning_rate=5e-3, device="cuda", checkpoint_every=1000,
            evaluate_every=1000,
        ),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def vnet(data: Path) -> Path:
    """A V-Net that was trained on the GPU."""
    config = VNetTraining(
        out=data / "runs" / "gpu-vnet.pt", data_root=data, model=SHAPE, batch=24, fit=on_gpu(150, workers=2),
        sources=(LabelledSource(data="manifest.csv", hold_out="part=test"),),
        augment=AugmentConfig(flip=0, rotate=0, exposure=0.1, grey=0, erase=0, blur=0),
    )  # fmt: skip
    return train_vnet(config)


def vehicles(data: Path, vnet: Path, name: str, **more: object) -> Training:
    return replace(training(data, vnet, f"{name}.pt", 1), fit=on_gpu(60, workers=2, **more))


@needs_torch
def test_a_gpu_augments_by_the_seed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)
    cuda = torch.device("cuda")
    first, again, other = (
        augmented(pixels, 32, AugmentConfig(), seed=0, number=number, device=cuda) for number in (0, 0, 1)
    )
    assert first.device.type == "cuda"
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (12, 3, 32, 32)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    still = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)
    on_both = [
        augmented(pixels, 40, still, seed=0, number=0, device=torch.device(name)).cpu() for name in ("cpu", "cuda")
    ]
    assert torch.equal(*on_both)


@needs_torch
def test_vnet_learns_on_a_gpu(vnet: Path) -> None:
    assert load_checkpoint(vnet, kind="vnet")["metrics"]["mean"] >= 0.9


@needs_torch
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_vehicles_are_learnt_in_every_precision(data: Path, vnet: Path, precision: str) -> None:
    out = train(vehicles(data, vnet, precision, precision=precision, accumulate=2))
    content = load_checkpoint(out, kind="mvan")
    assert content["metrics"][data.name]["rank_1"] > 0.3  # by chance 3 in 36
    assert (content["fit"]["scaler"] != {}) == (precision == "fp16")


@needs_torch
def test_a_run_on_a_gpu_is_taken_up_again(data: Path, vnet: Path) -> None:
    whole = vehicles(data, vnet, "whole", precision="fp16", average=0.9)
    half = replace(whole, out=data / "runs" / "half.pt", fit=replace(whole.fit, iterations=30))
    train(whole)
    train(half)
    train(replace(half, fit=whole.fit), resume=True)
    content = load_checkpoint(half.out, kind="mvan")
    assert content["step"] == 60
    assert content["metrics"][data.name]["map"] == pytest.approx(
        load_checkpoint(whole.out, kind="mvan")["metrics"][data.name]["map"], abs=0.05
    )


@needs_torch
def test_too_little_memory_says_what_to_set(data: Path, vnet: Path) -> None:
    config = vehicles(data, vnet, "large")
    config = replace(config, model=replace(config.model, input_size=512), resize=0)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(60e6 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(
            ModelError, match=r"memory ran out at iteration 0; lower sources\.0\.p or model\.input_size"
        ):
            train(config)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def batches(model: torch.nn.Module, count: int) -> dict[str, NDArray[np.uint8]]:
    """Pictures of one viewpoint only, for each, and of all mixed; a picture alone and a batch of none."""
    mixed = mixed_crops(model, 3 * count)  # type: ignore[arg-type]
    alone = {name: np.ascontiguousarray(mixed[view::3]) for view, name in enumerate(("front", "rear", "side"))}
    return {**alone, "mixed": mixed, "one": mixed[:1], "none": mixed[:0], "turned": np.ascontiguousarray(mixed[::-1])}


@needs_onnx_runtime
def test_one_session_meets_every_mixture_of_viewpoints(tiny_model: Path) -> None:
    on_gpu, on_cpu = Embedder(tiny_model, device="cuda"), Embedder(tiny_model, device="cpu")
    assert on_gpu.provider == "CUDAExecutionProvider"
    mixtures = batches(untrained().model, 5)
    for _ in range(3):  # each after each other, so that a plan made for one meets the others
        for name, crops in mixtures.items():
            expected, got = on_cpu.embed(crops), on_gpu.embed(crops)
            assert got.viewpoint is not None
            assert expected.viewpoint is not None
            if name in ("front", "rear", "side"):
                assert set(expected.viewpoint.argmax(1)) == {("front", "rear", "side").index(name)}
            np.testing.assert_allclose(got.embedding, expected.embedding, atol=5e-3, err_msg=name)
            np.testing.assert_allclose(got.viewpoint, expected.viewpoint, atol=5e-3, err_msg=name)
            np.testing.assert_allclose(
                on_gpu.attention(crops).globally, on_cpu.attention(crops).globally, atol=5e-3, err_msg=name
            )


@needs_onnx_runtime
def test_fp16_runs_on_a_gpu_and_stays_near_fp32(tmp_path: Path) -> None:
    restored = untrained()
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    export_model(restored, whole, half_weights=False)
    reduce_precision(whole, half, "fp16", lambda: mixed_crops(restored.model, 6))
    fp16, fp32 = Embedder(half, device="cuda"), Embedder(whole, device="cpu")
    assert fp16.provider == "CUDAExecutionProvider"
    for name, crops in batches(restored.model, 4).items():
        np.testing.assert_allclose(fp16.embed(crops).embedding, fp32.embed(crops).embedding, atol=3e-2, err_msg=name)


def shift(model: Path, crops: NDArray[np.uint8], *, tf32: bool) -> tuple[float, float]:
    """p50 and p99 of ‖Δf‖/‖f‖ between CUDA and the CPU."""
    providers = [("CUDAExecutionProvider", {"use_tf32": int(tf32)}), "CPUExecutionProvider"]
    on_gpu = ort.InferenceSession(str(model), providers=providers).run(["embedding"], {"crops": crops})[0]
    on_cpu = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(["embedding"], {"crops": crops})[
        0
    ]
    drift = np.linalg.norm(on_gpu - on_cpu, axis=1) / np.linalg.norm(on_cpu, axis=1)
    return float(np.quantile(drift, 0.5)), float(np.quantile(drift, 0.99))


@needs_onnx_runtime
def test_what_tf32_moves_is_small(tmp_path: Path) -> None:
    restored = untrained(
        replace(untrained().config.model, backbone="efficientnet_lite0", vnet="lite0-blocks4", input_size=128)
    )
    export_model(restored, tmp_path / "model.onnx", half_weights=False)
    crops = mixed_crops(restored.model, 24)
    with_tf32, without = (shift(tmp_path / "model.onnx", crops, tf32=tf32) for tf32 in (True, False))
    assert without[1] < 1e-4
    assert without[0] < with_tf32[0]  # else it was not on
    assert with_tf32[1] < 1e-2


@needs_onnx_runtime
def test_the_shipped_model_runs_on_a_gpu() -> None:
    on_gpu, on_cpu = Embedder(SHIPPED, device="cuda"), Embedder(SHIPPED, device="cpu")
    pictures = sorted((SHIPPED.parent.parent / "examples" / "demo-gallery" / "images").glob("*.jpg"))[:8]
    resize = on_cpu.contract.resize
    crops = np.stack([model_crop(read_picture(path.read_bytes(), max_pixels=10**8), resize) for path in pictures])
    assert on_gpu.provider == "CUDAExecutionProvider"
    assert (on_gpu.embed(crops).embedding * on_cpu.embed(crops).embedding).sum(1).min() > 0.98  # int8 rounds otherwise
