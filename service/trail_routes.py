"""Trails: where a vehicle was seen, as JSON, as a table, or as a record that can be handed over."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from index.crops import content_name, small_jpeg
from index.embedder import Embedder
from index.errors import ImageNotFound, PictureError, StorageError
from index.gallery import Gallery
from service import descriptions as say
from service.audit_trail import note
from service.caller import caller_of
from service.context import Context, context_of
from service.descriptions import GalleryName
from service.documents import answer, read_json
from service.parameters import TRAIL_FORMAT, read_parameters
from service.request_turn import turn_of
from service.trail import Trail, TrailRequest, follow, trail_document
from service.trail_record import PICTURE_SIDE, trail_pdf
from service.trail_table import trail_csv
from service.trail_wish import check_wish
from service.uploads import read_document
from service.worker_pool import Urgency

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
    with pictures and who asked; ``csv`` the same as a table. An id that the gallery has no image of is told of.
    """
    context = context_of(request)
    form: str = read_parameters(request, (TRAIL_FORMAT,)).one("format", "json")
    target = context.comparable(gallery)
    async with turn_of(request) as turn:
        body = await read_document(
            request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
        )
        wish = check_wish(read_json(body, what="the body"))
        note(
            request,
            format=form,
            asked_by=wish.asked_by,
            images=list(wish.image_ids),
            queries=list(wish.query_image_ids),
        )
        asked = _asked(request)
        await turn.begin()

        async def made(embedder: Embedder) -> Trail:
            def work() -> Trail:
                cameras = context.cameras.read().by_id()
                return follow(target, wish, cameras=cameras, embedder=embedder, request=asked)

            return (await context.engine.run(work, urgency=Urgency.BATCH))[0]

        found = await context.models.by_its_own(target, made)
        note(request, count=len(found.sightings) + len(found.untimed))
        return answer(trail_document(found)) if form == "json" else await _file(context, target, found, form)


def _asked(request: Request) -> TrailRequest:
    key = caller_of(request).key
    return TrailRequest(
        key_id=None if key is None else key.key_id, key_name=None if key is None else key.name,
        made_at=datetime.now(UTC), request_id=request.scope.get("request_id", ""),
    )  # fmt: skip


async def _file(context: Context, gallery: Gallery, found: Trail, form: str) -> Response:
    if form == "csv":
        data, media_type = trail_csv(found), "text/csv; charset=utf-8"
    else:
        ids = dict.fromkeys(
            [*(each.image_id for each in found.queries), *(each.image.image_id for each in found.every())]
        )
        pictures = await _pictures(context, gallery, list(ids))
        data, _ = await context.engine.run(lambda: trail_pdf(found, pictures, context.lettering), urgency=Urgency.BATCH)
        media_type = "application/pdf"
    name = f"trail-{found.gallery}-{found.request.made_at:%Y%m%dT%H%M%SZ}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=media_type, headers=headers)


async def _pictures(context: Context, gallery: Gallery, image_ids: Sequence[str]) -> dict[str, bytes]:
    """Small JPEGs by image id, of those whose stored crop is there and is what was written."""

    def some(ids: Sequence[str]) -> dict[str, bytes]:
        return {each: small for each in ids if (small := _small(context, gallery, each)) is not None}

    parts, _ = await context.engine.in_chunks(image_ids, some)
    return {image_id: picture for part in parts for image_id, picture in part.items()}


def _small(context: Context, gallery: Gallery, image_id: str) -> bytes | None:
    try:
        name, data = gallery.crop(image_id)
        if content_name(data) != name:
            return None
        return small_jpeg(data, max_side=PICTURE_SIDE, max_pixels=context.settings.max_pixels)
    except (ImageNotFound, PictureError, StorageError, ValueError):
        return None  # the record says so in its place
