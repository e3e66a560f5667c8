"""Which index Milvus makes for a kind of gallery, and how it searches it."""

from typing import Any, Final

from index.errors import InvalidValue
from index.gallery import GallerySpec

_LISTS, _PROBED = 1024, 64
_LINKS, _BUILD_WIDTH, _WIDTH = 32, 200, 128
_HNSW: Final = {"index_type": "HNSW", "params": {"M": _LINKS, "efConstruction": _BUILD_WIDTH}}
_INDEXES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("flat", "fp32"): {"index_type": "FLAT"},
    ("ivf", "fp32"): {"index_type": "IVF_FLAT", "params": {"nlist": _LISTS}},
    ("ivf", "sq8"): {"index_type": "IVF_SQ8", "params": {"nlist": _LISTS}},
    ("hnsw", "fp32"): _HNSW,
    ("auto", "fp32"): _HNSW,
}


def index_of(spec: GallerySpec) -> dict[str, Any]:
    """What Milvus is asked to build; raises InvalidValue for a kind that it has not."""
    found = _INDEXES.get((spec.kind, spec.vectors))
    if found is None:
        known = ", ".join(f"{kind} with {vectors}" for kind, vectors in _INDEXES)
        raise InvalidValue(
            f"a gallery on Milvus cannot be {spec.kind} with vectors {spec.vectors}; it can be {known}",
            pointer="/kind" if spec.vectors == "fp32" else "/vectors",
        )
    return found


def search_settings(spec: GallerySpec, count: int) -> dict[str, int]:
    """How wide an index looks for ``count`` rows."""
    if spec.kind == "flat":
        return {}
    return {"nprobe": _PROBED} if spec.kind == "ivf" else {"ef": max(_WIDTH, count)}


def exact_settings(spec: GallerySpec) -> dict[str, int]:
    """As wide as it can."""
    return {"nprobe": _LISTS} if spec.kind == "ivf" else search_settings(spec, 16_384)
