"""What a model says of a data set's rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from index.errors import InvalidValue, ModelError
from index.manifest import read_manifest
from model_export.data_sets.crop_cache import CropCache
from model_export.measuring.measured_model import see_rows
from model_export.measuring.onnx_model import OnnxModel
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.training.checkpoint import load_checkpoint, save_checkpoint


def test_rows_are_seen_in_batches_as_they_would_be_alone(tiny_model: Path, data: Path) -> None:
    model, rows = OnnxModel(tiny_model), list(read_manifest(data / "manifest.csv"))
    seen = see_rows(model, rows, progress=False)
    assert seen.embedding.shape == (72, 32)
    assert seen.viewpoint is not None
    assert seen.viewpoint.shape == (72, 3)
    alone = model.see(CropCache(model.resize).crops(rows[70:71]))
    np.testing.assert_allclose(seen.embedding[70:71], alone.embedding, atol=1e-5)


def test_a_missing_picture_is_named(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "manifest.csv", tmp_path)
    with pytest.raises(InvalidValue, match=r"v0_0_front\.png \(row 2 of its data set\) cannot be read: No such file"):
        see_rows(OnnxModel(tiny_model), list(read_manifest(tmp_path / "manifest.csv")), progress=False)


def test_an_embedding_that_is_not_finite_is_refused(tiny_checkpoint: Path, data: Path, tmp_path: Path) -> None:
    content = load_checkpoint(tiny_checkpoint, kind="mvan")
    content.pop("format")
    name = next(name for name in content["weights"] if name.startswith("shared."))
    content["weights"][name] = torch.full_like(content["weights"][name], float("nan"))
    save_checkpoint(tmp_path / "nan.pt", content)
    with pytest.raises(ModelError, match=r"model tiny gives .*v0_0_front\.png an embedding that is not finite"):
        see_rows(CheckpointModel.open(tmp_path / "nan.pt"), list(read_manifest(data / "manifest.csv")), progress=False)
