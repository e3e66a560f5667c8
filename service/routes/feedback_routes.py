"""What people say of matches: the same vehicle, or not. Kept, and given out as a data set to train on."""

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.crops import Box, stored_crop
from index.errors import (
    BoxOutsidePicture,
    FeedbackNotFound,
    GalleryNotFound,
    InvalidValue,
    PictureError,
    StorageError,
)
from index.gallery import Answer, Gallery, NewAnswer
from index.metadata import GALLERY_NAME, check_box, check_gallery_name, check_image_id
from index.storage.kept_query import QUERY_ID
from service.access.caller import caller_of
from service.answering.request_turn import RequestTurn, turn_of
from service.answering.sent_file import streamed_file
from service.answering.uploads import read_document
from service.context import Context, context_of, require_writable
from service.gate.audit_trail import note
from service.gate.route_access import reach_gallery
from service.openapi import descriptions as say
from service.openapi.descriptions import FeedbackId
from service.wire.documents import answer, read_json, time_text
from service.wire.parameters import FEEDBACK, IN_GALLERY, Parameter, Values, read_parameters
from service.wire.problems import BadPicture, problem_of

_KNOWN: Final = ("gallery", "image_id", "same", "query_id", "box", "query_image_id", "distance")
_ID = re.compile(rf"({GALLERY_NAME})\.([0-9a-f]{{16}})", re.ASCII)

router = APIRouter(tags=["feedback"])


@router.post(
    "/v1/feedback",
    summary="Is it the same vehicle?",
    status_code=201,
    responses=say.responses(say.FEEDBACK_ANSWER, 400, 404, 409, 413, 422, 429, 503, 507, created=True),
    openapi_extra=say.request(say.NEW_FEEDBACK, (), timed=True),
    dependencies=[Depends(require_writable)],
)
async def post_feedback(request: Request) -> Response:
    """What somebody says of a match and of what was searched with: a kept query, or a part of it, or a stored image.

    The query's picture is kept with it, as queries are not kept for long. Said again of the same two pictures it
    replaces what was said before (200).
    """
    context = context_of(request)
    read_parameters(request, ())
    body = await read_document(
        request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
    )
    document = _document_of(body)
    name = check_gallery_name(document["gallery"], pointer="/gallery")
    new = _new_answer(document)
    note(request, gallery=name, image_id=new.image_id, same=new.same)
    reach_gallery(request, name)
    target = context.gallery(name)
    if new.query_id is not None:
        async with turn_of(request) as turn:
            new = replace(new, query_crop=await _query_crop(context, turn, new.query_id, new.box))
    given, created = await run_in_threadpool(_give, context, target, new)
    return answer(_feedback_document(given, name), status=201 if created else 200)


@router.get(
    "/v1/feedback",
    summary="List feedback",
    responses=say.responses(say.FEEDBACK_PAGE_ANSWER, 404, 422, 503),
    openapi_extra=say.request(None, FEEDBACK),
)
async def list_feedback(request: Request) -> Response:
    """On the images that a gallery has now, the latest first; ``next`` is the cursor of what is older."""
    values, target = _asked(request, *FEEDBACK)
    read = partial(
        target.feedback.page, limit=values.one("limit", 100), cursor=values.one("cursor"),
        query_id=values.one("query_id"), query_image_id=values.one("query_image_id"),
    )  # fmt: skip
    page = await run_in_threadpool(read)
    return answer({"feedback": [_feedback_document(each, target.name) for each in page.answers], "next": page.cursor})


@router.delete(
    "/v1/feedback",
    summary="Erase a gallery's feedback",
    responses=say.responses(say.DELETED_ANSWER, 404, 422, 503, 507),
    openapi_extra=say.request(None, (IN_GALLERY,)),
    dependencies=[Depends(require_writable)],
)
async def delete_all_feedback(request: Request) -> Response:
    """All of it, and the pictures of queries that were kept with it."""
    _, target = _asked(request, IN_GALLERY)
    deleted = await run_in_threadpool(target.feedback.delete_all)
    note(request, count=deleted)
    return answer({"deleted": deleted})


@router.get(
    "/v1/feedback/export",
    summary="Feedback as a data set",
    response_class=Response,
    responses={200: say.FEEDBACK_ARCHIVE, **say.problems(404, 422, 503)},
    openapi_extra=say.request(None, (IN_GALLERY,)),
)
async def export_feedback(request: Request) -> Response:
    """A .zip of pictures and a ``manifest.csv`` that ``vehicle-model train`` reads once it is unpacked.

    Pictures that were said to be the same, or that the gallery gives one vehicle_id, are one vehicle. Where that
    contradicts what else was said they are left out and stand in ``conflicts.csv``, with the reason.
    """
    _, target = _asked(request, IN_GALLERY)
    name = f"feedback-{target.name}.zip"
    return await streamed_file(request, target.feedback.archive(), name, "application/zip")


@router.delete(
    "/v1/feedback/{feedback_id}",
    summary="Erase feedback",
    status_code=204,
    response_class=Response,
    responses=say.problems(404, 422, 503, 507),
    dependencies=[Depends(require_writable)],
)
async def delete_feedback(request: Request, feedback_id: FeedbackId) -> Response:
    """One answer, and the picture of its query where no other answer has it."""
    read_parameters(request, ())
    missing = FeedbackNotFound(f"there is no feedback {feedback_id[:80]!a}")
    found = _ID.fullmatch(feedback_id)
    if found is None or not caller_of(request).reaches(found[1]):
        raise missing
    note(request, gallery=found[1])
    try:
        target = context_of(request).gallery(found[1])
        await run_in_threadpool(target.feedback.delete, found[2])
    except (GalleryNotFound, FeedbackNotFound) as error:
        raise missing from error
    return Response(status_code=204)


def _asked(request: Request, *known: Parameter) -> tuple[Values, Gallery]:
    """What the query string says, and the gallery that it names."""
    values = read_parameters(request, known)
    name = values.one("gallery")
    if name is None:
        raise InvalidValue("parameter gallery is missing: it names the gallery", pointer="/query/gallery")
    note(request, gallery=name)
    reach_gallery(request, name)
    return values, context_of(request).gallery(name)


def _document_of(body: bytes) -> dict[str, Any]:
    document = read_json(body, what="the body")
    if not isinstance(document, dict):
        raise InvalidValue("feedback is a JSON object", pointer="")
    for name in document:
        if name not in _KNOWN:
            raise InvalidValue(
                f"{name[:60]!a} is not a field of feedback; known are {', '.join(_KNOWN)}",
                pointer=f"/{name[:60].replace('~', '~0').replace('/', '~1')}" if name.isascii() else "",
            )
    for name in ("gallery", "image_id", "same"):
        if name not in document:
            raise InvalidValue(f"feedback lacks the field {name}", pointer="")
    return document


def _new_answer(document: Mapping[str, Any]) -> NewAnswer:
    """What a body says, but for the picture of a kept query."""
    image_id = check_image_id(document["image_id"], pointer="/image_id")
    if not isinstance(document["same"], bool):
        raise InvalidValue("same must be true or false", pointer="/same")
    said = {name: document.get(name) for name in ("query_id", "query_image_id", "box")}
    if (said["query_id"] is None) == (said["query_image_id"] is None):
        raise InvalidValue("name what was searched with by one of query_id and query_image_id", pointer="")
    distance = _distance(document.get("distance"))
    if said["query_id"] is not None:
        box = None if said["box"] is None else check_box(said["box"], pointer="/box")
        query_id = _query_id(said["query_id"])
        return NewAnswer(image_id=image_id, same=document["same"], query_id=query_id, box=box, distance=distance)
    if said["box"] is not None:
        raise InvalidValue("box goes with query_id: a stored image is one vehicle already", pointer="/box")
    query_image_id = check_image_id(said["query_image_id"], pointer="/query_image_id")
    if query_image_id == image_id:
        raise InvalidValue(f"query_image_id and image_id are both {image_id}", pointer="/query_image_id")
    return NewAnswer(image_id=image_id, same=document["same"], query_image_id=query_image_id, distance=distance)


def _query_id(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(QUERY_ID, value, re.ASCII):
        return value
    raise InvalidValue("query_id must be an id that POST /v1/queries gave", pointer="/query_id")


async def _query_crop(context: Context, turn: RequestTurn, query_id: str, box: Box | None) -> bytes:
    """What was searched with, as crops are stored; raises QueryNotFound, and BadPicture where the box does not fit."""
    store = context.queries.store
    query = await run_in_threadpool(store.get, query_id)
    await turn.begin()
    turn.hold(query.size)
    data = await run_in_threadpool(store.read, query)
    return (await context.engine.run(lambda: _cut(data, box, context.settings.max_pixels)))[0]


def _cut(data: bytes, box: Box | None, max_pixels: int) -> bytes:
    """Runs on a worker."""
    try:
        return stored_crop(data, box=box, max_pixels=max_pixels).data
    except BoxOutsidePicture as error:
        raise BadPicture(problem_of(error, pointer="/box")) from error
    except PictureError as error:
        raise StorageError(f"{error}; it could be read when it was kept: send the picture again") from error


def _give(context: Context, target: Gallery, new: NewAnswer) -> tuple[Answer, bool]:
    limits = context.settings
    return target.feedback.give(new, most=limits.max_feedback, most_bytes=limits.max_feedback_bytes)


def _distance(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max:
        return float(value)
    raise InvalidValue("distance must be a finite number from 0", pointer="/distance")


def _feedback_document(given: Answer, gallery: str) -> dict[str, Any]:
    return {
        "feedback_id": f"{gallery}.{given.answer_id}", "gallery": gallery, "image_id": given.image_id,
        "same": given.same, "query_id": given.query_id, "box": None if given.box is None else list(given.box),
        "query_image_id": given.query_image_id, "distance": given.distance,
        "given_at": time_text(given.given_at),
    }  # fmt: skip
