"""Migrations of a gallery to the loaded model: begin, watch, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from index.errors import MigrationNotFound
from index.gallery import Gallery, Migration
from service.answering.uploads import require_no_properties
from service.context import Context, context_of, require_writable
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.openapi import examples
from service.openapi.descriptions import GalleryName
from service.wire.documents import answer, time_text
from service.wire.parameters import read_parameters

_PATH = "/v1/galleries/{gallery}/migrations"
_MOST_ID = 64  # characters

MigrationId = Annotated[str, Path(description="Id of the migration.", examples=[examples.MIGRATION])]

router = APIRouter(tags=["migrations"])


@router.post(
    _PATH,
    summary="Move a gallery to the loaded model",
    status_code=202,
    responses={
        **say.accepted(say.MIGRATION_ANSWER, "Begun, or under way already"),
        **say.problems(400, 404, 409, 413, 422, 503, 507),
    },
    openapi_extra=say.request(say.NO_PROPERTIES, (), required=False),
    dependencies=[Depends(require_writable)],
)
async def begin_migration(request: Request, gallery: GalleryName) -> Response:
    """Embeds every stored crop anew beside the old vectors, checks them, then switches at once.

    Until then the gallery is searched and written as before where its own model is loaded, too (previous_model); else
    that is answered with 409. A gallery that keeps no crops is refused. It goes on after a restart.
    """
    context = context_of(request)
    read_parameters(request, ())
    target = context.gallery(gallery)
    await require_no_properties(request, context.settings, what="a migration")
    begun, _ = await run_in_threadpool(context.migrator.begin, target)
    note(request, migration_id=begun.migration_id)
    path = f"{_PATH.format(gallery=target.name)}/{begun.migration_id}"
    return answer(_document(context, target, begun), status=202, headers={"Location": path})


@router.get(_PATH, summary="List migrations", responses=say.responses(say.MIGRATIONS_ANSWER, 404, 422, 503))
async def list_migrations(request: Request, gallery: GalleryName) -> Response:
    """Of this gallery, latest first; at most one has not ended."""
    context = context_of(request)
    read_parameters(request, ())
    target = context.gallery(gallery)
    known = await run_in_threadpool(target.migrations)
    return answer({"migrations": [_document(context, target, each) for each in known]})


@router.get(
    _PATH + "/{migration_id}", summary="Watch a migration", responses=say.responses(say.MIGRATION_ANSWER, 404, 422, 503)
)
async def get_migration(request: Request, gallery: GalleryName, migration_id: MigrationId) -> Response:
    """How far it is, and what it came to."""
    context = context_of(request)
    read_parameters(request, ())
    target = context.gallery(gallery)
    for each in await run_in_threadpool(target.migrations):
        if each.migration_id == migration_id:
            return answer(_document(context, target, each))
    raise MigrationNotFound(f"gallery {target.name} knows no migration {migration_id[:_MOST_ID]!a}")


@router.delete(
    _PATH + "/{migration_id}",
    summary="Cancel a migration",
    responses=say.responses(say.MIGRATION_ANSWER, 404, 409, 422, 503, 507),
    dependencies=[Depends(require_writable)],
)
async def cancel_migration(request: Request, gallery: GalleryName, migration_id: MigrationId) -> Response:
    """The gallery stays with its model; what was embedded is removed. One that has switched is a 409."""
    context = context_of(request)
    read_parameters(request, ())
    target = context.gallery(gallery)
    cancelled = await run_in_threadpool(target.cancel_migration, migration_id[: _MOST_ID + 1])
    return answer(_document(context, target, cancelled))


def _document(context: Context, gallery: Gallery, migration: Migration) -> dict[str, Any]:
    return {
        "id": migration.migration_id,
        "gallery": gallery.name,
        "state": migration.state,
        "done": migration.done,
        "total": migration.total,
        "model": {"name": migration.model, "fingerprint": migration.fingerprint},
        "from_space": migration.from_space,
        "to_space": migration.to_space,
        "begun_at": time_text(migration.begun_at),
        "ended_at": None if migration.ended_at is None else time_text(migration.ended_at),
        "problem": context.migrator.problem(gallery.name, migration),
        "failures": migration.failures,
        "failed": [{"image_id": image_id, "detail": reason} for image_id, reason in migration.failed],
    }
