"""Galleries: create, describe, list, drop."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.contract import Contract
from index.errors import EmbeddingSpaceMismatch, GalleryConflict, GalleryNotFound, InvalidValue
from index.gallery import KINDS, VECTORS, Gallery, GallerySpec
from index.metadata import check_gallery_name
from service.access.caller import caller_of
from service.answering.uploads import read_document
from service.context import Context, context_of, require_writable
from service.openapi import descriptions as say
from service.openapi.descriptions import GalleryName
from service.watching.usable_galleries import ask_each
from service.wire.documents import answer, facets_document, gallery_document, properties_of, read_json
from service.wire.parameters import CONFIRM, read_parameters
from service.wire.shown_paths import shown

_INDEX: dict[str, tuple[str, ...]] = {"kind": KINDS, "vectors": VECTORS}  # the first of each is the default

router = APIRouter(tags=["galleries"])


@router.get("/v1/galleries", summary="List galleries", responses=say.responses(say.GALLERIES_ANSWER, 422))
async def list_galleries(request: Request) -> Response:
    """Every gallery that the key is for, by name. Of a damaged one there is only its ``name`` and the ``problem``."""
    read_parameters(request, ())
    caller = caller_of(request)
    context = context_of(request)
    known, problems = await run_in_threadpool(ask_each, context.home, lambda gallery: gallery.info())
    documents = [
        {"name": name, "problem": shown(problem, context.settings.data_dir, admin=caller.admin)}
        for name, problem in problems.items()
    ]
    documents += map(gallery_document, known.values())
    reached = [document for document in documents if caller.reaches(str(document["name"]))]
    return answer({"galleries": sorted(reached, key=lambda document: str(document["name"]))})


@router.put(
    "/v1/galleries/{gallery}",
    summary="Create a gallery",
    responses=say.responses(say.GALLERY_ANSWER, 400, 404, 409, 413, 422, 503, 507, created=True),
    openapi_extra=say.request(say.GALLERY_SPEC, (), required=False),
    dependencies=[Depends(require_writable)],
)
async def put_gallery(request: Request, gallery: GalleryName) -> Response:
    """Bound to the loaded model's embedding space. The same again changes nothing; other properties are a 409."""
    context = context_of(request)
    read_parameters(request, ())
    name = check_gallery_name(gallery, pointer="/path/gallery")
    body = await read_document(
        request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
    )
    wanted = _properties(read_json(body, what="the body") if body else {})
    created, new = await run_in_threadpool(_create, context, name, wanted)
    return answer(gallery_document(await run_in_threadpool(created.info)), status=201 if new else 200)


@router.get(
    "/v1/galleries/{gallery}", summary="Describe a gallery", responses=say.responses(say.GALLERY_ANSWER, 404, 422, 503)
)
async def get_gallery(request: Request, gallery: GalleryName) -> Response:
    """Its properties, how many images a search can return, what finds them, and the bytes it takes on the disk."""
    read_parameters(request, ())
    target = context_of(request).gallery(gallery)
    return answer(gallery_document(await run_in_threadpool(target.info)))


@router.get(
    "/v1/galleries/{gallery}/facets",
    summary="What a gallery can be filtered by",
    responses=say.responses(say.FACETS_ANSWER, 404, 422, 503),
)
async def get_facets(request: Request, gallery: GalleryName) -> Response:
    """Its cameras, viewpoints and attributes with their images, its first and last time. Counted anew after a write."""
    read_parameters(request, ())
    target = context_of(request).gallery(gallery)
    return answer(facets_document(await run_in_threadpool(target.facets)))


@router.delete(
    "/v1/galleries/{gallery}",
    summary="Drop a gallery",
    status_code=204,
    response_class=Response,
    responses=say.problems(404, 409, 422, 503),
    openapi_extra=say.request(None, (CONFIRM,)),
    dependencies=[Depends(require_writable)],
)
async def delete_gallery(request: Request, gallery: GalleryName) -> Response:
    """With everything in it; only with ``confirm`` set to its name. ``default`` can be emptied, not dropped."""
    context = context_of(request)
    values = read_parameters(request, (CONFIRM,))
    target = context.gallery(gallery)
    if values.one("confirm") != target.name:
        raise InvalidValue(
            f"to drop this gallery and all its images, add confirm={target.name}", pointer="/query/confirm"
        )
    if target.name == "default":
        raise GalleryConflict(
            "gallery default always exists; to empty it use DELETE /v1/galleries/default/images?all=true"
        )
    await run_in_threadpool(context.home.drop, target.name)
    return Response(status_code=204)


def _create(context: Context, name: str, wanted: dict[str, Any]) -> tuple[Gallery, bool]:
    with context.models.steady:
        return context.home.create(name, GallerySpec.for_model(_contract(context, name), **wanted))


def _contract(context: Context, name: str) -> Contract:
    """Of the model that the gallery is bound to, or will be where it is new."""
    try:
        return context.models.of(context.home.get(name)).contract
    except (GalleryNotFound, EmbeddingSpaceMismatch):
        return context.embedder.contract


def _properties(sent: object) -> dict[str, Any]:
    document = properties_of(sent, ("kind", "vectors", "retention_days", "keep_crops"), what="a gallery")
    index = {name: document.get(name, values[0]) for name, values in _INDEX.items()}
    for name, values in _INDEX.items():
        if index[name] not in values:
            raise InvalidValue(f"{name} must be one of {', '.join(values)}", pointer=f"/{name}")
    keep_crops = document.get("keep_crops", True)
    if not isinstance(keep_crops, bool):
        raise InvalidValue("keep_crops must be true or false", pointer="/keep_crops")
    days = document.get("retention_days")
    if days is not None:
        number = isinstance(days, int | float) and not isinstance(days, bool)
        if not number or not 0 < days <= say.MAX_RETENTION_DAYS:
            raise InvalidValue(
                f"retention_days must be a number above 0 and up to {say.MAX_RETENTION_DAYS:,}, or null",
                pointer="/retention_days",
            )
    return {**index, "retention_days": None if days is None else float(days), "keep_crops": keep_crops}
