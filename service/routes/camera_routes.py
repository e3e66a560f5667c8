"""Cameras: what they are called, where they stand, and the plan that they stand on."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.camera import Cameras, check_cameras
from index.crops import StoredCrop, stored_crop
from index.errors import InvalidValue, PictureError
from index.metadata import refuse_unknown, refused_value
from service.answering.picture_answer import ASKED_EACH_TIME, picture_answer
from service.answering.request_turn import turn_of
from service.answering.uploads import Limits, read_document
from service.capacity.worker_pool import Urgency
from service.context import Context, context_of, require_writable
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.wire.documents import answer, read_json, time_text
from service.wire.parameters import MAX_SIDE, PLAN_WIDTH, read_parameters
from service.wire.problems import BadPicture, problem_of

_PLAN = "/v1/cameras/plan"

router = APIRouter(tags=["cameras"])


@router.get("/v1/cameras", summary="Where cameras stand", responses=say.responses(say.CAMERAS_ANSWER, 422, 503))
async def get_cameras(request: Request) -> Response:
    """Every camera that somebody has named or placed, of all galleries: one ``camera_id`` is one camera."""
    read_parameters(request, ())
    context = context_of(request)
    return answer(_document(context, await run_in_threadpool(context.cameras.read)))


@router.put(
    "/v1/cameras",
    summary="Name and place cameras",
    responses=say.responses(say.CAMERAS_ANSWER, 400, 413, 422, 503, 507),
    openapi_extra=say.request(say.CAMERAS, ()),
    dependencies=[Depends(require_writable)],
)
async def put_cameras(request: Request) -> Response:
    """Takes the place of all that was said of cameras before; the plan stays.

    A camera has ``latitude`` and ``longitude``, or ``x`` and ``y`` in metres on the plan (``y`` grows downwards), or a
    name alone. Trails measure between cameras whose positions are of one kind.
    """
    context = context_of(request)
    read_parameters(request, ())
    body = await read_document(
        request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
    )

    def place() -> Cameras:
        document = read_json(body, what="the body")
        if not isinstance(document, dict):
            raise refused_value(document, "must be a JSON object", "the body", "")
        refuse_unknown(document, ("cameras",), "")
        if "cameras" not in document:
            raise InvalidValue("cameras is missing; send an empty array to forget all", pointer="/cameras")
        return context.cameras.place(check_cameras(document["cameras"], pointer="/cameras"))

    placed = await run_in_threadpool(place)
    note(request, count=len(placed.cameras))
    return answer(_document(context, placed))


@router.get(
    _PLAN,
    summary="Fetch the plan",
    response_class=Response,
    responses=say.picture_responses(404, 422, 503),
    openapi_extra=say.picture_request(),
)
async def get_plan(request: Request) -> Response:
    """The picture on which cameras stand; ``GET /v1/cameras`` says how many metres it shows."""
    max_side = read_parameters(request, (MAX_SIDE,)).one("max_side")
    plan, picture = await run_in_threadpool(context_of(request).cameras.picture)
    return await picture_answer(request, plan.name, picture, max_side=max_side, kept=ASKED_EACH_TIME)


@router.put(
    _PLAN,
    summary="Set the plan",
    responses=say.responses(say.PLAN_ANSWER, 400, 413, 415, 422, 429, 503, 507, created=True),
    openapi_extra=say.request(say.PICTURE_OR_PART, (PLAN_WIDTH,), timed=True),
    dependencies=[Depends(require_writable)],
)
async def put_plan(request: Request) -> Response:
    """A picture, as the raw body or the part ``image``, of what is ``width`` metres from its left to its right side."""
    context = context_of(request)
    width = read_parameters(request, (PLAN_WIDTH,)).one("width")
    if width is None:
        raise InvalidValue(
            "width is missing: the metres from the plan's left to its right side", pointer="/query/width"
        )
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_queries"))
        if len(upload.images) != 1:
            raise InvalidValue(f"{len(upload.images)} parts 'image' were sent; a plan is one", pointer="/image")
        crop = await _upright(context, upload.images[0])
        await turn.settle()
        known, new = await run_in_threadpool(context.cameras.draw, crop.data, pixels=crop.image.size, width=width)
    return answer(_plan_document(known), status=201 if new else 200)


@router.delete(
    _PLAN,
    summary="Remove the plan",
    status_code=204,
    response_class=Response,
    responses=say.problems(404, 422, 503, 507),
    dependencies=[Depends(require_writable)],
)
async def delete_plan(request: Request) -> Response:
    """The picture goes; cameras keep their ``x`` and ``y``."""
    read_parameters(request, ())
    await run_in_threadpool(context_of(request).cameras.erase_plan)
    return Response(status_code=204)


async def _upright(context: Context, data: bytes) -> StoredCrop:
    """The picture as it is kept, made on a worker; raises BadPicture."""
    limit = context.settings.max_pixels
    try:
        crop, _ = await context.engine.run(lambda: stored_crop(data, box=None, max_pixels=limit), urgency=Urgency.BATCH)
    except PictureError as error:
        raise BadPicture(problem_of(error, pointer="/image")) from error
    return crop


def _document(context: Context, known: Cameras) -> dict[str, Any]:
    return {
        "cameras": [camera.document() for camera in known.cameras],
        "plan": _plan_document(known),
        "map_tiles": context.settings.map_tiles,
        "updated_at": None if known.updated_at is None else time_text(known.updated_at),
    }


def _plan_document(known: Cameras) -> dict[str, Any] | None:
    plan = known.plan
    if plan is None:
        return None
    return {
        "picture": _PLAN, "sha256": plan.name.partition(".")[0], "pixels": list(plan.pixels), "width": plan.width,
        "height": round(plan.height, 3),
    }  # fmt: skip
