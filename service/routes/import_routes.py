"""Bulk ingestion: jobs that go on while nobody waits for them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from index.bulk.failure_file import ENCODING, ERRORS
from index.bulk.import_job import ImportHome, ImportJob, archive_in
from index.bulk.import_plan import COUNTS
from index.bulk.picture_archive import is_archive
from index.errors import InvalidValue
from service.access.caller import caller_of, require_still
from service.answering.sent_file import streamed_file
from service.answering.uploads import content_type_of, read_archive, read_document
from service.background.importer import source_below
from service.context import Context, context_of, require_writable
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.openapi.descriptions import GalleryName, ImportId
from service.wire.documents import answer, read_json, time_text
from service.wire.parameters import read_parameters
from service.wire.problems import UnsupportedBody

_LONGEST_PATH = 4096
_LINES_AT_ONCE = 1000

router = APIRouter(tags=["imports"])


@router.post(
    "/v1/galleries/{gallery}/imports",
    summary="Import an archive or a folder",
    status_code=202,
    dependencies=[Depends(require_writable)],
    responses={
        **say.accepted(say.IMPORT_ANSWER, "Accepted"),
        **say.problems(400, 404, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=say.request(say.IMPORT, ()),
)
async def post_import(request: Request, gallery: GalleryName) -> Response:
    """A part ``archive`` (.zip, or .tar plain or packed by gzip, bzip2 or xz), or JSON with a path below import_root.

    A ``manifest.csv`` in it says what to import and with which metadata; else every picture is. On the answer the job
    is on the disk: it goes on after a restart, behind searches. What is stored already is left as it is.
    """
    context = context_of(request)
    read_parameters(request, ())
    target = context.comparable(gallery)
    folder = context.importer.folder
    receiving = await run_in_threadpool(folder.receive)
    try:
        sent = await _sent(context, request, folder, receiving)
        require_still(caller_of(request), context.keyring)
        job = ImportJob(
            job_id=uuid.uuid4().hex, gallery=target.name, state="queued", created_at=time_text(datetime.now(UTC)),
            path=sent.path, name=sent.name,
        )  # fmt: skip
        await run_in_threadpool(context.importer.submit, receiving, job)
    finally:
        await run_in_threadpool(folder.refuse, receiving)  # where it was accepted, nothing is there any more
    note(request, import_id=job.job_id, source=_source(job))
    return answer(_document(job), status=202, headers={"Location": f"/v1/imports/{job.job_id}"})


@router.get("/v1/imports", summary="List imports", responses=say.responses(say.IMPORTS_ANSWER, 422))
async def list_imports(request: Request) -> Response:
    """Every job that was not removed, of the galleries that the key is for, newest first."""
    read_parameters(request, ())
    caller = caller_of(request)
    found = await run_in_threadpool(context_of(request).importer.jobs)
    jobs = [job for job in found if caller.reaches(job.gallery)]
    return answer({"imports": [_document(job) for job in jobs]})


@router.get(
    "/v1/imports/{import_id}", summary="How far is an import?", responses=say.responses(say.IMPORT_ANSWER, 404, 422)
)
async def get_import(request: Request, import_id: ImportId) -> Response:
    """State, counts, and images a second. ``total`` is null until everything was looked at."""
    read_parameters(request, ())
    return answer(_document(await _job(request, import_id)))


@router.get(
    "/v1/imports/{import_id}/failures",
    summary="What failed in an import",
    response_class=Response,
    responses={200: say.FAILURES, **say.problems(404, 422)},
)
async def get_failures(request: Request, import_id: ImportId) -> Response:
    """As a ``manifest.csv`` with a column that says why; beside the pictures, mended, it can be imported in turn."""
    read_parameters(request, ())
    job = await _job(request, import_id)
    lines = await run_in_threadpool(context_of(request).importer.failures, job)
    return await streamed_file(request, _blocks(lines), "failures.csv", "text/csv; charset=utf-8; header=present")


@router.delete(
    "/v1/imports/{import_id}",
    summary="Cancel or remove an import",
    dependencies=[Depends(require_writable)],
    responses={
        **say.responses(say.IMPORT_ANSWER, 404, 422),
        204: {"description": "It had ended, and is removed"},
    },
)
async def delete_import(request: Request, import_id: ImportId) -> Response:
    """One that has not ended is cancelled and keeps what it has stored; one that has is removed from the list."""
    read_parameters(request, ())
    importer = context_of(request).importer
    job = await _job(request, import_id)
    note(request, gallery=job.gallery)
    if job.ended:
        await run_in_threadpool(importer.remove, import_id)
        return Response(status_code=204)
    return answer(_document(await run_in_threadpool(importer.cancel, import_id)))


async def _job(request: Request, import_id: str) -> ImportJob:
    return await run_in_threadpool(context_of(request).importer.get, import_id, caller_of(request).reaches)


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """What a job is to import, as ``ImportJob`` has it."""

    path: str | None = None
    name: str | None = None


async def _sent(context: Context, request: Request, folder: ImportHome, receiving: Path) -> _Sent:
    """Where a job's pictures are; an archive lies in ``receiving`` then. Raises what the body is refused with."""
    if content_type_of(request) == "application/json":
        body = await read_document(
            request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
        )
        return _Sent(path=await run_in_threadpool(_path, context, body))
    with context.importer.uploads.holding(), folder.translated():
        archive = await read_archive(request, context.settings, archive_in(receiving))
    if not await run_in_threadpool(is_archive, archive_in(receiving)):
        raise UnsupportedBody("the part 'archive' is neither a ZIP nor a TAR (plain, or packed by gzip, bzip2 or xz)")
    return _Sent(name=archive.filename)


def _path(context: Context, body: bytes) -> str:
    document = read_json(body, what="the body")
    if not isinstance(document, dict) or set(document) != {"path"}:
        raise InvalidValue("the body must be a JSON object with the one key path", pointer="")
    path = document["path"]
    if not isinstance(path, str) or not 1 <= len(path) <= _LONGEST_PATH:
        raise InvalidValue(f"path must be a string of 1–{_LONGEST_PATH} characters", pointer="/path")
    root = context.importer.root
    found = source_below(root, path)
    if found.is_file() and found.suffix.lower() != ".csv" and not is_archive(found):
        raise InvalidValue("path names neither a folder, nor a manifest.csv, nor an archive", pointer="/path")
    return "." if root is None or found == root else found.relative_to(root).as_posix()


def _document(job: ImportJob) -> dict[str, Any]:
    return {
        "id": job.job_id, "gallery": job.gallery, "state": job.state,
        "source": _source(job),
        "created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at,
        "total": job.total, "done": job.done, **{name: job.counts.get(name, 0) for name in COUNTS},
        "images_per_second": round(job.done / job.seconds, 1) if job.seconds > 0 else None,
        "failures": f"/v1/imports/{job.job_id}/failures", "problem": job.problem,
    }  # fmt: skip


def _source(job: ImportJob) -> dict[str, str | None]:
    return {"archive": job.name} if job.path is None else {"path": job.path}


def _blocks(lines: Iterator[str]) -> Iterator[bytes]:
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) == _LINES_AT_ONCE:
            yield "".join(block).encode(ENCODING, ERRORS)
            block = []
    yield "".join(block).encode(ENCODING, ERRORS)
