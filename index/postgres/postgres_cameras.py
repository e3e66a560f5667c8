"""The cameras of all replicas, in the database; see ``index.camera.CameraHome``."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from index.camera import Camera, Cameras, Plan
from index.crops import content_name
from index.errors import PlanNotFound, ReadOnly, StorageError
from index.postgres.postgres_database import PostgresDatabase
from index.storage.camera_note import NO_PLAN, note_text, read_note

_READ = "SELECT note, picture FROM vehicle_search.cameras"
_WRITE = (
    "INSERT INTO vehicle_search.cameras (single, note, picture) VALUES (true, %s, %s)"
    " ON CONFLICT (single) DO UPDATE SET (note, picture) = (excluded.note, excluded.picture)"
)
_LOCK = "LOCK TABLE vehicle_search.cameras IN EXCLUSIVE MODE"  # readers go on


class PostgresCameras:
    """Raises StorageFull and StorageError; ReadOnly where ``read_only``. Safe from any thread and any replica."""

    def __init__(
        self, database: PostgresDatabase, *, read_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._database, self._read_only, self._clock = database, read_only, clock

    def read(self) -> Cameras:
        """All that is known; nothing where nobody has said anything yet."""
        with self._database.transaction() as connection:
            return self._whole(connection)[0]

    def place(self, cameras: tuple[Camera, ...]) -> Cameras:
        """Put these in the place of all that are there; the plan stays."""
        return self._change(lambda known, picture: (replace(known, cameras=cameras), picture))[1]

    def draw(self, picture: bytes, *, pixels: tuple[int, int], width: float) -> tuple[Cameras, bool]:
        """Keep a stored crop's bytes as the plan, ``width`` metres wide; and whether there was none before."""
        plan = Plan(name=content_name(picture), pixels=pixels, width=width)
        before, known = self._change(lambda known, _: (replace(known, plan=plan), picture))
        return known, before.plan is None

    def erase_plan(self) -> None:
        """Remove the plan; raises PlanNotFound."""

        def without(known: Cameras, _: bytes | None) -> tuple[Cameras, None]:
            if known.plan is None:
                raise PlanNotFound(NO_PLAN)
            return replace(known, plan=None), None

        self._change(without)

    def picture(self) -> tuple[Plan, bytes]:
        """The plan and its picture; raises PlanNotFound."""
        with self._database.transaction() as connection:
            known, picture = self._whole(connection)
        if known.plan is None or picture is None:
            raise PlanNotFound(NO_PLAN)
        if content_name(picture) != known.plan.name:
            raise StorageError(f"{self._database.place} has another plan than was written; draw it anew")
        return known.plan, picture

    def _change(
        self, change: Callable[[Cameras, bytes | None], tuple[Cameras, bytes | None]]
    ) -> tuple[Cameras, Cameras]:
        """What was known and what is; no other change comes in between."""
        if self._read_only:
            raise ReadOnly("cameras cannot be changed here: this service is open for reading only (read_only)")
        with self._database.transaction() as connection:
            connection.execute(_LOCK)
            before, picture = self._whole(connection)
            known, picture = change(before, picture)
            known = replace(known, updated_at=self._clock())
            connection.execute(_WRITE, (note_text(known), picture))
        return before, known

    def _whole(self, connection: psycopg.Connection[Any]) -> tuple[Cameras, bytes | None]:
        row = connection.execute(_READ).fetchone()
        if row is None:
            return Cameras(), None
        try:
            return read_note(row[0]), None if row[1] is None else bytes(row[1])
        except ValueError as error:
            raise StorageError(
                f"the cameras in {self._database.place} are not what was written ({error}); set them anew: empty the "
                "table vehicle_search.cameras"
            ) from error
