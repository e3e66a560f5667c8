"""Where the right matches of each probe stand in its ranking, without sorting the gallery.

The place of a right match is one more than the pictures that stand before it. Wrong pictures at the same distance
stand before right ones: a model that gives every picture the same vector earns nothing by the order of the gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model_export.measuring.distances import Distances, Positions, block_rows

Rule = Literal["same-camera-junk", "other-cameras", "other-viewpoints", "everything"]
Label = tuple[str, str]  # vehicle_id, camera_id

_NONE: Positions = np.empty(0, np.intp)


class Contest:
    """Which gallery pictures are right for a probe, and which are not ranked at all.

    ``same-camera-junk`` leaves out the probe's vehicle as its own camera saw it (VeRi-776, Market-1501),
    ``other-cameras`` everything that its own camera saw, ``other-viewpoints`` that and everything seen from its own
    viewpoint (``viewpoints`` of probes and gallery), ``everything`` nothing.
    """

    def __init__(
        self, probes: Sequence[Label], gallery: Sequence[Label], rule: Rule,
        viewpoints: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:  # fmt: skip
        self._probes, self._rule = probes, rule
        self._probe_views, self._views = viewpoints[0], np.array(viewpoints[1])
        self._cameras = np.array([camera for _, camera in gallery])
        self._by_vehicle = _positions([vehicle for vehicle, _ in gallery])
        self._by_camera = _positions([camera for _, camera in gallery])

    def right_and_junk(self, probe: int) -> tuple[Positions, Positions]:
        """Gallery positions of the probe's right matches and of what is not ranked; they may overlap nowhere."""
        vehicle, camera = self._probes[probe]
        same = self._by_vehicle.get(vehicle, _NONE)
        if self._rule == "everything":
            return same, _NONE
        seen_here = self._cameras[same] == camera
        if self._rule == "other-viewpoints":
            view = self._probe_views[probe]
            alike = np.flatnonzero((self._views == view) | (self._cameras == camera))
            return same[~seen_here & (self._views[same] != view)], alike
        junk = same[seen_here] if self._rule == "same-camera-junk" else self._by_camera.get(camera, _NONE)
        return same[~seen_here], junk


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What each of n probes with a match earned; parallel arrays (n,)."""

    probe: Positions  # its position among the probes
    first: NDArray[np.int64]  # place of the first right match, from 1
    precision: NDArray[np.float64]  # average precision: the mean over right matches of (right so far) / place
    inverse_penalty: NDArray[np.float64]  # right matches / place of the last one (Ye et al. 2021, INP)
    gap: NDArray[np.float64]  # distance of the first right match less that of the first wrong one
    excluded: int  # probes without a match
    gallery: int

    def of_pictures(self, pictures: Positions) -> "Scores":
        """The same with each probe called by its picture's position; ``pictures`` (Q,) are all probes' positions."""
        return replace(self, probe=pictures[self.probe])


def places(distances: NDArray[np.float32], right: Positions) -> NDArray[np.int64]:
    """Places (H,), from 1 and rising, of the ``right`` pictures (H,) by ``distances`` (G,); junk is at infinity.

    The distances of ``right`` are overwritten by infinity.
    """
    hits = np.sort(distances[right])
    distances[right] = np.inf
    before = distances[distances <= hits[-1]]  # wrong ones that stand before some right one
    passed = np.bincount(np.searchsorted(hits, before, side="left"), minlength=len(hits))
    return np.arange(1, len(hits) + 1) + np.cumsum(passed)


def score(distances: Distances, contest: Contest, *, progress: bool = False) -> Scores:
    """Rank the gallery for every probe."""
    count, gallery = distances.shape
    earned: list[_Earned] = []
    rows = block_rows(gallery)
    with tqdm(total=count, unit="probes", desc="rank", disable=not progress) as bar:
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            earned += _score_block(distances.block(start, stop), contest, start)
            bar.update(stop - start)
    probe, first, precision, inverse_penalty, gap = zip(*earned, strict=True) if earned else ((),) * 5
    return Scores(
        probe=np.array(probe, np.intp), first=np.array(first, np.int64), precision=np.array(precision, np.float64),
        inverse_penalty=np.array(inverse_penalty, np.float64), gap=np.array(gap, np.float64),
        excluded=count - len(earned), gallery=gallery,
    )  # fmt: skip


_Earned = tuple[int, int, float, float, float]  # the columns of Scores


def _score_block(block: NDArray[np.float32], contest: Contest, start: int) -> list[_Earned]:
    """Scores of the probes from ``start`` on that have a match; ``block`` (q, G) is used up."""
    earned = []
    for probe, row in enumerate(block, start):
        right, junk = contest.right_and_junk(probe)
        if right.size:
            row[junk] = np.inf
            nearest = float(row[right].min())
            stand = places(row, right)  # (H,)
            precision = float(np.mean(np.arange(1, len(stand) + 1) / stand))
            gap = nearest - float(row.min())
            earned.append((probe, int(stand[0]), precision, len(stand) / int(stand[-1]), gap))
    return earned


def _positions(names: Sequence[str]) -> dict[str, Positions]:
    """Where each name stands."""
    unique, codes = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    order = np.argsort(codes, kind="stable").astype(np.intp)
    starts = np.searchsorted(codes[order], np.arange(len(unique) + 1))
    return {str(name): order[starts[n] : starts[n + 1]] for n, name in enumerate(unique)}
