"""A finished file whose contract says something else or more; graph, weights and embedding space stay as they are."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from model_export.exporting.onnx_export import describe, stamp, write_file, writing_to


def write_changed(model: Path, out: Path, **fields: Any) -> Path:
    """A copy of the file ``model`` with these fields of the contract; ``out`` may be ``model``.

    Its fingerprint is another one, galleries go on. Raises ModelError, also where ``out`` cannot be written, and
    ContractError; nothing is left then.
    """
    contract = replace(describe(model), **fields)
    proto = onnx.load(str(model))
    stamp(proto, contract)
    with writing_to(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        written = Path(folder) / out.name
        write_file(proto, written)
        written.replace(out)
    return out
