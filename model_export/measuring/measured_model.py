"""A model that is measured, whatever kind of file it comes from, and what it says of the pictures of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.contract import Resize
from index.errors import ModelError
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model says of N crops: ``embedding`` float32 (N, D), ``viewpoint`` float32 (N, V), None where V is 1."""

    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where a model looked, over all branches, weighted by the viewpoints; float32 (N, h, w) each.

    ``globally`` is Σ_v p_v G_v as the model multiplies by it, 0…1. ``locally`` is S of equation (4), standardised over
    h·w: the map itself is a softmax that mostly has one position.
    """

    globally: NDArray[np.float32]
    locally: NDArray[np.float32]


class MeasuredModel(Protocol):
    """A checkpoint or an ONNX file, opened."""

    name: str
    fingerprint: str  # SHA-256 of the file in hex
    resize: Resize
    viewpoints: tuple[str, ...]
    embedding_dim: int
    seed: int  # of its training, which drew what was held out

    def see(self, crops: NDArray[np.uint8]) -> Seen:
        """Crops uint8 (N, H, W, 3), RGB, made by ``resize``."""

    def attention(self, crops: NDArray[np.uint8]) -> Attention | None:
        """Where the model looks on crops uint8 (N, H, W, 3); None where the file does not tell."""


def see_rows(model: MeasuredModel, rows: Sequence[ManifestRow], *, progress: bool = True) -> Seen:
    """What ``model`` says of every row; only a batch of crops is in memory at a time.

    Raises InvalidValue for a picture that cannot be read, ModelError for an embedding that is not finite.
    """
    crops = CropCache(model.resize, limit_bytes=0)
    embedding = np.empty((len(rows), model.embedding_dim), np.float32)
    viewpoint = np.empty((len(rows), len(model.viewpoints)), np.float32) if len(model.viewpoints) > 1 else None
    with tqdm(total=len(rows), unit="pictures", desc=f"embed with {model.name}", disable=not progress) as bar:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            seen = model.see(crops.crops(batch))
            finite = np.isfinite(seen.embedding).all(1)
            if not finite.all():
                row = batch[int(np.argmin(finite))]
                raise ModelError(f"model {model.name} gives {row.path} an embedding that is not finite; retrain it")
            embedding[start : start + len(batch)] = seen.embedding
            if viewpoint is not None and seen.viewpoint is not None:
                viewpoint[start : start + len(batch)] = seen.viewpoint
            bar.update(len(batch))
    return Seen(embedding=embedding, viewpoint=viewpoint)
