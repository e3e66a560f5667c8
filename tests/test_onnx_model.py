"""An ONNX file as it is measured."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from index.contract import fingerprint
from index.errors import ContractError, ModelError
from model_export.exporting.onnx_export import check_crops, describe
from model_export.measuring.onnx_model import OnnxModel

CROPS = check_crops(5, (64, 64))


def test_it_says_what_the_file_says(tiny_model: Path) -> None:
    model, contract = OnnxModel(tiny_model), describe(tiny_model)
    assert (model.name, model.resize, model.viewpoints) == (contract.name, contract.resize, contract.viewpoints)
    assert model.fingerprint == fingerprint(tiny_model)
    embedding, viewpoint = onnxruntime.InferenceSession(str(tiny_model)).run(
        ["embedding", "viewpoint"], {"crops": CROPS}
    )
    seen = model.see(CROPS)
    np.testing.assert_array_equal(seen.embedding, embedding)
    assert seen.viewpoint is not None
    np.testing.assert_array_equal(seen.viewpoint, viewpoint)


def test_the_local_map_is_a_standardised_sum(tiny_model: Path) -> None:
    seen = OnnxModel(tiny_model).attention(CROPS)
    assert seen is not None
    assert seen.globally.shape == seen.locally.shape
    assert 0 <= seen.globally.min() <= seen.globally.max() <= 1
    np.testing.assert_allclose(seen.locally.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.locally.std((1, 2)), 1, atol=1e-3)


def stripped(source: Path, to: Path, *, outputs: tuple[str, ...] = (), contract: bool = True) -> Path:
    """A copy without some outputs, or without its contract."""
    proto = onnx.load(str(source))
    for output in [output for output in proto.graph.output if output.name in outputs]:
        proto.graph.output.remove(output)
    if not contract:
        del proto.metadata_props[:]
    onnx.save(proto, str(to))
    return to


def test_a_file_without_attention_says_so_and_one_without_viewpoint_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    quiet = OnnxModel(stripped(tiny_model, tmp_path / "quiet.onnx", outputs=("local_attention",)))
    assert quiet.attention(CROPS) is None
    with pytest.raises(ContractError, match=r"blind\.onnx has no output viewpoint; use a file"):
        OnnxModel(stripped(tiny_model, tmp_path / "blind.onnx", outputs=("viewpoint",)))


def test_what_is_no_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"bare\.onnx has no contract; use a file"):
        OnnxModel(stripped(tiny_model, tmp_path / "bare.onnx", contract=False))
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ModelError, match=r"text\.onnx is neither a checkpoint nor an ONNX file"):
        OnnxModel(tmp_path / "text.onnx")
