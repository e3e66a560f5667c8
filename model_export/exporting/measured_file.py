"""Figures of a finished file, written into the contract of a copy of it: nothing is trained again."""

from pathlib import Path

from index.errors import InvalidValue
from model_export.exporting.contract_change import write_changed
from model_export.exporting.onnx_export import describe
from model_export.measuring.measurement import Measurement


def write_measured(model: Path, measured: Measurement, out: Path) -> Path:
    """A copy of the file ``model`` whose contract has these figures, in place of those it had of the data set.

    ``out`` may be ``model``. Weights and embedding space stay, the fingerprint is another one. Raises InvalidValue for
    re-ranked figures, ModelError where ``model`` is none or ``out`` cannot be written; nothing is left then.
    """
    if measured.reranked:
        raise InvalidValue("re-ranked figures are not what the model answers with, so its contract does not keep them")
    figures = {**describe(model).metrics, measured.data_set: measured.for_contract()}
    return write_changed(model, out, metrics=figures)
