"""A model file whose contract says more is the same model."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from index.contract import fingerprint
from index.embedder import Embedder
from index.errors import ModelError
from model_export.exporting.contract_change import write_changed
from model_export.exporting.onnx_export import describe
from tests.test_contract import ISOTONIC, LOGISTIC


def test_the_graph_and_the_space_stay_and_the_fingerprint_is_another(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "calibrated.onnx"
    write_changed(tiny_model, out, probability=LOGISTIC)
    before, after = describe(tiny_model), describe(out)
    assert after.probability == LOGISTIC
    assert (after.embedding_space, after.created_at, after.metrics) == (
        before.embedding_space, before.created_at, before.metrics,
    )  # fmt: skip
    assert fingerprint(out) != fingerprint(tiny_model)
    graphs = [onnx.load(str(path)).graph.SerializeToString(deterministic=True) for path in (tiny_model, out)]
    assert graphs[0] == graphs[1]
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    seen = [Embedder(path, device="cpu", threads=1).embed(crops).embedding for path in (tiny_model, out)]
    assert (seen[0] == seen[1]).all()


def test_a_file_may_be_written_over_and_again(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model.read_bytes())
    write_changed(path, path, probability=LOGISTIC)
    write_changed(path, path, probability=ISOTONIC)
    assert describe(path).probability == ISOTONIC
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        write_changed(tmp_path / "none.onnx", tmp_path / "out.onnx", probability=LOGISTIC)
    assert not list(tmp_path.iterdir())
