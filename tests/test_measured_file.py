"""Figures in the contract of a finished file."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from index.contract import fingerprint
from index.errors import InvalidValue, ModelError
from model_export.data_sets.data_set import open_data_set
from model_export.exporting.measured_file import write_measured
from model_export.exporting.onnx_export import check_crops, describe
from model_export.measuring.measurement import Measurement, measure
from model_export.measuring.onnx_model import OnnxModel


@pytest.fixture(scope="module")
def measured(tiny_model: Path, data: Path) -> Measurement:
    return measure(OnnxModel(tiny_model), open_data_set("manifest.csv", root=data), part="part=test", progress=False)


def embeddings(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray[tuple[int, int], np.dtype[np.float32]] = session.run(
        ["embedding"], {"crops": check_crops(3, describe(path).input_size)}
    )[0]
    return found


def test_a_copy_tells_the_figures_and_answers_as_before(
    tiny_model: Path, measured: Measurement, tmp_path: Path
) -> None:
    before = describe(tiny_model)
    out = write_measured(tiny_model, measured, tmp_path / "new" / "told.onnx")
    after = describe(out)
    told = after.metrics[measured.data_set]
    assert after == replace(before, metrics={**before.metrics, measured.data_set: told})
    assert told == measured.for_contract()
    assert (told["probes"], told["part"], told["protocol"]) == (18, "part=test", "cross-camera")
    assert told["cmc"][0] == told["rank_1"]
    assert told["cmc"][9] == told["rank_10"]
    assert len(told["cmc"]) == 50
    assert np.sum(told["viewpoint"]["confusion"]) == 18
    assert "fingerprint" not in told  # of the file before
    assert fingerprint(out) != fingerprint(tiny_model)
    assert np.array_equal(embeddings(out), embeddings(tiny_model))
    assert [each.name for each in out.parent.iterdir()] == ["told.onnx"]


def test_a_file_is_told_its_own_figures_and_others_stay(
    tiny_model: Path, measured: Measurement, tmp_path: Path
) -> None:
    own = Path(shutil.copy(tiny_model, tmp_path / "own.onnx"))
    write_measured(own, replace(measured, data_set="elsewhere"), own)
    write_measured(own, measured, own)
    assert {"elsewhere", measured.data_set} <= describe(own).metrics.keys()


def test_what_others_made_of_its_answers_is_not_the_models(
    tiny_model: Path, measured: Measurement, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match="re-ranked"):
        write_measured(tiny_model, replace(measured, reranked=True), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_or_no_place_is_told(tiny_model: Path, measured: Measurement, tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not an ONNX file"):
        write_measured(tmp_path / "no.onnx", measured, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="was not written"):
        write_measured(tiny_model, measured, tmp_path / "no.onnx" / "a.onnx")
