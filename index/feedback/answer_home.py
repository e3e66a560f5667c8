"""Where answers lie, whichever gallery they are on: what every home of them can do."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from index.gallery import Answer


class Answers(Protocol):
    """The answers of one gallery.

    Raises StorageFull and StorageError, and GalleryNotFound for writing where the gallery was dropped.
    """

    @property
    def turns(self) -> AbstractContextManager[Any]:
        """What every call of the others is made within."""
        ...

    def put(self, answer: Answer, picture: bytes | None, *, most: int, most_bytes: int) -> tuple[Answer, bool]:
        """Keep an answer, by the id of an earlier one on the pair, which it replaces; as it is, and whether it is new.

        ``picture``: the query's crop where it is no image. Raises TooMuchFeedback beyond ``most`` answers or
        ``most_bytes`` of pictures, whoever gives others meanwhile.
        """
        ...

    def latest(
        self, *, below: int | None = None, limit: int = ..., query_id: str | None = None,
        query_image_id: str | None = None,
    ) -> list[tuple[int, Answer]]:  # fmt: skip
        """Answers and their places, the latest first, of the places below one.

        With ``query_id`` or ``query_image_id`` only those on this query.
        """
        ...

    def picture(self, name: str) -> bytes | None:
        """The picture of an answer by its content name; None where there is none, or not as it was written."""
        ...

    def delete(self, answer_ids: Iterable[str]) -> int:
        """Erase answers, and the pictures that no other has; how many there were."""
        ...

    def keep(self, answer_ids: Iterable[str]) -> int:
        """Erase all answers but these; how many there were."""
        ...

    def forget(self, answers: Sequence[Answer]) -> int:
        """Erase those of some answers that nobody has given anew since they were read; how many there were."""
        ...

    def sweep(self) -> None:
        """Remove what writes that did not come to their end left behind, of whichever gallery."""
        ...

    def rewrite(self) -> None:
        """Leave no byte of what was erased, where that is in our hands."""
        ...


class FeedbackHome(Protocol):
    """The answers of galleries that lie elsewhere. A gallery that is dropped and made anew has another ``identity``."""

    def answers(self, identity: str) -> Answers:
        """Those of a gallery; there may be none yet."""
        ...

    def drop(self, identity: str) -> None:
        """Erase all of a gallery that is being dropped; nobody keeps any more of it from then on."""
        ...
