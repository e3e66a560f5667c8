"""The feedback of one gallery, wherever both lie: whose images are there decides which of it counts.

An answer is on two pictures. When an image of it is erased, or has another picture now, the answer is in no list and no
export from that moment on, and is erased by the next sweep.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Protocol

from index.crops import content_name
from index.errors import FeedbackNotFound, GalleryNotFound, ImageNotFound, InvalidValue, NothingKept, StorageFull
from index.feedback.answer_home import Answers
from index.feedback.training_archive import training_archive
from index.gallery import Answer, AnswerPage, NewAnswer, StoredImage
from index.storage.page_cursor import read_cursor, write_cursor
from index.storage.space_reserve import SpaceReserve

_AT_ONCE = 1000  # answers whose images are looked up together
_ID_BYTES = 8
_PLACE = "#"  # begins a cursor's text; no image_id begins so


class Images(Protocol):
    """The gallery that answers are on."""

    def find(self, image_ids: Sequence[str]) -> Mapping[str, StoredImage]: ...

    def crop(self, image_id: str) -> tuple[str, bytes]: ...


class AnswerBook:
    """The feedback on ``gallery``, of which ``answers`` keeps all that was said; see ``index.gallery.Feedback``.

    ``secret`` signs cursors, ``changes`` gives what differs after every change of an image, ``require_writable`` raises
    where nothing may be written. ``reserve``: space for erasing on a full disk. Everything raises GalleryNotFound after
    ``close``, and what ``answers`` raises.
    """

    def __init__(
        self, gallery: Images, answers: Answers, *, secret: bytes, changes: Callable[[], object],
        require_writable: Callable[[], None], clock: Callable[[], datetime], reserve: SpaceReserve | None = None,
    ) -> None:  # fmt: skip
        self._gallery, self._answers, self._clock, self._reserve = gallery, answers, clock, reserve
        self._secret, self._changes, self._require_writable = secret, changes, require_writable
        self._closed = False
        self._given: object = None  # another after every answer
        self._swept_at: object = None

    def give(self, new: NewAnswer, *, most: int, most_bytes: int) -> tuple[Answer, bool]:
        self._require_writable()
        if self._reserve is not None:
            self._reserve.require_room()
        found = self._gallery.find([each for each in (new.image_id, new.query_image_id) if each is not None])
        if new.query_crop is None:
            query_crop = _crop_of(new.query_image_id or "", found)
        else:
            query_crop = content_name(new.query_crop)
        answer = Answer(
            answer_id=secrets.token_hex(_ID_BYTES), same=new.same, image_id=new.image_id,
            image_crop=_crop_of(new.image_id, found), query_image_id=new.query_image_id, query_id=new.query_id,
            box=new.box, query_crop=query_crop, distance=new.distance, given_at=self._clock(),
        )  # fmt: skip
        try:
            with self._open() as answers:
                return answers.put(answer, new.query_crop, most=most, most_bytes=most_bytes)
        finally:
            self._given = object()

    def page(
        self, *, limit: int, cursor: str | None = None, query_id: str | None = None, query_image_id: str | None = None
    ) -> AnswerPage:
        below = None if cursor is None else self._place(cursor)
        kept: list[Answer] = []
        while True:
            with self._open() as book:
                block = book.latest(below=below, limit=limit + 1, query_id=query_id, query_image_id=query_image_id)
            if not block:
                return AnswerPage(answers=kept, cursor=None)
            found = self._images([answer for _, answer in block])
            for place, answer in block:
                if _stands(answer, found):
                    if len(kept) == limit:
                        return AnswerPage(answers=kept, cursor=write_cursor(f"{_PLACE}{below}", self._secret))
                    kept.append(answer)
                below = place

    def standing(self) -> Iterator[tuple[Answer, Mapping[str, StoredImage]]]:
        """Every answer on pictures that are there, the latest first, with its images as they are now."""
        answers = iter(self._all())
        while block := list(islice(answers, _AT_ONCE)):
            found = self._images(block)
            yield from ((answer, found) for answer in block if _stands(answer, found))

    def picture(self, name: str) -> bytes | None:
        """The crop of a query by its content name, as long as an answer has it."""
        with self._open() as answers:
            return answers.picture(name)

    def archive(self) -> Iterator[bytes]:
        return training_archive(self, self._gallery.crop)

    def delete(self, answer_id: str) -> None:
        if not self._erase(lambda answers: answers.delete([answer_id])):
            raise FeedbackNotFound(f"there is no feedback {answer_id!a} in this gallery")

    def delete_all(self) -> int:
        return self._erase(lambda answers: answers.keep([]))

    def sweep(self) -> int:
        """Erase answers on pictures that are there no more; how many.

        None is looked at where since the last time no image has changed, and none was given: perhaps on an image that
        went at that moment.
        """
        with self._open() as book:
            book.sweep()
        now = self._changes(), self._given
        if now == self._swept_at:
            return 0
        stale: list[Answer] = []
        answers = iter(self._all())
        while block := list(islice(answers, _AT_ONCE)):
            found = self._images(block)
            stale += [answer for answer in block if not _stands(answer, found)]
        gone = self._erase(lambda answers: answers.forget(stale)) if stale else 0
        self._swept_at = now
        return gone

    def compact(self) -> None:
        """Leave no byte of what was erased, where that is in our hands."""
        with self._open() as answers:
            answers.rewrite()

    def close(self) -> None:
        """Let nobody in any more, and wait for who is where they take turns."""
        with self._answers.turns:
            self._closed = True

    @contextmanager
    def _open(self) -> Iterator[Answers]:
        with self._answers.turns:
            if self._closed:
                raise GalleryNotFound("the gallery was closed or dropped")
            yield self._answers

    def _place(self, cursor: str) -> int:
        sign, place = (text := read_cursor(cursor, self._secret))[:1], text[1:]
        if sign != _PLACE:  # of images
            raise InvalidValue(f"{cursor[:60]!a} is not a cursor of feedback", pointer="/query/cursor")
        return int(place)

    def _all(self) -> Iterator[Answer]:
        below = None
        while True:
            with self._open() as book:
                block = book.latest(below=below)
            if not block:
                return
            yield from (answer for _, answer in block)
            below = block[-1][0]

    def _erase(self, erase: Callable[[Answers], int]) -> int:
        """At once, and on a full disk in the space that is kept for it."""
        self._require_writable()
        try:
            with self._open() as answers:
                return erase(answers)
        except StorageFull:
            if self._reserve is None:
                raise
        self._reserve.lend()
        try:
            with self._open() as answers:
                return erase(answers)
        finally:
            self._reserve.renew()

    def _images(self, answers: Sequence[Answer]) -> Mapping[str, StoredImage]:
        wanted = {each for answer in answers for each in (answer.image_id, answer.query_image_id) if each is not None}
        return self._gallery.find(sorted(wanted))


def _crop_of(image_id: str, found: Mapping[str, StoredImage]) -> str:
    image = found.get(image_id)
    if image is None:
        raise ImageNotFound(f"this gallery has no image {image_id}")
    if image.crop_name is None:
        raise NothingKept(
            f"no crop of the image {image_id} is kept, so that nothing could be learnt from feedback on it: create the "
            "gallery with keep_crops"
        )
    return image.crop_name


def _stands(answer: Answer, found: Mapping[str, StoredImage]) -> bool:
    """Whether the pictures that an answer is on are those of its images."""
    named = [(answer.image_id, answer.image_crop)]
    if answer.query_image_id is not None:
        named.append((answer.query_image_id, answer.query_crop))
    return all(image_id in found and found[image_id].crop_name == crop for image_id, crop in named)
