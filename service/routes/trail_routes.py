"""Trails: where a vehicle was seen, as JSON, as a table, or as a record that can be handed over."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response

from index.crops import Box, small_jpeg, stored_crop
from index.embedder import Embedder
from index.errors import ImageNotFound, PictureError, QueryNotFound, StorageError
from index.gallery import Gallery, SearchOptions
from index.storage.kept_query import KeptQuery
from service.access.caller import caller_of
from service.answering.asked_queries import AskedQueries, Kept, parts_of
from service.answering.request_turn import RequestTurn, turn_of
from service.answering.searcher import QueryPart, Searcher
from service.answering.sent_file import streamed_file, whole_file
from service.answering.uploads import read_document
from service.capacity.worker_pool import Urgency
from service.context import Context, context_of
from service.embedding.picture_looker import Seen
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.openapi.descriptions import GalleryName
from service.trails.trail import Trail, TrailQuery, TrailRequest, follow, stored_query, trail_document
from service.trails.trail_archive import Picture, trail_archive
from service.trails.trail_table import trail_csv
from service.trails.trail_wish import TrailWish, check_wish
from service.wire.documents import answer, read_json
from service.wire.parameters import TRAIL_FORMAT, read_parameters
from service.wire.problems import BadPicture

PICTURE_SIDE: Final = 640  # pixels of the pictures in a record, at most

router = APIRouter(tags=["trail"])


@router.post(
    "/v1/galleries/{gallery}/trail",
    summary="Follow a vehicle",
    responses={200: say.TRAIL_RESPONSE, **say.problems(400, 404, 409, 413, 422, 503)},
    openapi_extra=say.request(say.TRAIL, (TRAIL_FORMAT,), timed=True),
)
async def trail(request: Request, gallery: GalleryName) -> Response:
    """Sightings in the order of time, and what lies between them: time, straight distance, speed.

    A leg that nobody can have driven is marked with the reason. ``format=pdf`` is a record that can be handed over,
    with pictures and who asked; ``csv`` the same as a table, ``zip`` the table and the pictures as they are stored. An
    id that the gallery has no image of is told of.
    """
    context = context_of(request)
    form: str = read_parameters(request, (TRAIL_FORMAT,)).one("format", "json")
    target = context.comparable(gallery)
    async with turn_of(request) as turn:
        body = await read_document(
            request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
        )
        wish = check_wish(read_json(body, what="the body"))
        note(request, format=form, asked_by=wish.asked_by, images=list(wish.image_ids))
        kept = await parts_of(context.queries, wish.query_ids, wish.boxes, pointer="/boxes")
        queries = AskedQueries(queries=context.queries, kept=kept, image_ids=wish.query_image_ids)
        note(request, queries=[*wish.query_ids, *wish.query_image_ids], pictures=queries.digests)
        await turn.begin()
        made = await _followed(context, turn, target, wish, queries, _asked_by(request))
        note(request, count=len(made.sightings) + len(made.untimed))
        if form == "json":
            return answer(trail_document(made))
        if form == "csv":
            return whole_file(trail_csv(made), _name(made, form), "text/csv; charset=utf-8")
        if form == "zip":
            archive = _archive(context, target, made, kept)
            return await streamed_file(request, archive, _name(made, form), "application/zip")
        return whole_file(await _record(context, target, made, kept), _name(made, form), "application/pdf")


async def _followed(
    context: Context, turn: RequestTurn, gallery: Gallery, wish: TrailWish, asked: AskedQueries, request: TrailRequest
) -> Trail:
    """The trail by the gallery's own model; raises what ``follow`` raises, and BadPicture for a query."""

    async def made(embedder: Embedder) -> Trail:
        searcher = Searcher(
            context=context, embedder=embedder, gallery=gallery, options=SearchOptions(), attention=False
        )

        def work(parts: Sequence[QueryPart] = (), _: Sequence[Seen] = ()) -> Trail:
            queries = [TrailQuery(query_id=each.query_id, box=box, sha256=each.digest) for each, box in asked.kept]
            queries += [stored_query(gallery, image_id) for image_id in asked.image_ids]
            return follow(
                gallery, wish, queries=queries, query=searcher.vector(parts) if parts else None,
                cameras=context.cameras.read().by_id(), embedder=embedder, request=request,
            )  # fmt: skip

        if not asked.kept and not asked.image_ids:
            return (await context.engine.run(work, urgency=Urgency.BATCH))[0]
        return (await asked.looked_up(context, searcher, turn, work))[0]

    try:
        return await context.models.by_its_own(gallery, made)
    except BadPicture as error:  # told of parameters that this route has in its body
        (fault,) = error.problem["errors"]
        told = {**fault, "pointer": "/boxes" if fault["pointer"] == "/query/box" else "/query_ids"}
        raise BadPicture({**error.problem, "errors": [told]}) from error


def _asked_by(request: Request) -> TrailRequest:
    key = caller_of(request).key
    return TrailRequest(
        key_id=None if key is None else key.key_id, key_name=None if key is None else key.name,
        made_at=datetime.now(UTC), request_id=request.scope.get("request_id", ""),
    )  # fmt: skip


def _name(made: Trail, form: str) -> str:
    return f"trail-{made.gallery}-{made.request.made_at:%Y%m%dT%H%M%SZ}.{form}"


def _archive(context: Context, gallery: Gallery, made: Trail, kept: Sequence[Kept]) -> Iterator[bytes]:
    """The table with its pictures: those of queries whole, as they are kept."""
    queries: list[Picture] = [partial(_whole_kept, context, query) for query, _ in kept]
    queries += [partial(gallery.crop, each.image_id) for each in made.queries if each.image_id is not None]
    return trail_archive(made, queries, [partial(gallery.crop, each.image.image_id) for each in made.every()])


def _whole_kept(context: Context, query: KeptQuery) -> tuple[str, bytes]:
    return query.picture_name, context.queries.store.read(query)


async def _record(context: Context, gallery: Gallery, made: Trail, kept: Sequence[Kept]) -> bytes:
    """The PDF, made on workers: pictures a few at a time, then the pages."""
    limit = context.settings.max_pixels
    sources: list[Callable[[], bytes]] = [partial(_kept_picture, context, *each) for each in kept]
    sources += [partial(_crop, gallery, each.image_id) for each in made.queries if each.image_id is not None]
    sources += [partial(_crop, gallery, each.image.image_id) for each in made.every()]
    parts, _ = await context.engine.in_chunks(sources, lambda some: [_small(each, limit) for each in some])
    pictures = [picture for part in parts for picture in part]
    queries, shown = pictures[: len(made.queries)], pictures[len(made.queries) :]
    by_id = {
        sighting.image.image_id: picture
        for sighting, picture in zip(made.every(), shown, strict=True)
        if picture is not None
    }

    def pages() -> bytes:
        from service.trails.trail_record import trail_pdf  # what prints takes 20 MB, so it is loaded when it is wanted

        return trail_pdf(made, by_id, queries, context.lettering)

    return (await context.engine.run(pages, urgency=Urgency.BATCH))[0]


def _small(picture: Callable[[], bytes], max_pixels: int) -> bytes | None:
    """A small JPEG; None where the picture is gone or damaged, which the record says in its place."""
    try:
        return small_jpeg(picture(), max_side=PICTURE_SIDE, max_pixels=max_pixels)
    except (ImageNotFound, QueryNotFound, PictureError, StorageError):
        return None


def _crop(gallery: Gallery, image_id: str) -> bytes:
    name, data = gallery.crop(image_id)
    if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
        raise StorageError(f"the stored crop {name} is not what was written")
    return data


def _kept_picture(context: Context, query: KeptQuery, box: Box | None) -> bytes:
    data = context.queries.store.read(query)
    return data if box is None else stored_crop(data, box=box, max_pixels=context.settings.max_pixels).data
