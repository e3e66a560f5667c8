"""A model file that is given a probability is the same model."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from index.contract import fingerprint
from index.embedder import Embedder
from index.errors import ModelError
from model_export.exporting.calibrated_file import write_calibrated
from model_export.exporting.onnx_export import describe
from tests.test_contract import ISOTONIC, LOGISTIC


def test_the_graph_and_the_space_stay_and_the_fingerprint_is_another(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "calibrated.onnx"
    write_calibrated(tiny_model, out, LOGISTIC)
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
    write_calibrated(path, path, LOGISTIC)
    write_calibrated(path, path, ISOTONIC)
    assert describe(path).probability == ISOTONIC
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        write_calibrated(tmp_path / "none.onnx", tmp_path / "out.onnx", LOGISTIC)
    assert not list(tmp_path.iterdir())
