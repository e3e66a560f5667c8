"""A model by its path, whatever kind of file it is."""

from pathlib import Path

from index.errors import ModelError
from model_export.measuring.measured_model import MeasuredModel
from model_export.measuring.onnx_model import OnnxModel

_ZIP = b"PK\x03\x04"  # what torch.save writes


def is_checkpoint(path: Path) -> bool:
    """Whether it is a checkpoint; the bytes decide, not the name. Raises ModelError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError as error:
        raise ModelError(
            f"model {path} cannot be read: {error.strerror}; give a checkpoint of vehicle-model train or a file of "
            "vehicle-model export"
        ) from error


def open_model(path: Path) -> MeasuredModel:
    """Open a checkpoint or an ONNX file. Raises ModelError or ContractError."""
    if is_checkpoint(path):
        from model_export.reporting.checkpoint_model import CheckpointModel

        return CheckpointModel.open(path)
    return OnnxModel(path)
