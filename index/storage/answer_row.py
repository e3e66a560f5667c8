"""An answer as a row of whichever database keeps it, and how many and how much a gallery's may be."""

from collections.abc import Sequence
from typing import Any, Final

from index.errors import TooMuchFeedback
from index.gallery import Answer
from index.storage.stored_time import microseconds, moment

COLUMNS: Final = (
    "answer_id, same, image_id, image_crop, query_image_id, query_id, query_box, query_crop, distance, given_at"
)

EXCLUDED: Final = ", ".join(f"excluded.{name}" for name in COLUMNS.split(", "))  # in the place of an earlier one

# as COLUMNS names them
AnswerRow = tuple[str, int, str, str, str | None, str | None, str | None, str, str | None, int]


def answer_row(answer: Answer) -> AnswerRow:
    """What is written of an answer."""
    return (
        answer.answer_id, int(answer.same), answer.image_id, answer.image_crop, answer.query_image_id, answer.query_id,
        None if answer.box is None else ",".join(map(str, answer.box)), answer.query_crop,
        None if answer.distance is None else repr(answer.distance), microseconds(answer.given_at),
    )  # fmt: skip


def answer_of(row: Sequence[Any]) -> Answer:
    """The way back."""
    answer_id, same, image_id, image_crop, query_image_id, query_id, box, query_crop, distance, given_at = row
    return Answer(
        answer_id=answer_id, same=bool(same), image_id=image_id, image_crop=image_crop, query_image_id=query_image_id,
        query_id=query_id, box=_box(box), query_crop=query_crop,
        distance=None if distance is None else float(distance), given_at=moment(given_at),
    )  # fmt: skip


def require_place(answers: int, most: int) -> None:
    """Raise TooMuchFeedback where one more answer is one too many."""
    if answers >= most:
        raise TooMuchFeedback(
            f"{most:,} answers are kept of this gallery, the limit set by max_feedback: export and delete some, or "
            "raise it"
        )


def require_bytes(taken: int, most: int) -> None:
    """Raise TooMuchFeedback where the pictures with answers take too much."""
    if taken > most:
        raise TooMuchFeedback(
            f"the pictures with this gallery's answers would take more than {most:,} bytes, the limit set by "
            "max_feedback_bytes: export and delete some answers, or raise it"
        )


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    x, y, width, height = map(int, text.split(","))
    return x, y, width, height
