"""A model by its path: the bytes decide what it is."""

from pathlib import Path

import pytest

from index.errors import ModelError
from model_export.measuring.onnx_model import OnnxModel
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.reporting.model_file import open_model


def test_both_kinds_are_opened_whatever_they_are_called(
    tiny_model: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert isinstance(open_model(tiny_model), OnnxModel)
    assert isinstance(open_model(tiny_checkpoint), CheckpointModel)
    (tmp_path / "model").write_bytes(tiny_model.read_bytes())
    (tmp_path / "best.onnx").write_bytes(tiny_checkpoint.read_bytes())
    assert isinstance(open_model(tmp_path / "model"), OnnxModel)
    assert isinstance(open_model(tmp_path / "best.onnx"), CheckpointModel)


def test_what_is_not_there_or_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"model .*none\.pt cannot be read: No such file or directory; give a checkpoint"
    ):
        open_model(tmp_path / "none.pt")
    with pytest.raises(ModelError, match="Is a directory"):
        open_model(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="neither a checkpoint nor an ONNX file"):
        open_model(tmp_path / "empty.onnx")
    (tmp_path / "zip.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match="damaged or no checkpoint"):
        open_model(tmp_path / "zip.pt")
