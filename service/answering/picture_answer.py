"""Stored pictures as answers: known by their content, not sent to who has them, smaller where that is asked for."""

from fastapi import Request, Response

from index.crops import small_jpeg
from index.errors import PictureError, StorageError
from service.capacity.worker_pool import Urgency
from service.context import Context, context_of

ASKED_EACH_TIME = "private, no-cache"


async def picture_answer(request: Request, name: str, data: bytes, *, max_side: int | None, kept: str) -> Response:
    """A picture with this content name, or a JPEG of it no side of which is longer than ``max_side`` pixels.

    ``kept`` is the answer's Cache-Control. Raises StorageError where the picture is damaged.
    """
    tag = f'"{name}"' if max_side is None else f'"{name.partition(".")[0]}-{max_side}.jpg"'
    headers = {"ETag": tag, "Cache-Control": kept, "Vary": "Authorization", "X-Content-Type-Options": "nosniff"}
    wanted = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in wanted or "*" in wanted:
        return Response(status_code=304, headers=headers)
    if max_side is not None:
        data = await _smaller(context_of(request), name, data, max_side)
    jpeg = max_side is not None or name.endswith(".jpg")
    return Response(data, media_type="image/jpeg" if jpeg else "image/png", headers=headers)


async def _smaller(context: Context, name: str, data: bytes, max_side: int) -> bytes:
    """On a worker, behind single searches: a large picture takes memory, and there are as many of those as cores."""

    def made() -> bytes:
        return small_jpeg(data, max_side=max_side, max_pixels=context.settings.max_pixels)

    try:
        small, _ = await context.engine.run(made, urgency=Urgency.BATCH)
    except PictureError as error:
        raise StorageError(f"the stored picture {name} cannot be shown smaller: {error}; send it again") from error
    return small
