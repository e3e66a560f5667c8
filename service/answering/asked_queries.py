"""What an address is searched with: pictures that are kept, or parts of them, and stored images, all of one vehicle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from starlette.concurrency import run_in_threadpool

from index.crops import Box
from index.embedder import Embedder
from index.errors import BoxOutsidePicture, InvalidValue, PictureError, StorageError
from index.storage.kept_query import KeptQuery
from service.answering.request_turn import RequestTurn
from service.answering.searcher import QueryPart, Searcher
from service.context import Context
from service.embedding.kept_queries import KeptQueries, Remembered
from service.embedding.picture_looker import Looked, Seen
from service.wire.parameters import MAX_COMBINED, Values
from service.wire.problems import BadPicture, problem_of

T = TypeVar("T")
Kept = tuple[KeptQuery, Box | None]  # a kept picture, and the part of it that is meant


@dataclass(frozen=True, kw_only=True)
class AskedQueries:
    """``kept`` and ``image_ids`` are searched with together, the former first."""

    queries: KeptQueries
    kept: Sequence[Kept] = ()
    image_ids: Sequence[str] = ()

    @classmethod
    async def of(cls, queries: KeptQueries, values: Values) -> Self:
        """What the parameters query_id, box and image_id name; raises InvalidValue, and QueryNotFound."""
        query_ids, boxes, image_ids = (values.all(name) for name in ("query_id", "box", "image_id"))
        if not 1 <= len(query_ids) + len(image_ids) <= MAX_COMBINED:
            raise InvalidValue(
                f"{len(query_ids)} query_id and {len(image_ids)} image_id: name what to search with, 1 to "
                f"{MAX_COMBINED} pictures of one vehicle", pointer="/query/query_id",
            )  # fmt: skip
        return cls(queries=queries, kept=await parts_of(queries, query_ids, boxes), image_ids=image_ids)

    @property
    def digests(self) -> list[str]:
        """The SHA-256 of each kept picture as it was sent."""
        return [query.digest for query, _ in self.kept]

    async def looked_up(
        self, context: Context, searcher: Searcher, turn: RequestTurn,
        then: Callable[[Sequence[QueryPart], Sequence[Seen]], T],
    ) -> tuple[T, float]:  # fmt: skip
        """What ``then`` makes, on a worker, of all of them and of those that had to be looked at for that.

        Also the seconds it waited for a worker. Only what the model has not seen lately, or an answer has maps of, is
        decoded and embedded. Raises BadPicture, QueryNotFound, ImageNotFound, StorageError for what was damaged since.
        """
        embedder = searcher.embedder
        known = {each: self._known(each, embedder) for each in self.kept}
        if searcher.attention and self.kept:
            known[self.kept[0]] = None
        new = [each for each, made in known.items() if made is None]
        pictures = [(await self._read(query, turn), box) for query, box in new]

        def together(looked: Sequence[Looked]) -> T:
            seen = {each: self._seen(each, one, embedder) for each, one in zip(new, looked, strict=True)}
            parts = [_part(seen.get(each) or known[each]) for each in self.kept]
            for image_id in self.image_ids:
                parts.append(searcher.stored(image_id, mapped=not parts))
            return then(parts, list(seen.values()))

        if new:
            return await context.engine.look(pictures, embedder, together)
        return await context.engine.run(lambda: together(()))

    def _known(self, kept: Kept, embedder: Embedder) -> Remembered | None:
        return self.queries.remembered(*kept, embedder.fingerprint)

    async def _read(self, query: KeptQuery, turn: RequestTurn) -> bytes:
        turn.hold(query.size)
        return await run_in_threadpool(self.queries.store.read, query)

    def _seen(self, kept: Kept, looked: Looked, embedder: Embedder) -> Seen:
        """What was looked at, remembered; raises BadPicture, and StorageError for a picture that was damaged since."""
        query, box = kept
        if isinstance(looked, Seen):
            self.queries.remember(query, box, embedder.fingerprint, Remembered.of(looked))
            return looked
        told = type(looked)(f"query {query.query_id}: {looked}")
        if isinstance(looked, BoxOutsidePicture):
            raise BadPicture(problem_of(told, pointer="/query/box"))
        if isinstance(looked, PictureError):
            raise StorageError(f"{told}; it could be read when it was kept: send the picture again") from looked
        raise BadPicture(problem_of(told, pointer="/query/query_id"))


async def parts_of(
    queries: KeptQueries, query_ids: Sequence[str], boxes: Sequence[Box], *, pointer: str = "/query/box"
) -> list[Kept]:
    """Kept pictures and the parts of them that are meant; raises InvalidValue at ``pointer``, and QueryNotFound."""
    if boxes and len(boxes) != len(query_ids):
        raise InvalidValue(
            f"{len(boxes)} box for {len(query_ids)} query_id: give none, or one for each in their order "
            "(0,0,width,height is the whole picture)", pointer=pointer,
        )  # fmt: skip
    kept = await run_in_threadpool(lambda: [queries.store.get(query_id) for query_id in query_ids])
    wanted: Sequence[Box | None] = boxes or [None] * len(kept)
    return list(zip(kept, wanted, strict=True))


def _part(made: Seen | Remembered | None) -> QueryPart:
    assert made is not None  # noqa: S101  # what was not known was looked at
    crop = made.crop if isinstance(made, Seen) else None
    return QueryPart(embedding=made.embedding, viewpoint=made.viewpoint, crop=crop)
