"""The whole service in one page, for people and for programs that watch many of them."""

import shutil
import time
from collections import Counter
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from index.bulk.import_job import STATES
from index.embedder import Embedder
from index.gallery import Gallery
from index.machine.library_versions import library_versions
from service.access.caller import Caller, caller_of
from service.context import Context, context_of
from service.embedding.loaded_models import told_of
from service.openapi import descriptions as say
from service.watching.recent_times import Quantiles
from service.watching.usable_galleries import ask_each
from service.wire.documents import answer, time_text
from service.wire.parameters import read_parameters
from service.wire.shown_paths import shown

router = APIRouter(tags=["model and health"])


@router.get("/v1/status", summary="The service in one page", responses=say.responses(say.STATUS_ANSWER, 422))
async def status(request: Request) -> Response:
    """Versions, model, galleries, jobs, queue, times of stages, disk. Galleries and jobs are those that the key is for.

    Folders of the machine are named to keys with the scope admin only (and where no keys are asked for): for others
    ``disk.folder`` is null, and what is wrong with a gallery is told with paths below the data folder.
    """
    read_parameters(request, ())
    context, draining = context_of(request), bool(request.app.state.stopping)
    document = await run_in_threadpool(_document, context, caller_of(request))
    return answer({**document, "draining": draining})


def _document(context: Context, caller: Caller) -> dict[str, Any]:
    previous = context.models.previous
    return {
        "started_at": time_text(context.started_at),
        "uptime_seconds": round(time.monotonic() - context.began, 3),
        "read_only": context.settings.read_only,
        "keys": not context.keyring.keyless,
        "audit": context.audit is not None,
        "versions": {"vehicle-search": version("vehicle-search"), **library_versions()},
        "model": _model(context.models.present),
        "previous": None if previous is None else _model(previous),
        "galleries": _galleries(context, caller),
        "imports": _imports(context, caller),
        "queue": {
            "taken": context.engine.taken,
            "limit": context.engine.places,
            "workers": context.engine.workers,
            "work": context.metrics.depth(),
        },
        "stages": {name: _times(found) for name, found in context.metrics.recent.told().items()},
        "recent_seconds": context.metrics.recent.seconds,
        "disk": _disk(context, caller),
    }


def _model(embedder: Embedder) -> dict[str, str]:
    return {**told_of(embedder), "embedding_space": embedder.contract.embedding_space}


def _galleries(context: Context, caller: Caller) -> list[dict[str, Any]]:
    """By name. One that cannot be used has its name and the problem; one that failed a request lately has all."""
    known, problems = ask_each(context.home, _gallery)
    problems = context.failures.told() | problems
    documents = [
        {"name": name, "problem": problems.get(name), **known.get(name, {})}
        for name in sorted({*known, *problems})
        if caller.reaches(name)
    ]
    for document in documents:
        for field in ("problem", "index_problem"):
            if document.get(field) is not None:
                document[field] = shown(document[field], context.settings.data_dir, admin=caller.admin)
    return documents


def _gallery(gallery: Gallery) -> dict[str, Any]:
    spec = gallery.spec
    open_one = next((each for each in gallery.migrations() if each.open), None)
    return {
        "images": gallery.count(), "kind": spec.kind, "embedding_space": spec.embedding_space,
        "index_problem": gallery.index_state().problem, "wal_bytes": gallery.log_bytes(),
        "migration": None if open_one is None else {
            "id": open_one.migration_id, "state": open_one.state, "done": open_one.done, "total": open_one.total,
            "to_space": open_one.to_space,
        },
    }  # fmt: skip


def _times(found: Quantiles) -> dict[str, Any]:
    half, most = (None if each is None else round(each, 6) for each in (found.p50, found.p99))
    return {"pictures": found.count, "p50_seconds": half, "p99_seconds": most}


def _imports(context: Context, caller: Caller) -> dict[str, int]:
    found = Counter(job.state for job in context.importer.jobs() if caller.reaches(job.gallery))
    return {state: found[state] for state in STATES}


def _disk(context: Context, caller: Caller) -> dict[str, Any]:
    folder = context.settings.data_dir
    told = {"folder": str(folder.absolute()) if caller.admin else None}
    try:
        disk = shutil.disk_usage(folder)
    except OSError:  # the folder is gone; its galleries tell of it
        return {**told, "free_bytes": None, "total_bytes": None}
    return {**told, "free_bytes": disk.free, "total_bytes": disk.total}
