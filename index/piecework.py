"""Pieces of work carried out by others, some at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Piecework:
    """See ``index.gallery.Spread``. ``submit`` hands a piece to whoever does it, at most ``at_once`` are out.

    ``turn`` waits until the next piece may be handed out; where it says False, none is any more. What a piece raises is
    raised where its result would come; pieces that are out then are taken back where nobody has begun them.
    """

    def __init__(
        self,
        submit: Callable[[Callable[[], object]], "Future[object]"],
        *,
        at_once: int,
        turn: Callable[[], bool] = lambda: True,
    ) -> None:
        self._submit, self._at_once, self._turn = submit, at_once, turn

    def __call__(self, pieces: Iterable[Callable[[], T]], /) -> Iterator[T]:
        out: deque[Future[T]] = deque()
        try:
            for piece in pieces:
                if not self._turn():
                    break
                out.append(self._submit(piece))  # type: ignore[arg-type]  # what it returns is what the piece does
                while out and (out[0].done() or len(out) >= self._at_once):
                    yield out.popleft().result()
            while out:
                yield out.popleft().result()
        finally:
            for future in out:
                future.cancel()
