"""Every kind of index with every form of vectors, and small galleries that take the ways of large ones."""

import pytest

from index.gallery import Kind, Vectors

BUILT: list[tuple[Kind, Vectors]] = [
    ("flat", "fp16"), ("flat", "sq8"), ("ivf", "fp32"), ("ivf", "fp16"), ("ivf", "sq8"), ("hnsw", "fp32"),
    ("hnsw", "fp16"), ("hnsw", "sq8"),
]  # fmt: skip
ALL: list[tuple[Kind, Vectors]] = [("flat", "fp32"), *BUILT]

EARLY = {
    ("index.searching.index_kind", "_BUILT_FROM"): 2,
    ("index.searching.index_upkeep", "_MOVED_FROM"): 1,
    ("index.searching.index_upkeep", "_SNAPSHOT_FROM"): 20,
}


def kind_name(kind: object) -> str:
    """As a test's id."""
    return "-".join(map(str, kind)) if isinstance(kind, tuple) else str(kind)


def build_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is built from two rows on, rows are taken in one by one, and a snapshot is worth it for few."""
    for (module, name), value in EARLY.items():
        monkeypatch.setattr(f"{module}.{name}", value)
