"""A .zip that is made as it is sent."""

from collections.abc import Iterator
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.context import context_of
from service.wire.streamed_answer import Parts, StreamedAnswer


async def streamed_archive(request: Request, archive: Iterator[bytes], name: str) -> Response:
    """The answer whose file is called ``name``; raises what making its first piece raises."""
    parts = Parts(archive)
    first, more = await run_in_threadpool(parts.piece), partial(run_in_threadpool, parts.piece)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return StreamedAnswer(
        first, parts, more, seconds=context_of(request).settings.body_seconds, media_type="application/zip",
        headers=headers,
    )  # fmt: skip
