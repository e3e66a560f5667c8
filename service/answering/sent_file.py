"""Answers that are files, with a name under which they are kept; large ones are made as they are sent."""

from collections.abc import Iterable
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.context import context_of
from service.wire.streamed_answer import Parts, StreamedAnswer


def whole_file(data: bytes, name: str, media_type: str) -> Response:
    """The file that is there."""
    return Response(data, media_type=media_type, headers=_headers(name))


async def streamed_file(request: Request, parts: Iterable[bytes], name: str, media_type: str) -> Response:
    """A file of parts that are made as it is sent; raises what making its first piece raises."""
    made = Parts(parts)
    first, more = await run_in_threadpool(made.piece), partial(run_in_threadpool, made.piece)
    return StreamedAnswer(
        first, made, more, seconds=context_of(request).settings.body_seconds, media_type=media_type,
        headers=_headers(name),
    )  # fmt: skip


def _headers(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
