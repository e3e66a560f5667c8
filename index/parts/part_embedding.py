"""One part made: its pictures read, decoded and embedded as ``add`` does it, its crops and its table written."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from index.bulk.import_plan import ImportPlan
from index.bulk.ingestion import Ingestion, OwnWorkers
from index.contract import fingerprint
from index.crops import content_name
from index.embedder import Device, Embedder
from index.errors import ModelError, StorageError, StorageFull
from index.exchange.image_table import crop_path
from index.exchange.table_file import write_part
from index.gallery import GallerySpec, NewImage, StoredImage
from index.gallery_rules import utc_now
from index.parts.picture_part import PartReport, PicturePart
from index.parts.run_folder import PARTIAL, RunFolder, RunNote
from index.storage.crop_store import NO_SPACE, CropStore
from index.storage.image_rows import WholeRow
from index.whole_file import sync_folder, take_place


@dataclass(frozen=True, kw_only=True)
class PartWork:
    """What a worker has to know; its paths must lead to the same files wherever it runs."""

    folder: Path
    note: RunNote
    model: Path
    device: Device = "auto"
    threads: int | None = None  # that read, decode and embed; None: one a core, and one more
    gpu_memory: int = 0


class PartEmbedding:
    """A worker. The model is opened with the first part. ``progress`` counts images that are done, one way or other."""

    def __init__(self, work: PartWork, progress: Callable[[int], object] = lambda _: None) -> None:
        self._work, self._progress = work, progress
        self._folder = RunFolder(work.folder)

    @cached_property
    def _embedder(self) -> Embedder:
        work = self._work
        if self._folder.begun() != work.note.document():
            raise StorageError(
                f"{work.folder} on {_host()} is not the folder of this run: every worker must see the same one, as on "
                "a file system that all machines mount at one place"
            )
        if not work.model.is_file() or fingerprint(work.model) != work.note.model:
            raise ModelError(f"{work.model} on {_host()} is not the model of this run: put the same file there")
        return Embedder(work.model, device=work.device, threads=1, gpu_memory=work.gpu_memory)

    def embed(self, part: PicturePart) -> PartReport:
        """Make a part, unless it is there whole already; durable on return.

        Raises ModelError, StorageError, StorageFull, and InvalidValue for an archive that cannot be read.
        """
        done = self._folder.report(part.number, self._work.note)
        if done is not None:
            return done
        embedder, table = self._embedder, self._folder.table(part.number)
        making = table.with_name(f"{table.stem}.{uuid.uuid4().hex[:8]}{PARTIAL}")  # somebody else may make it, too
        try:
            with closing(ImportPlan()) as plan:
                plan.take_over(part.images)
                receiver = _Receiver(self._work.note, CropStore(self._folder.crops, incoming=making))
                self._ingest(plan, receiver, embedder)
                report = PartReport(
                    number=part.number, images=len(receiver.rows), failures=tuple(plan.failures()),
                )  # fmt: skip
            receiver.settle(self._folder.path)
            said = {"run": self._work.note.key, **report.said()}
            write_part(making / table.name, receiver.rows, self._work.note.spec, said)
            take_place(making / table.name, table)
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(f"part {part.number} cannot be written to {self._folder.path}: {error.strerror}") from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return report

    def _ingest(self, plan: ImportPlan, receiver: "_Receiver", embedder: Embedder) -> None:
        with closing(OwnWorkers(self._work.threads)) as workers:
            ingestion = Ingestion(gallery=receiver, embedder=embedder, workers=workers, anew=True)
            with closing(ingestion.run(plan)) as steps:
                for done in steps:
                    self._progress(done.images)


def embed_here(parts: Iterator[PicturePart], work: PartWork, progress: Callable[[int], object]) -> Iterator[PartReport]:
    """Make parts in this process, one after the other. Raises what ``PartEmbedding.embed`` raises."""
    embedding = PartEmbedding(work, progress)
    for part in parts:
        yield embedding.embed(part)


class _Receiver:
    """Takes a part's images as a gallery would: crops to the disk, rows for the table."""

    def __init__(self, note: RunNote, crops: CropStore) -> None:
        self._note, self._crops = note, crops
        self._written: set[str] = set()
        self.rows: list[WholeRow] = []
        crops.create()

    @property
    def name(self) -> str:
        return self._note.gallery

    @property
    def spec(self) -> GallerySpec:
        return self._note.spec

    def find(self, image_ids: Sequence[str]) -> Mapping[str, StoredImage]:  # noqa: ARG002
        return {}

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        names = [content_name(image.crop) for image in images]
        crops = {name: image.crop for name, image in zip(names, images, strict=True)}
        self._written.update(self._crops.write(crops))
        now = utc_now()
        for name, image in zip(names, images, strict=True):
            p = (
                {}
                if image.viewpoint is None
                else dict(zip(self.spec.viewpoints, image.viewpoint.tolist(), strict=True))
            )
            stored = StoredImage(
                image_id=image.image_id, metadata=image.metadata, ingested_at=now, viewpoint=p, crop_name=name,
            )  # fmt: skip
            self.rows.append(WholeRow(0, stored, image.embedding, intact=True))
        return ["created"] * len(images)

    def settle(self, folder: Path) -> None:
        """Give crops their places, for good. Raises OSError."""
        self._crops.settle(self._written)
        places = [folder / crop_path(name) for name in self._written]
        for place in places:
            if not place.is_file():
                raise FileNotFoundError(2, os.strerror(2), str(place))
        for parent in {place.parent for place in places}:
            sync_folder(parent)
        if places:
            sync_folder(places[0].parents[1])


def _host() -> str:
    return os.uname().nodename
