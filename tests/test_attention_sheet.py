"""Where a model looked, on the three pictures of a case."""

from pathlib import Path

import numpy as np
import pytest

from model_export.data_sets.data_set import open_data_set
from model_export.measuring.measured_model import see_rows
from model_export.measuring.onnx_model import OnnxModel
from model_export.measuring.protocols import plan
from model_export.reporting.attention_sheet import attention_sheet, global_range, looks
from model_export.reporting.cases import Case, worst_cases
from model_export.reporting.drawing import FRAMES
from tests.test_onnx_model import stripped


@pytest.fixture(scope="module")
def case(tiny_model: Path, data: Path) -> Case:
    model, planned = OnnxModel(tiny_model), plan(open_data_set("manifest.csv", root=data))
    cases, _ = worst_cases(
        planned, {"tiny": see_rows(model, planned.rows, progress=False).embedding}, count=1, progress=False
    )
    return cases[0]


def test_probe_first_wrong_and_first_right_as_the_model_saw_them(case: Case, tiny_model: Path) -> None:
    model = OnnxModel(tiny_model)
    seen = looks(model, case)
    assert [look.frame for look in seen] == ["probe", "wrong", "right"]
    assert seen[1].what == "first wrong, rank 1"
    assert seen[2].what == f"first right, rank {case.ranking.first_right.place}"
    crops = np.stack([look.crop for look in seen])
    given, said = model.attention(crops), model.see(crops).viewpoint
    assert given is not None
    assert said is not None
    np.testing.assert_allclose(seen[2].globally, given.globally[2], atol=1e-5)
    best = int(said[0].argmax())
    assert seen[0].viewpoint == f"{model.viewpoints[best]} {said[0, best]:.0%}"
    assert global_range(seen[0]) == f"global {given.globally[0].min():.2f} to {given.globally[0].max():.2f}"


def test_the_sheet_has_a_frame_for_each(case: Case, tiny_model: Path) -> None:
    pixels = np.asarray(attention_sheet(looks(OnnxModel(tiny_model), case)))
    lefts = [
        np.flatnonzero((pixels == np.array(colour)).all(2).any(0)).min()
        for colour in (FRAMES["probe"], FRAMES["wrong"], FRAMES["right"])
    ]
    assert lefts == sorted(lefts)
    assert len(set(lefts)) == 3


def test_a_model_that_does_not_tell_gives_nothing(case: Case, tiny_model: Path, tmp_path: Path) -> None:
    assert looks(OnnxModel(stripped(tiny_model, tmp_path / "q.onnx", outputs=("global_attention",))), case) == []
