"""A model file that says what its distances mean; weights, graph and embedding space stay as they are."""

from dataclasses import replace
from pathlib import Path

import onnx

from index.contract import MatchProbability
from model_export.exporting.onnx_export import describe, stamp, write_file, writing_to


def write_calibrated(model: Path, out: Path, probability: MatchProbability) -> None:
    """Write the file ``model`` to ``out``, which may be itself, with this in its contract.

    Another fingerprint, the same embedding space: galleries stay as they are. Raises ModelError, ContractError.
    """
    contract = replace(describe(model), probability=probability)
    temporary = out.with_name(f".{out.name}.partial")
    with writing_to(out):
        try:
            proto = onnx.load(str(model))
            stamp(proto, contract)
            write_file(proto, temporary)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
