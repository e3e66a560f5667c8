"""Images of a gallery: ingest, read, change, erase."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.embedder import Embedder
from index.errors import InvalidValue, VehicleSearchError
from index.gallery import ORDERS, Gallery, Metadata, NewImage
from index.metadata import ImageDescription, check_image_id, check_metadata, merge_metadata
from service.answering.picture_answer import ASKED_EACH_TIME, picture_answer
from service.answering.request_turn import RequestTurn, turn_of
from service.answering.uploads import Limits, Upload, read_document
from service.context import Context, context_of, image_id_of, require_writable
from service.embedding.picture_looker import Seen
from service.gate.audit_trail import MOST_IDS, note
from service.openapi import descriptions as say
from service.openapi.descriptions import GalleryName, ImageId
from service.wire.documents import (
    answer,
    encode,
    encode_elements,
    image_document,
    read_json,
    read_json_lenient,
    require_distinct_keys,
)
from service.wire.parameters import MAX_SIDE, PAGE, SELECTED, filters_of, read_parameters, selected_by
from service.wire.problems import BadPicture, UnsupportedBody, pointer_of, problem_of
from service.wire.streamed_answer import Parts, answer_of

_MERGE_PATCH_TYPES = ("application/merge-patch+json", "application/json")
_TOGETHER = 32  # images that are encoded at once
_SMALL_KEPT = "private, max-age=300"  # while somebody leafs through; an image that is replaced shows soon
_NOTHING = ImageDescription(image_id=None, metadata=Metadata(), box=None)

router = APIRouter(tags=["images"])


@router.post(
    "/v1/galleries/{gallery}/images",
    summary="Add a batch of images",
    responses=say.responses(say.INGEST_ANSWER, 400, 404, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=say.request(say.PARTS_AND_METADATA, (), timed=True),
    dependencies=[Depends(require_writable)],
)
async def add_images(request: Request, gallery: GalleryName) -> Response:
    """Parts ``image``, and one part ``metadata``: a JSON array with an object for each, in order.

    A picture or an object that is wrong fails alone. An ``image_id`` that exists is replaced. What is answered as
    created or updated is on the disk.
    """
    context = context_of(request)
    read_parameters(request, ())
    target = context.comparable(gallery)
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_images"), metadata=True)
        descriptions = await run_in_threadpool(_descriptions, upload)
        outcome = await context.models.by_its_own(
            target, lambda embedder: _ingest(context, turn, embedder, target, upload.images, descriptions)
        )
    counts = {status: sum(one["status"] == status for one in outcome) for status in ("created", "updated", "failed")}
    stored = [one["image_id"] for one in outcome if one["status"] != "failed"]
    note(request, count=len(stored), images=stored[:MOST_IDS])
    return answer({**counts, "results": outcome})


@router.put(
    "/v1/galleries/{gallery}/images/{image_id}",
    summary="Add or replace one image",
    responses=say.responses(say.PUT_ANSWER, 400, 404, 409, 413, 415, 422, 429, 503, 507, created=True),
    openapi_extra=say.request(say.PICTURE_OR_PART_AND_METADATA, (), timed=True),
    dependencies=[Depends(require_writable)],
)
async def put_image(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """Raw body, or the parts ``image`` and ``metadata`` (a JSON object). Sent again, it is the same, ingested anew."""
    context = context_of(request)
    read_parameters(request, ())
    own = image_id_of(image_id)
    target = context.comparable(gallery)
    async with turn_of(request) as turn:
        upload = await turn.upload(Limits.of(context.settings, "max_images"), metadata=True)
        if len(upload.images) != 1:
            raise InvalidValue(f"{len(upload.images)} parts 'image' were sent; PUT takes one", pointer="/image")
        description = _NOTHING
        if upload.metadata is not None:
            document = await run_in_threadpool(
                read_json, upload.metadata, what="the part 'metadata'", pointer="/metadata"
            )
            description = check_metadata(document, pointer="/metadata")
        if description.image_id not in (None, own):
            raise InvalidValue(
                f"image_id is {description.image_id}, but the path says {own}", pointer="/metadata/image_id"
            )

        async def put(embedder: Embedder) -> str:
            pictures = [(upload.images[0], description.box)]
            (seen,), _ = await context.engine.look_at_all(pictures, keep=True, embedder=embedder)
            if isinstance(seen, VehicleSearchError):
                raise BadPicture(problem_of(seen, pointer=pointer_of(seen, "/image", "/metadata/box")))
            (status,) = await _store(context, turn, target, [_new_image(own, description, seen, embedder)])
            return status

        status = await context.models.by_its_own(target, put)
    stored = image_document(await run_in_threadpool(target.get, own), target.name)
    return answer({**stored, "status": status}, status=201 if status == "created" else 200)


@router.get(
    "/v1/galleries/{gallery}/images",
    summary="List images",
    responses=say.responses(say.PAGE_ANSWER, 404, 422, 503),
    openapi_extra=say.request(None, PAGE, attributes=True),
)
async def list_images(request: Request, gallery: GalleryName) -> Response:
    """Images in the order of their ids, or the newest first; ``next`` is the cursor of the following page, null on the
    last. ``offset`` begins anywhere: the later, the longer it takes, milliseconds for some hundred thousand.
    """  # noqa: D205
    context = context_of(request)
    values = read_parameters(request, PAGE, attributes=True)
    target = context.gallery(gallery)
    filters = filters_of(values, target.spec.viewpoints)
    if values.one("cursor") and values.one("offset"):
        raise InvalidValue("a cursor goes without an offset: it says itself where it goes on", pointer="/query/offset")

    def listing() -> Iterator[bytes]:
        page = target.page(
            filters, limit=values.one("limit", 100), cursor=values.one("cursor"), offset=values.one("offset", 0),
            order=values.one("order", ORDERS[0]), total=values.one("total") is not None,
        )  # fmt: skip
        yield b'{"images":['
        yield from encode_elements((image_document(image, target.name) for image in page.images), together=_TOGETHER)
        total = b"" if page.total is None else b',"total":%d' % page.total
        yield b'],"next":%s%s}' % (encode(page.cursor), total)

    parts = Parts(listing())
    return await answer_of(parts, partial(run_in_threadpool, parts.piece), seconds=context.settings.body_seconds)


@router.delete(
    "/v1/galleries/{gallery}/images",
    summary="Erase by filter",
    responses=say.responses(say.DELETED_ANSWER, 404, 422, 503, 507),
    openapi_extra=say.request(None, SELECTED, attributes=True),
    dependencies=[Depends(require_writable)],
)
async def delete_images(request: Request, gallery: GalleryName) -> Response:
    """Erase every image that passes the filters; at least one filter, or ``all=true``."""
    context = context_of(request)
    values = read_parameters(request, SELECTED, attributes=True)
    target = context.gallery(gallery)
    deleted = await run_in_threadpool(target.delete_where, selected_by(values, target.spec.viewpoints))
    note(request, count=deleted)
    return answer({"deleted": deleted})


@router.patch(
    "/v1/galleries/{gallery}/images",
    summary="Change metadata by filter",
    responses=say.responses(say.UPDATED_ANSWER, 400, 404, 413, 415, 422, 503, 507),
    openapi_extra=say.request(say.MERGE_PATCH, SELECTED, attributes=True),
    dependencies=[Depends(require_writable)],
)
async def patch_images(request: Request, gallery: GalleryName) -> Response:
    """One merge patch for every image that passes the filters, of all or of none; at least one filter, or ``all=true``.

    So two vehicles are made one (``vehicle_id=`` the wrong one), or some images of one another (``image_id=`` each).
    """
    context = context_of(request)
    values = read_parameters(request, SELECTED, attributes=True)
    target = context.gallery(gallery)
    patch = await _merge_patch(request)
    merge_metadata(Metadata(), patch)  # what is wrong with it is told also where no image passes
    filters = selected_by(values, target.spec.viewpoints)
    updated = await run_in_threadpool(
        target.change_metadata_where, filters, lambda metadata: merge_metadata(metadata, patch)
    )
    note(request, count=updated)
    return answer({"updated": updated})


@router.get(
    "/v1/galleries/{gallery}/images/{image_id}",
    summary="Read an image's metadata",
    responses=say.responses(say.IMAGE_ANSWER, 404, 422, 503),
)
async def get_image(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """What the gallery knows about an image."""
    read_parameters(request, ())
    own, target = image_id_of(image_id), context_of(request).gallery(gallery)
    return answer(image_document(await run_in_threadpool(target.get, own), target.name))


@router.patch(
    "/v1/galleries/{gallery}/images/{image_id}",
    summary="Change an image's metadata",
    responses=say.responses(say.IMAGE_ANSWER, 400, 404, 413, 415, 422, 503, 507),
    openapi_extra=say.request(say.MERGE_PATCH, ()),
    dependencies=[Depends(require_writable)],
)
async def patch_image(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """An RFC 7396 merge patch: null removes a field, attributes merge name by name. Vector and crop stay."""
    context = context_of(request)
    read_parameters(request, ())
    own, target = image_id_of(image_id), context.gallery(gallery)
    patch = await _merge_patch(request)

    def change() -> dict[str, Any]:
        changed = target.change_metadata(own, lambda metadata: merge_metadata(metadata, patch))
        return image_document(changed, target.name)

    return answer(await run_in_threadpool(change))


@router.delete(
    "/v1/galleries/{gallery}/images/{image_id}",
    summary="Erase an image",
    status_code=204,
    response_class=Response,
    responses=say.problems(404, 422, 503, 507),
    dependencies=[Depends(require_writable)],
)
async def delete_image(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """The image is in no answer from now on."""
    read_parameters(request, ())
    own, target = image_id_of(image_id), context_of(request).gallery(gallery)
    await run_in_threadpool(target.delete, own)
    return Response(status_code=204)


@router.get(
    "/v1/galleries/{gallery}/images/{image_id}/crop",
    summary="Fetch the stored crop",
    response_class=Response,
    responses=say.picture_responses(404, 422, 503),
    openapi_extra=say.picture_request(),
)
async def get_crop(request: Request, gallery: GalleryName, image_id: ImageId) -> Response:
    """The crop as it was embedded, or a JPEG of it to look at. Its ETag names the content and never changes meaning."""
    max_side = read_parameters(request, (MAX_SIDE,)).one("max_side")
    own, target = image_id_of(image_id), context_of(request).gallery(gallery)
    name, data = await run_in_threadpool(target.crop, own)
    kept = ASKED_EACH_TIME if max_side is None else _SMALL_KEPT
    return await picture_answer(request, name, data, max_side=max_side, kept=kept)


async def _merge_patch(request: Request) -> object:
    """The body as JSON."""
    content_type = request.headers.get("content-type", _MERGE_PATCH_TYPES[0]).split(";")[0].strip().lower()
    if content_type not in _MERGE_PATCH_TYPES:
        raise UnsupportedBody(f"content type {content_type[:80]!a}: send {' or '.join(_MERGE_PATCH_TYPES)}")
    settings = context_of(request).settings
    body = await read_document(request, max_bytes=settings.max_body_bytes, max_seconds=settings.body_seconds)
    return read_json(body, what="the merge patch")


@dataclass(frozen=True)
class _Refused:
    """A metadata object that is wrong, with its id where that much is right."""

    image_id: str | None
    error: InvalidValue


async def _ingest(
    context: Context,
    turn: RequestTurn,
    embedder: Embedder,
    gallery: Gallery,
    images: list[bytes],
    descriptions: list[ImageDescription | _Refused],
) -> list[dict[str, Any]]:
    """Embed and store; one result an image, in order."""
    pictures = [
        (number, data, description)
        for number, (data, description) in enumerate(zip(images, descriptions, strict=True))
        if isinstance(description, ImageDescription)
    ]
    looked, _ = await context.engine.look_at_all(
        [(data, one.box) for _, data, one in pictures], keep=True, embedder=embedder
    )
    results: dict[int, dict[str, Any]] = {
        number: {"image_id": one.image_id, "status": "failed", "problem": problem_of(one.error)}
        for number, one in enumerate(descriptions)
        if isinstance(one, _Refused)
    }
    new: list[tuple[int, NewImage]] = []
    for (number, _, description), seen in zip(pictures, looked, strict=True):
        if isinstance(seen, Seen):
            image_id = description.image_id or str(uuid.uuid4())
            new.append((number, _new_image(image_id, description, seen, embedder)))
        else:
            problem = problem_of(seen, pointer=pointer_of(seen, f"/image/{number}", f"/metadata/{number}/box"))
            results[number] = {"image_id": description.image_id, "status": "failed", "problem": problem}
    if new:
        written = await _store(context, turn, gallery, [image for _, image in new])
        for (number, image), status in zip(new, written, strict=True):
            results[number] = {"image_id": image.image_id, "status": status}
    return [results[number] for number in range(len(images))]


async def _store(context: Context, turn: RequestTurn, gallery: Gallery, new: list[NewImage]) -> list[str]:
    await turn.settle()
    start = time.perf_counter()
    written = await run_in_threadpool(gallery.add, new)
    context.metrics.stage("store", time.perf_counter() - start, len(new))
    return list(written)


def _descriptions(upload: Upload) -> list[ImageDescription | _Refused]:
    """One description or its error an image; raises where the request as a whole makes no sense."""
    if upload.metadata is None:
        return [_NOTHING] * len(upload.images)
    documents = read_json_lenient(upload.metadata, what="the part 'metadata'")
    if not isinstance(documents, list):
        raise InvalidValue("the part 'metadata' must be a JSON array, one object an image", pointer="/metadata")
    if len(documents) != len(upload.images):
        raise InvalidValue(
            f"the part 'metadata' has {len(documents)} objects for {len(upload.images)} images", pointer="/metadata"
        )
    descriptions: list[ImageDescription | _Refused] = []
    first: dict[str, int] = {}
    for number, document in enumerate(documents):
        described: ImageDescription | _Refused
        try:
            require_distinct_keys(document, pointer=f"/metadata/{number}")
            described = check_metadata(document, pointer=f"/metadata/{number}")
        except InvalidValue as error:
            described = _Refused(_own_id(document), error)
        own = described.image_id
        if own is not None and own in first:
            raise InvalidValue(
                f"image_id {own} stands in objects {first[own]} and {number}", pointer=f"/metadata/{number}/image_id"
            )
        if own is not None:
            first[own] = number
        descriptions.append(described)
    return descriptions


def _own_id(document: object) -> str | None:
    try:
        return check_image_id(document["image_id"]) if isinstance(document, dict) else None
    except (KeyError, InvalidValue):
        return None


def _new_image(image_id: str, description: ImageDescription, seen: Seen, embedder: Embedder) -> NewImage:
    viewpoint = None if seen.viewpoint is None else np.array(seen.viewpoint)
    return NewImage(
        image_id=image_id,
        metadata=description.metadata,
        crop=seen.stored or b"",
        embedding=seen.embedding,
        viewpoint=viewpoint,
        embedding_space=embedder.contract.embedding_space,
    )
