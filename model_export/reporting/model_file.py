"""A model by its path, whatever kind of file it is."""

from pathlib import Path

from index.errors import ModelError
from model_export.measuring.measured_model import MeasuredModel
from model_export.measuring.onnx_model import OnnxModel

_ZIP = b"PK\x03\x04"  # what torch.save writes


def open_model(path: Path) -> MeasuredModel:
    """Open a checkpoint or an ONNX file; the bytes decide, not the name. Raises ModelError or ContractError."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except OSError as error:
        raise ModelError(
            f"model {path} cannot be read: {error.strerror}; give a checkpoint of vehicle-model train or a file of "
            "vehicle-model export"
        ) from error
    if start == _ZIP:
        from model_export.reporting.checkpoint_model import CheckpointModel

        return CheckpointModel.open(path)
    return OnnxModel(path)
