"""Viewpoints as named against as labelled."""

import numpy as np
import pytest

from model_export.measuring.viewpoint_accuracy import viewpoint_figures

VIEWS = ("front", "rear", "side")


def test_a_table_computed_by_hand() -> None:
    said = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    labels = ["front", "rear", "rear", "rear", None, "roof"]
    figures = viewpoint_figures(said, labels, VIEWS)
    assert figures is not None
    assert figures.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert figures.recall == pytest.approx({"front": 1, "rear": 2 / 3})
    assert figures.mean == pytest.approx(5 / 6)  # side has no picture
    assert figures.unknown == 1
    assert figures.to_dict()["pictures"] == 4
    assert "83.3% of 4 labelled pictures" in str(figures)
    assert "1 with a label that the model does not know" in str(figures)


def test_without_labels_there_is_nothing_to_tell() -> None:
    assert viewpoint_figures(np.eye(3, dtype=np.float32), [None, "roof", None], VIEWS) is None
