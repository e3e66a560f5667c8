"""Searching: one picture, several of one vehicle, a batch, what is kept or stored."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from index.embedder import Embedder
from index.errors import InvalidValue
from index.gallery import Gallery
from service.answering.asked_queries import AskedQueries
from service.answering.request_turn import RequestTurn, turn_of
from service.answering.searcher import Found, Searcher
from service.answering.uploads import Limits
from service.capacity.worker_pool import Urgency
from service.context import Context, context_of, image_id_of
from service.embedding.picture_looker import Looked, Seen
from service.gate.audit_trail import note, note_pictures
from service.openapi import descriptions as say
from service.openapi.descriptions import GalleryName, ImageId
from service.wire.documents import encode, encode_elements, encoded_answer, viewpoint_document
from service.wire.parameters import (
    BOX,
    COMBINE,
    KEPT_SEARCH,
    MAX_COMBINED,
    SEARCH,
    Values,
    read_parameters,
    search_options_of,
)
from service.wire.problems import BadPicture, problem_of
from service.wire.streamed_answer import Parts, StreamedAnswer, answer_of

router = APIRouter(tags=["search"])


@router.post(
    "/v1/galleries/{gallery}/search",
    summary="Where else was this vehicle seen?",
    responses=say.responses(say.SEARCH_ANSWER, 400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=say.request(say.PICTURE_OR_PARTS, (BOX, COMBINE, *SEARCH), attributes=True, timed=True),
)
async def search(request: Request, gallery: GalleryName) -> Response:
    """Send a picture as the raw body (``--data-binary @car.jpg``) or as the part ``image``; get ranked matches.

    Distances are Euclidean. With ``combine=mean``, 2–8 parts ``image`` of one vehicle are searched for together.
    """
    context = context_of(request)
    values = read_parameters(request, (BOX, COMBINE, *SEARCH), attributes=True)
    target = _searched(context, gallery, values)
    limits = Limits(
        max_bytes=context.settings.max_body_bytes,
        max_seconds=context.settings.body_seconds,
        max_images=MAX_COMBINED,
        images_setting=f"{MAX_COMBINED} pictures of one vehicle",
    )
    async with turn_of(request) as turn:
        upload = await turn.upload(limits)
        await note_pictures(request, upload.images)
        several, box = len(upload.images) > 1, values.one("box")
        if several and values.one("combine") is None:
            raise InvalidValue(
                f"{len(upload.images)} parts 'image': add combine=mean if they show one vehicle, else use search/batch",
                pointer="/image",
            )
        if several and box is not None:
            raise InvalidValue("parameter box goes with one picture only", pointer="/query/box")

        async def find(embedder: Embedder) -> tuple[Found, float]:
            searcher = _searcher(context, embedder, target, values)
            return await context.engine.look([(data, box) for data in upload.images], embedder, searcher.vehicle)

        found, waited = await context.models.by_its_own(target, find)
        note(request, matches=found.matches)
        return _timed(context, found, waited, since=upload.complete, turn=turn)


@router.post(
    "/v1/galleries/{gallery}/search/batch",
    summary="Search for several vehicles",
    responses=say.responses(say.BATCH_ANSWER, 400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=say.request(say.PICTURE_OR_PARTS, SEARCH, attributes=True, timed=True),
)
async def search_batch(request: Request, gallery: GalleryName) -> Response:
    """One vehicle a part ``image``; the results come in the order of the parts, a bad picture's as a problem."""
    context = context_of(request)
    values = read_parameters(request, SEARCH, attributes=True)
    target = _searched(context, gallery, values)
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_queries"))
        await note_pictures(request, upload.images)

        async def find(embedder: Embedder) -> tuple[Found, float]:
            searcher = _searcher(context, embedder, target, values)
            pictures = [(data, None) for data in upload.images]
            looked, waited = await context.engine.look_at_all(pictures, keep=False, embedder=embedder)
            found, again = await context.engine.run(lambda: searcher.each(looked), urgency=Urgency.BATCH)
            return found, waited + again

        found, waited = await context.models.by_its_own(target, find)
        if found.parts.ended:  # else nobody knows yet
            note(request, matches=found.matches)
        return _timed(context, found, waited, since=upload.complete, turn=turn)


@router.get(
    "/v1/galleries/{gallery}/search",
    summary="Search with kept pictures",
    responses=say.responses(say.SEARCH_ANSWER, 404, 409, 422, 429, 503),
    openapi_extra=say.request(None, KEPT_SEARCH, attributes=True, timed=True),
)
async def search_kept(request: Request, gallery: GalleryName) -> Response:
    """The same search as an address that can be passed on, with pictures that ``POST /v1/queries`` keeps.

    1–8 pictures of one vehicle, kept or stored (``image_id``), are searched for together; the stored ones are left out
    of the matches.
    """
    values = read_parameters(request, KEPT_SEARCH, attributes=True)
    asked = await AskedQueries.of(context_of(request).queries, values)
    return await _found_by(request, gallery, asked, values.without("image_id"))


@router.get(
    "/v1/galleries/{gallery}/images/{image_id}/similar",
    summary="Search with a stored image",
    responses=say.responses(say.SEARCH_ANSWER, 404, 409, 422, 429, 503),
    openapi_extra=say.request(None, SEARCH, attributes=True, timed=True),
)
async def similar(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """The same search with a stored image as the query; the image itself is left out."""
    own = image_id_of(image_id)
    values = read_parameters(request, SEARCH, attributes=True)
    return await _found_by(request, gallery, AskedQueries(queries=context_of(request).queries, image_ids=[own]), values)


async def _found_by(request: Request, gallery: str, asked: AskedQueries, values: Values) -> Response:
    """The answer to a search with what was not sent with it."""
    began = time.perf_counter()
    context = context_of(request)
    target = _searched(context, gallery, values)

    async def find(embedder: Embedder) -> tuple[Found, float]:
        searcher = _searcher(context, embedder, target, values, exclude=asked.image_ids)
        return await asked.looked_up(context, searcher, turn, searcher.together)

    async with turn_of(request) as turn:
        await turn.begin()
        if asked.digests:
            note(request, pictures=asked.digests)
        found, waited = await context.models.by_its_own(target, find)
        note(request, matches=found.matches)
        return _timed(context, found, waited, since=began, turn=turn)


@router.post(
    "/v1/embeddings",
    summary="Embed pictures",
    responses=say.responses(say.EMBEDDINGS_ANSWER, 400, 413, 415, 422, 429, 503),
    openapi_extra=say.request(say.PICTURE_OR_PARTS, (), timed=True),
)
async def embeddings(request: Request) -> Response:
    """The vectors that a gallery would store, and the viewpoint; a bad one of several is a problem in its place."""
    context = context_of(request)
    read_parameters(request, ())
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_queries"))
        await note_pictures(request, upload.images)
        embedder = context.embedder
        pictures = [(data, None) for data in upload.images]
        looked, _ = await context.engine.look_at_all(pictures, keep=False, embedder=embedder)
        if len(looked) == 1 and not isinstance(looked[0], Seen):
            raise BadPicture(problem_of(looked[0], pointer="/image"))
        parts = Parts(_embeddings(embedder, looked))

        async def more() -> bytes:
            return (await context.engine.run(parts.piece, urgency=Urgency.BATCH))[0]

        return await answer_of(parts, more, seconds=context.settings.body_seconds, keep_place=turn.keep_place)


def _embeddings(embedder: Embedder, looked: list[Looked]) -> Iterator[bytes]:
    names = embedder.contract.viewpoints
    results = (
        {"embedding": one.embedding.tolist(), "viewpoint": viewpoint_document(names, one.viewpoint)}
        if isinstance(one, Seen)
        else {"problem": problem_of(one, pointer=f"/image/{number}")}
        for number, one in enumerate(looked)
    )
    yield encode({"model": embedder.fingerprint})[:-1] + b',"results":['
    yield from encode_elements(results, together=1)
    yield b"]}"


def _searched(context: Context, name: str, values: Values) -> Gallery:
    """The gallery; refuses what cannot be searched for, before a body is read."""
    target = context.comparable(name)
    search_options_of(values, target.spec.viewpoints)
    return target


def _searcher(
    context: Context, embedder: Embedder, target: Gallery, values: Values, *, exclude: Sequence[str] = ()
) -> Searcher:
    contract = embedder.contract
    return Searcher(
        context=context,
        embedder=embedder,
        gallery=target,
        options=replace(
            search_options_of(values, contract.viewpoints, exclude=exclude), embedding_space=contract.embedding_space
        ),
        attention="attention" in values.one("include", ()),
    )


def _timed(context: Context, found: Found, waited: float, *, since: float, turn: RequestTurn) -> Response:
    """The answer with what it took, in milliseconds; ``since`` is when the request was complete.

    What does not fit into one piece keeps its place in the queue until it is sent.
    """

    def end() -> bytes:
        seconds = {
            "decode": found.decode,
            "queue": waited + found.queue,
            "embed": found.embed,
            "search": found.search,
            "total": time.perf_counter() - since,
        }
        return b',"timing_ms":%s}' % encode({name: round(value * 1000, 3) for name, value in seconds.items()})

    async def more() -> bytes:
        nonlocal waited
        piece, again = await context.engine.run(found.parts.piece, urgency=Urgency.BATCH)
        waited += again
        return piece + end() if found.parts.ended else piece

    if found.parts.ended:
        return encoded_answer(found.first + end())
    return StreamedAnswer(
        found.first, found.parts, more, seconds=context.settings.body_seconds, place=turn.keep_place()
    )
