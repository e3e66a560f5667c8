"""The work of labelling: what is asked next, what was decided, how far it is.

Any number of windows may take part. Each is lent other pictures; where two decide about the same one all the same, the
first decision stays and the second window is told.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from index.errors import Conflict, InvalidValue, NotFound
from model_export.annotating.label_file import Label, LabelFile, Place
from model_export.annotating.pace import Pace
from model_export.annotating.work_list import Picture

_LENT_SECONDS: Final = 120.0  # a window that is not heard of for so long has given its pictures back


@dataclass(frozen=True, kw_only=True)
class Progress:
    """``total`` pictures that can be read, of which ``done`` are decided: labelled or skipped."""

    total: int
    done: int
    skipped: int
    by_viewpoint: dict[str, int]
    per_minute: float | None
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Undone:
    """A decision that was taken back; ``viewpoint`` is what it said, None for a skip."""

    picture: Picture
    viewpoint: str | None


class Annotation:
    """Pictures in the order in which they are asked about, and the decisions about them; for any number of threads.

    With ``review`` the pictures that ``auto`` labelled are asked about too. ``broken`` has the reason by picture id.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        labels: LabelFile,
        skipped: LabelFile,
        *,
        viewpoints: Sequence[str],
        review: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.viewpoints = tuple(viewpoints)
        self._pictures = list(pictures)
        self._position = {picture.id: n for n, picture in enumerate(self._pictures)}
        self._by_place = {picture.place: picture for picture in self._pictures}
        self._labels, self._skipped, self._review, self._clock = labels, skipped, review, clock
        self._broken: dict[str, str] = {}
        self._reopened: set[Place] = set()  # undone to what ``auto`` said, and asked about again
        self._lent: dict[str, tuple[str, float]] = {}  # picture id → window, until when
        self._first = 0  # no picture before this position is open
        self._decision = max((label.decision or 0 for label in self._both()), default=0)
        self._pace = Pace()
        self._lock = threading.Lock()
        for place in [place for place in skipped.labels if place in labels.labels]:  # a crash between two files
            (labels if labels.labels[place].source == "auto" else skipped).remove(place)
        decided = [label for label in labels.labels.values() if label.place in self._by_place]
        self._by_viewpoint = Counter(label.viewpoint for label in decided if self._counts(label))
        self._skips = sum(place in self._by_place for place in skipped.labels)

    def next(self, window: str, count: int, *, holding: Sequence[str] = ()) -> list[Picture]:
        """Up to ``count`` pictures that are open and not among those that the window is ``holding``.

        Pictures that other windows hold come only when no others are left.
        """
        with self._lock:
            now = self._clock()
            for name in holding:
                if self._lent.get(name, (window, 0.0))[0] == window:
                    self._lent[name] = (window, now + _LENT_SECONDS)
            while self._first < len(self._pictures) and not self._is_open(self._pictures[self._first]):
                self._first += 1
            free: list[Picture] = []
            lent: list[Picture] = []
            held = set(holding)
            for picture in self._pictures[self._first :]:
                if len(free) >= count:
                    break
                if picture.id in held or not self._is_open(picture):
                    continue
                holder, until = self._lent.get(picture.id, (window, now))
                (lent if holder != window and until > now else free).append(picture)
            for picture in free:
                self._lent[picture.id] = (window, now + _LENT_SECONDS)
            return free if free or held else lent[:count]

    def leave(self, window: str) -> None:
        """A window was closed: others may have its pictures."""
        with self._lock:
            self._lent = {name: held for name, held in self._lent.items() if held[0] != window}

    def picture(self, picture_id: str) -> Picture:
        """Raises NotFound."""
        position = self._position.get(picture_id)
        if position is None:
            raise NotFound(f"there is no picture {picture_id!r} in this work; reload the page")
        return self._pictures[position]

    def decide(self, picture_id: str, viewpoint: str | None) -> None:
        """Write down a viewpoint, or with None that the picture is skipped; on the disk when this returns.

        Saying the same thing again changes nothing. Raises NotFound, InvalidValue for a viewpoint that is not one,
        Conflict where something else was decided, and what a label file raises.
        """
        if viewpoint is not None and viewpoint not in self.viewpoints:
            raise InvalidValue(f"viewpoint {viewpoint!r} is not one of {', '.join(self.viewpoints)}")
        with self._lock:
            picture = self.picture(picture_id)
            if not self._is_decided(picture):
                self._write(picture, viewpoint)
                return
            label = self._labels.labels.get(picture.place)
            there = None if label is None else label.viewpoint
            if there != viewpoint:
                raise Conflict(f"{picture.shown_path} is already {_told(there)}; that stays")

    def undo(self, window: str, picture_id: str | None = None) -> Undone:
        """Take back what was decided about a picture, or a person's last decision of all, and lend it to the window.

        What ``auto`` had said of it stands in the file again.

        Raises NotFound where there is nothing to take back.
        """
        with self._lock:
            if picture_id is None:
                decided = [label for label in self._both() if label.decision and label.place in self._by_place]
                if not decided:
                    raise NotFound("there is nothing to undo")
                picture = self._by_place[max(decided, key=lambda label: label.decision or 0).place]
            else:
                picture = self.picture(picture_id)
            label = self._labels.labels.get(picture.place)
            if label is not None and label.source == "hand":
                self._bring_back(picture, label)
                self._by_viewpoint[label.viewpoint] -= 1
            elif picture.place in self._skipped.labels:
                label = None
                self._bring_back(picture, self._skipped.labels[picture.place])
                self._skipped.remove(picture.place)
                self._skips -= 1
            else:
                raise NotFound(f"nothing was decided by hand about {picture.shown_path}")
            self._first = min(self._first, self._position[picture.id])
            self._lent[picture.id] = (window, self._clock() + _LENT_SECONDS)
            return Undone(picture=picture, viewpoint=None if label is None else label.viewpoint)

    def mark_broken(self, picture_id: str, reason: str) -> None:
        """Leave a picture out, as long as this program runs: it cannot be read."""
        with self._lock:
            self._broken[self.picture(picture_id).id] = reason

    @property
    def broken(self) -> list[tuple[str, str]]:
        """(path, reason) of every picture that could not be read so far."""
        with self._lock:
            return [(self.picture(name).shown_path, reason) for name, reason in self._broken.items()]

    def progress(self) -> Progress:
        """How far the work is."""
        with self._lock:
            undecided = [name for name in self._broken if not self._is_decided(self.picture(name))]
            total = len(self._pictures) - len(undecided)
            counts = {viewpoint: self._by_viewpoint[viewpoint] for viewpoint in self.viewpoints}
            done = sum(counts.values()) + self._skips
            return Progress(
                total=total, done=done, skipped=self._skips, by_viewpoint=counts,
                per_minute=self._pace.per_minute, seconds_left=self._pace.seconds_for(total - done),
            )  # fmt: skip

    def _write(self, picture: Picture, viewpoint: str | None) -> None:
        file = self._skipped if viewpoint is None else self._labels
        guess = None if viewpoint is None or picture.guess is None else picture.guess
        confidence = None if guess is None or viewpoint is None else guess[self.viewpoints.index(viewpoint)]
        before = self._labels.labels.get(picture.place)  # in a review: what auto said
        label = Label(
            place=picture.place, viewpoint=viewpoint or "", source="hand", confidence=confidence,
            decision=self._decision + 1, replaced=None if before is None else (before.viewpoint, before.confidence),
            carried=picture.carried,
        )  # fmt: skip
        file.add(label)
        if viewpoint is None:
            self._labels.remove(picture.place)
        self._decision += 1
        self._lent.pop(picture.id, None)
        self._pace.add(self._clock())
        if viewpoint is None:
            self._skips += 1
        else:
            self._by_viewpoint[viewpoint] += 1

    def _bring_back(self, picture: Picture, undone: Label) -> None:
        """Put what ``auto`` had said in place of a decision; nothing where it had said nothing."""
        if undone.replaced is None:
            self._labels.remove(picture.place)
            return
        viewpoint, confidence = undone.replaced
        self._reopened.add(picture.place)
        self._labels.add(
            Label(
                place=picture.place, viewpoint=viewpoint, source="auto", confidence=confidence, carried=picture.carried
            )
        )  # fmt: skip

    def _both(self) -> list[Label]:
        return [*self._labels.labels.values(), *self._skipped.labels.values()]

    def _counts(self, label: Label) -> bool:
        """Whether a label answers the question; in a review and after an undo those of ``auto`` do not."""
        return label.source == "hand" or not (self._review or label.place in self._reopened)

    def _is_decided(self, picture: Picture) -> bool:
        label = self._labels.labels.get(picture.place)
        return (label is not None and self._counts(label)) or picture.place in self._skipped.labels

    def _is_open(self, picture: Picture) -> bool:
        return picture.id not in self._broken and not self._is_decided(picture)


def _told(viewpoint: str | None) -> str:
    return "skipped" if viewpoint is None else f"labelled {viewpoint}"
