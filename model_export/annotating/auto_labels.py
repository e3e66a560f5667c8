"""Labels by V-Net alone, where it is sure enough, and how often it is right where a person has looked."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from index.errors import InvalidValue
from model_export.annotating.label_file import Label, LabelFile
from model_export.annotating.work_list import Picture

CONFIDENCES: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)  # of the table to choose from

_Z: Final = 1.959964  # two-sided 95 %


@dataclass(frozen=True, kw_only=True)
class Line:
    """At one confidence: what V-Net would fill, and on how many hand labels at or above it it is right."""

    confidence: float
    fills: int
    hand: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share of hand labels that V-Net names too, None where there are none."""
        return self.right / self.hand if self.hand else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy (Wilson 1927), None where there are no hand labels."""
        if not self.hand:
            return None
        share, n = self.right / self.hand, self.hand
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What ``fill`` did, or with ``dry_run`` would do, in pictures. ``table`` is for choosing another confidence."""

    chosen: Line
    table: tuple[Line, ...]
    by_viewpoint: dict[str, int]
    hand: int
    skipped: int
    broken: int
    left: int
    replaced: int  # labels of an earlier run that were thrown away
    written: bool

    def __str__(self) -> str:
        lines = [f"{self.hand:,} labelled by hand, {self.skipped:,} skipped, {self.broken:,} cannot be read"]
        lines.append("confidence      fills  right on hand labels (95 % interval)")
        lines += [_shown(line, chosen=line == self.chosen) for line in self.table]
        counts = ", ".join(f"{name} {count:,}" for name, count in self.by_viewpoint.items())
        verb = "filled" if self.written else "would fill"
        again = f" (in place of {self.replaced:,} of an earlier run)" if self.replaced else ""
        lines.append(f"{verb} {self.chosen.fills:,} at confidence {self.chosen.confidence:g} or above{again}: {counts}")
        lines.append(f"left for a person: {self.left:,}")
        if not self.chosen.hand:
            lines.append(
                "no hand label is that sure, so nothing says how often these are right: label some with --order random"
            )
        return "\n".join(lines)


def fill(
    pictures: Sequence[Picture],
    labels: LabelFile,
    skipped: LabelFile,
    *,
    viewpoints: Sequence[str],
    confidence: float,
    dry_run: bool = False,
) -> Filling:
    """Label every picture that no person decided about and that V-Net gives ``confidence`` or more.

    ``pictures`` carry V-Net's guesses, over ``viewpoints``; those without one could not be read. Labels that an
    earlier run wrote for these pictures are replaced, all at once. Raises InvalidValue for a confidence outside
    0…1, and what a label file raises.
    """
    if not 0 < confidence <= 1:
        raise InvalidValue(f"--auto {confidence:g}: the confidence must lie above 0 and not above 1, such as 0.95")
    by_hand = {place: label for place, label in labels.labels.items() if label.source == "hand"}
    hand: list[tuple[float, bool]] = []
    open_: list[tuple[Picture, str, float]] = []
    for picture in pictures:
        if picture.guess is None:
            continue
        best = int(np.argmax(picture.guess))
        if picture.place in by_hand:
            hand.append((picture.guess[best], by_hand[picture.place].viewpoint == viewpoints[best]))
        elif picture.place not in skipped.labels:
            open_.append((picture, viewpoints[best], picture.guess[best]))

    def line(at: float) -> Line:
        sure = [right for value, right in hand if value >= at]
        return Line(confidence=at, fills=sum(v >= at for *_, v in open_), hand=len(sure), right=sum(sure))

    new = [
        Label(place=picture.place, viewpoint=name, source="auto", confidence=value, carried=picture.carried)
        for picture, name, value in open_
        if value >= confidence
    ]
    places = {picture.place for picture in pictures}
    kept = [label for label in labels.labels.values() if label.source == "hand" or label.place not in places]
    replaced = len(labels.labels) - len(kept)
    if not dry_run:
        labels.rewrite([*kept, *new])
    counts = Counter(label.viewpoint for label in new)
    return Filling(
        chosen=line(confidence), table=tuple(line(at) for at in sorted({*CONFIDENCES, confidence})),
        by_viewpoint={name: counts[name] for name in viewpoints}, hand=len(hand),
        skipped=sum(picture.place in skipped.labels for picture in pictures),
        broken=sum(picture.guess is None for picture in pictures), left=len(open_) - len(new),
        replaced=replaced, written=not dry_run,
    )  # fmt: skip


def _shown(line: Line, *, chosen: bool) -> str:
    measured = "none that sure"
    if line.accuracy is not None and line.interval is not None:
        low, high = line.interval
        measured = f"{line.right:,} of {line.hand:,} = {line.accuracy:.1%} ({low:.1%}–{high:.1%})"
    return f"{'→' if chosen else ' '} {line.confidence:<9g} {line.fills:>8,}  {measured}"
