"""Ratios that two documents tell are the same ratios."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_training_tells_lite2s_ratios_as_measured(precision: str) -> None:
    measured = re.search(
        rf"^lite2 at 256 +{precision} +routed +[\d.]+ +([\d.]+)", (DOCS / "benchmarks.md").read_text("utf-8"), re.M
    )
    told = re.search(
        rf"^\| {precision} routed ÷ fp32 dense, time \| [\d.]+ \| ([\d.]+) \|$",
        (DOCS / "training.md").read_text("utf-8"), re.M,
    )  # fmt: skip
    assert measured is not None
    assert told is not None
    assert told[1] == measured[1]
