"""Figures of a finished file, written into the contract of a copy of it: nothing is trained again."""

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx

from index.errors import InvalidValue
from model_export.exporting.onnx_export import describe, stamp, write_file, writing_to
from model_export.measuring.measurement import Measurement


def write_measured(model: Path, measured: Measurement, out: Path) -> Path:
    """A copy of the file ``model`` whose contract has these figures, in place of those it had of the data set.

    ``out`` may be ``model``. Weights and embedding space stay, the fingerprint is another one. Raises InvalidValue for
    re-ranked figures, ModelError where ``model`` is none or ``out`` cannot be written; nothing is left then.
    """
    if measured.reranked:
        raise InvalidValue("re-ranked figures are not what the model answers with, so its contract does not keep them")
    contract = describe(model)
    proto = onnx.load(str(model))
    stamp(proto, replace(contract, metrics={**contract.metrics, measured.data_set: measured.for_contract()}))
    with writing_to(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        written = Path(folder) / out.name
        write_file(proto, written)
        written.replace(out)
    return out
