"""The ONNX file at work, and files that are refused."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from index.contract import METADATA_KEY, fingerprint
from index.embedder import Embedder, cuda_options
from index.errors import ContractError, DeviceUnavailable, InvalidValue, ModelError
from index.machine.cpu_quota import usable_cpus


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


def crops(count: int, embedder: Embedder, seed: int = 0) -> NDArray[np.uint8]:
    height, width = embedder.contract.input_size
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def changed(tiny_model: Path, path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the model after ``change`` of its protobuf."""
    model = onnx.load(tiny_model)
    change(model)
    onnx.save(model, path)
    return path


def with_contract(tiny_model: Path, path: Path, **fields: object) -> Path:
    def change(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
        entry.value = json.dumps({**json.loads(entry.value), **fields})

    return changed(tiny_model, path, change)


def test_the_attributes_describe_file_and_session(tiny_model: Path, embedder: Embedder) -> None:
    assert embedder.fingerprint == fingerprint(tiny_model)
    assert embedder.provider == "CPUExecutionProvider"
    assert embedder.threads == 1
    assert embedder.contract.viewpoints == ("front", "rear", "side")
    assert Embedder(tiny_model).threads == usable_cpus()


def test_embed_gives_what_the_bare_session_gives(tiny_model: Path, embedder: Embedder) -> None:
    batch = crops(5, embedder)
    session = ort.InferenceSession(str(tiny_model), providers=["CPUExecutionProvider"])
    embedding, viewpoint = session.run(["embedding", "viewpoint"], {"crops": batch})

    embedded = embedder.embed(batch)

    assert embedded.embedding.dtype == np.float32
    assert embedded.embedding.shape == (5, embedder.contract.embedding_dim)
    assert embedded.viewpoint is not None
    np.testing.assert_allclose(embedded.embedding, embedding, atol=1e-5)
    np.testing.assert_allclose(embedded.viewpoint, viewpoint, atol=1e-5)
    np.testing.assert_allclose(embedded.viewpoint.sum(axis=1), 1, atol=1e-5)


def test_no_crops_give_no_embeddings(embedder: Embedder) -> None:
    embedded = embedder.embed(crops(0, embedder))
    assert embedded.embedding.shape == (0, embedder.contract.embedding_dim)
    assert embedded.viewpoint is not None
    assert embedded.viewpoint.shape == (0, 3)
    assert len(embedder.attention(crops(0, embedder)).globally) == 0


def test_attention_maps(embedder: Embedder) -> None:
    maps = embedder.attention(crops(3, embedder))
    assert maps.globally.shape == maps.locally.shape
    assert maps.globally.shape[0] == 3
    assert maps.globally.ndim == 3


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 3, 64, 64), (1, 64, 65, 3)])
def test_crops_of_another_shape_are_a_bug_of_the_caller(embedder: Embedder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="crops must be uint8"):
        embedder.embed(np.zeros(shape, dtype=np.uint8))


def test_crops_of_another_type_are_a_bug_of_the_caller(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="crops must be uint8"):
        embedder.embed(crops(1, embedder).astype(np.float32))


def test_threads_may_share_an_embedder(tiny_model: Path) -> None:
    embedder = Embedder(tiny_model, device="cpu", threads=1)
    batches = [crops(1 + n % 4, embedder, seed=n) for n in range(16)]
    expected = [embedder.embed(batch).embedding for batch in batches]
    together = threading.Barrier(4)

    def work(first: int) -> None:
        together.wait()
        for n in range(first, len(batches), 4):
            np.testing.assert_allclose(embedder.embed(batches[n]).embedding, expected[n], atol=1e-5)
            embedder.attention(batches[n])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model file .*none.onnx; name one that `vehicle-model export` wrote"):
        Embedder(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"this is not a model", b"\x08\x07" * 1000])
def test_a_file_that_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError) as refused:
        Embedder(path)
    assert "\n" not in str(refused.value)


def test_a_model_without_contract(tiny_model: Path, tmp_path: Path) -> None:
    path = changed(tiny_model, tmp_path / "x.onnx", lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ContractError, match=r"has no contract; use a file that `vehicle-model export` wrote"):
        Embedder(path)


def test_a_contract_of_a_newer_version_names_the_field(tiny_model: Path, tmp_path: Path) -> None:
    path = with_contract(tiny_model, tmp_path / "x.onnx", contract_version=2)
    with pytest.raises(ContractError, match="contract_version is 2"):
        Embedder(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embedding_dim": 31}, "embedding"),
        ({"viewpoints": ["front", "rear"]}, "viewpoint"),
        ({"viewpoints": ["any"]}, "one viewpoint only"),
        (
            {"input_size": [32, 32], "resize": {"size": [32, 32], "crop": [32, 32], "filter": "box", "aspect": "pad"}},
            "crops",
        ),
    ],
)
def test_a_contract_that_does_not_fit_its_graph(
    tiny_model: Path, tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    path = with_contract(tiny_model, tmp_path / "x.onnx", **fields)
    with pytest.raises((ContractError, ModelError), match=message):
        Embedder(path)


def test_a_model_without_an_embedding(tiny_model: Path, tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        (output,) = [output for output in model.graph.output if output.name == "embedding"]
        model.graph.output.remove(output)

    with pytest.raises(ContractError, match="no output embedding"):
        Embedder(changed(tiny_model, tmp_path / "x.onnx", rename))


def test_a_model_of_one_viewpoint_has_no_viewpoint_output(tiny_model: Path, tmp_path: Path) -> None:
    def drop(model: Any) -> None:
        for output in [output for output in model.graph.output if output.name != "embedding"]:
            model.graph.output.remove(output)

    path = changed(with_contract(tiny_model, tmp_path / "x.onnx", viewpoints=["any"]), tmp_path / "y.onnx", drop)
    embedder = Embedder(path, device="cpu", threads=1)
    assert embedder.embed(crops(2, embedder)).viewpoint is None
    assert embedder.embed(crops(0, embedder)).viewpoint is None
    with pytest.raises(ModelError, match="no attention"):
        embedder.attention(crops(1, embedder))


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_a_wanted_gpu_that_is_not_there_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="cuda"):
        Embedder(tiny_model, device="cuda")
    assert Embedder(tiny_model, device="auto").provider == "CPUExecutionProvider"


def test_the_memory_of_the_gpu_is_limited_by_onnx_runtime() -> None:
    assert cuda_options(0) == {}
    assert cuda_options(2_000_000_000) == {
        "gpu_mem_limit": "2000000000", "arena_extend_strategy": "kSameAsRequested",
    }  # fmt: skip
    with pytest.raises(InvalidValue, match="gpu_model_memory must be 0 or more bytes, not -1"):
        cuda_options(-1)


@pytest.mark.gpu
@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no ONNX Runtime with CUDA")
def test_a_limit_reaches_the_session_and_too_small_a_one_is_told(tiny_model: Path) -> None:
    embedder = Embedder(tiny_model, device="cuda", gpu_memory=10**9)
    options = embedder._session.get_provider_options()["CUDAExecutionProvider"]
    assert (options["gpu_mem_limit"], options["arena_extend_strategy"]) == ("1000000000", "kSameAsRequested")
    small = Embedder(tiny_model, device="cuda", gpu_memory=64 * 2**20)
    with pytest.raises(ModelError, match=r"failed on 20000 crops with gpu_model_memory 67 MB: "):
        small.embed(crops(20_000, small))


@pytest.mark.gpu
@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no ONNX Runtime with CUDA")
def test_a_wanted_gpu_runs(tiny_model: Path) -> None:
    embedder = Embedder(tiny_model, device="cuda")
    on_cpu = Embedder(tiny_model, device="cpu")
    assert embedder.provider == "CUDAExecutionProvider"
    batch = crops(7, embedder)
    np.testing.assert_allclose(embedder.embed(batch).embedding, on_cpu.embed(batch).embedding, atol=1e-3)
