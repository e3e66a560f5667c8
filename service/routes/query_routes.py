"""Pictures that somebody searches with, kept for a while: see ``GET /v1/galleries/{gallery}/search``."""

import hashlib
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.crops import StoredCrop, stored_picture
from index.errors import InvalidValue, PictureError
from index.storage.kept_query import KeptQuery, QueryHome
from service.answering.picture_answer import picture_answer
from service.answering.request_turn import turn_of
from service.answering.uploads import Limits
from service.context import Context, context_of, require_writable
from service.embedding.picture_looker import with_setting
from service.gate.audit_trail import note, note_pictures
from service.openapi import descriptions as say
from service.openapi.descriptions import QueryId
from service.wire.documents import answer, time_text
from service.wire.parameters import MAX_SIDE, read_parameters
from service.wire.problems import BadPicture, problem_of

_EXTENSIONS: dict[str, Literal["jpg", "png"]] = {"image/jpeg": "jpg", "image/png": "png"}
_FOR_GOOD = "private, max-age=86400, immutable"

router = APIRouter(tags=["queries"])


@router.post(
    "/v1/queries",
    summary="Keep a picture to search with",
    status_code=201,
    responses={**say.created(say.QUERY_ANSWER), **say.problems(400, 409, 413, 415, 422, 429, 503, 507)},
    openapi_extra=say.request(say.PICTURE_OR_PARTS, (), timed=True),
    dependencies=[Depends(require_writable)],
)
async def keep_query(request: Request) -> Response:
    """Raw body or the part ``image``. Whoever knows the id may search with it, look at it and erase it.

    It is kept upright, without metadata, for query_hours; the oldest ones go sooner where all take more than
    max_query_bytes.
    """
    context = context_of(request)
    read_parameters(request, ())
    context.queries.store.require_kept()
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_queries"))
        await note_pictures(request, upload.images)
        if len(upload.images) != 1:
            raise InvalidValue(
                f"{len(upload.images)} parts 'image' were sent; a query is one picture, several are searched for "
                "together by their ids", pointer="/image",
            )  # fmt: skip
        (data,) = upload.images
        stored, digest = (await context.engine.run(lambda: _looked_at(context, data)))[0]
        await turn.settle()
        query = await run_in_threadpool(_kept, context.queries.store, stored, digest)
    note(request, query_id=query.query_id)
    return answer(_document(context, query), status=201, headers={"Location": f"/v1/queries/{query.query_id}"})


@router.get(
    "/v1/queries/{query_id}",
    summary="Describe a kept picture",
    responses=say.responses(say.QUERY_ANSWER, 404, 422),
)
async def get_query(request: Request, query_id: QueryId) -> Response:
    """Its size when upright, and until when it is kept."""
    context = context_of(request)
    read_parameters(request, ())
    return answer(_document(context, await run_in_threadpool(context.queries.store.get, query_id)))


@router.get(
    "/v1/queries/{query_id}/picture",
    summary="Fetch a kept picture",
    response_class=Response,
    responses=say.picture_responses(404, 422, 503),
    openapi_extra=say.picture_request(),
)
async def get_query_picture(request: Request, query_id: QueryId) -> Response:
    """The picture as it is searched with, or a JPEG of it to look at; it never changes."""
    max_side = read_parameters(request, (MAX_SIDE,)).one("max_side")
    store = context_of(request).queries.store
    query = await run_in_threadpool(store.get, query_id)
    data = await run_in_threadpool(store.read, query)
    return await picture_answer(request, query.picture_name, data, max_side=max_side, kept=_FOR_GOOD)


@router.delete(
    "/v1/queries/{query_id}",
    summary="Erase a kept picture",
    status_code=204,
    response_class=Response,
    responses=say.problems(404, 422, 503),
    dependencies=[Depends(require_writable)],
)
async def delete_query(request: Request, query_id: QueryId) -> Response:
    """Nothing of it is left, and addresses that name it answer 404."""
    read_parameters(request, ())
    await run_in_threadpool(context_of(request).queries.erase, query_id)
    return Response(status_code=204)


def _looked_at(context: Context, data: bytes) -> tuple[StoredCrop, str]:
    """The form that is kept, and the SHA-256 of what was sent; raises BadPicture. Runs on a worker."""
    try:
        stored = stored_picture(data, max_pixels=context.settings.max_pixels)
    except PictureError as error:
        raise BadPicture(problem_of(with_setting(error), pointer="/image")) from error
    return stored, hashlib.sha256(data).hexdigest()


def _kept(store: QueryHome, stored: StoredCrop, digest: str) -> KeptQuery:
    width, height = stored.image.size
    return store.keep(stored.data, width=width, height=height, digest=digest, extension=_EXTENSIONS[stored.media_type])


def _document(context: Context, query: KeptQuery) -> dict[str, Any]:
    return {
        "query_id": query.query_id, "width": query.width, "height": query.height,
        "kept_until": time_text(context.queries.store.kept_until(query)),
    }  # fmt: skip
