"""Which kind answers for how many rows, and what it takes."""

import io

import numpy as np
import pytest

from index.errors import NotEnoughMemory
from index.gallery import BuiltKind, Kind, Vectors
from index.searching.index_kind import CLASSES, built_kind, estimate, require_memory
from tests.index_kinds import ALL, BUILT, kind_name


@pytest.mark.parametrize("kind", ALL, ids=kind_name)
def test_few_rows_need_nothing_built(kind: tuple[Kind, Vectors]) -> None:
    assert built_kind(*kind, 999, now=None) is None
    expected = None if kind == ("flat", "fp32") else kind[0]
    assert built_kind(*kind, 1000, now=None) == expected


@pytest.mark.parametrize(
    ("vectors", "rows", "now", "expected"),
    [
        ("fp32", 19_999, None, None),
        ("fp32", 20_000, None, "hnsw"),
        ("fp32", 10_000, "hnsw", "hnsw"),
        ("fp32", 9_999, "hnsw", None),
        ("sq8", 19_999, "flat", "flat"),
        ("sq8", 20_000, "flat", "hnsw"),
        ("sq8", 9_999, "hnsw", "flat"),
        ("sq8", 500, "flat", "flat"),
        ("sq8", 499, "flat", None),
        ("sq8", 0, "hnsw", None),
    ],
)
def test_auto_moves_on_as_a_gallery_grows_and_does_not_waver(
    vectors: Vectors, rows: int, now: BuiltKind | None, expected: BuiltKind | None
) -> None:
    assert built_kind("auto", vectors, rows, now=now) == expected


@pytest.mark.parametrize("kind", BUILT, ids=kind_name)
def test_the_estimate_is_what_it_takes(kind: tuple[BuiltKind, Vectors]) -> None:
    rows, dim = 4000, 128
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    made = CLASSES[kind[0]].made(dim, kind[1], rows=rows, sample=vectors)
    made.add(np.arange(rows, dtype=np.int64), vectors)
    file = io.BytesIO()
    made.save(file.write)
    assert 0.95 <= estimate(*kind, rows, dim) / len(file.getvalue()) <= 1.3


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    require_memory(10**9, None, "x")
    require_memory(10**9, 2 * 10**9, "x")
    with pytest.raises(NotEnoughMemory, match=r"the index of yard needs about 1,000 MB of memory, 1,050 MB are free"):
        require_memory(10**9, 1_050_000_000, "the index of yard")
