"""Feedback is kept beside galleries on one machine; here there is none, and none is taken."""

from collections.abc import Iterator
from typing import Final

from index.errors import FeedbackNotFound, NothingKept
from index.gallery import Answer, AnswerPage, NewAnswer

_WHY: Final = "galleries on Milvus keep no feedback; a gallery in a data folder (without milvus_uri) does"


class NoFeedback:
    """See ``index.gallery.Feedback``."""

    def give(self, new: NewAnswer, *, most: int, most_bytes: int) -> tuple[Answer, bool]:  # noqa: ARG002
        raise NothingKept(_WHY)

    def page(
        self,
        *,
        limit: int,  # noqa: ARG002
        cursor: str | None = None,  # noqa: ARG002
        query_id: str | None = None,  # noqa: ARG002
        query_image_id: str | None = None,  # noqa: ARG002
    ) -> AnswerPage:
        return AnswerPage(answers=[], cursor=None)

    def delete(self, answer_id: str) -> None:
        raise FeedbackNotFound(f"there is no feedback {answer_id}: {_WHY}")

    def delete_all(self) -> int:
        return 0

    def archive(self) -> Iterator[bytes]:
        raise NothingKept(_WHY)
