"""A checkpoint as it is measured: the same as the file that is exported from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.errors import ModelError
from model_export.exporting.onnx_export import check_crops
from model_export.measuring.onnx_model import OnnxModel
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.training.checkpoint import save_checkpoint
from tests.conftest import TINY, untrained, write_checkpoint

CROPS = check_crops(9, (64, 64))


def test_checkpoint_and_exported_file_say_the_same(tiny_checkpoint: Path, tiny_model: Path) -> None:
    trained, exported = CheckpointModel.open(tiny_checkpoint), OnnxModel(tiny_model)
    assert (trained.name, trained.resize, trained.viewpoints) == (exported.name, exported.resize, exported.viewpoints)
    assert trained.embedding_dim == exported.embedding_dim
    assert trained.fingerprint != exported.fingerprint
    ours, theirs = trained.see(CROPS), exported.see(CROPS)
    assert ours.viewpoint is not None
    assert theirs.viewpoint is not None
    np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=2e-2)  # the file's weights are fp16
    np.testing.assert_allclose(ours.viewpoint, theirs.viewpoint, atol=2e-2)


def test_attention_is_the_same_where_one_viewpoint_wins(tiny_checkpoint: Path, tiny_model: Path) -> None:
    trained, exported = CheckpointModel.open(tiny_checkpoint), OnnxModel(tiny_model)
    seen = trained.see(CROPS).viewpoint
    assert seen is not None
    sure = seen.max(1) > 0.999
    assert sure.any()
    ours, theirs = trained.attention(CROPS[sure]), exported.attention(CROPS[sure])
    assert theirs is not None
    np.testing.assert_allclose(ours.globally, theirs.globally, atol=2e-2)
    np.testing.assert_allclose(ours.locally, theirs.locally, atol=0.1)  # standard deviations


def test_the_paper_s_one_hot_map_is_drawn_from_its_sum(tmp_path: Path) -> None:
    shape = replace(TINY, lam="paper", viewpoints=("any",))
    write_checkpoint(tmp_path / "paper.pt", untrained(shape))
    model = CheckpointModel.open(tmp_path / "paper.pt")
    assert model.see(CROPS).viewpoint is None
    locally = model.attention(CROPS).locally
    np.testing.assert_allclose(locally.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(locally.std((1, 2)), 1, atol=1e-2)


def test_another_kind_of_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "vnet.pt", {"kind": "vnet"})
    with pytest.raises(ModelError, match="is a vnet checkpoint, a mvan one is needed"):
        CheckpointModel.open(tmp_path / "vnet.pt")
