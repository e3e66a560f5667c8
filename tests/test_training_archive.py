"""The archive as the trainer reads it, with the trainer's own reader."""

import csv
import io
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.crops import content_name, stored_crop
from index.errors import ImageNotFound, StorageError
from index.feedback.training_archive import ANSWERS, CONFLICTS, MANIFEST, UNKNOWN_CAMERA, training_archive
from index.gallery import Answer, Metadata, NewAnswer, StoredImage
from index.local_gallery import LocalGallery
from model_export.data_sets.data_set import DataSet, open_data_set
from model_export.data_sets.picture_check import check_pictures
from model_export.training.mnet_training import Source, open_sources
from tests.conftest import untrained
from tests.pictures import jpeg
from tests.test_local_gallery import folder, image

__all__ = ["folder"]

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def gallery(folder: Path) -> Iterator[LocalGallery]:
    """i0 … i7: two of v1 (cameras c1 and c2), one of v2, the others of nobody, i7 without a camera."""
    opened = LocalGallery(folder)
    vehicles = {0: "v1", 1: "v1", 2: "v2"}
    opened.add(
        [
            replace(
                image(n, crop=jpeg(n)),
                metadata=Metadata(
                    vehicle_id=vehicles.get(n), camera_id=None if n == 7 else f"c{n % 2 + 1}", captured_at=NOON
                ),
            )
            for n in range(8)
        ]
    )
    yield opened
    opened.close()


def say(gallery: LocalGallery, n: int, query: int | bytes, *, same: bool) -> Answer:
    if isinstance(query, int):
        new = NewAnswer(image_id=f"i{n}", same=same, query_image_id=f"i{query}")
    else:
        new = NewAnswer(image_id=f"i{n}", same=same, query_id="ab" * 16, query_crop=query)
    return gallery.feedback.give(new, most=1000, most_bytes=1 << 30)[0]


def crop(seed: int) -> bytes:
    """A query's crop as it is stored."""
    return stored_crop(jpeg(seed, (120, 90)), box=(10, 10, 80, 60), max_pixels=10**6).data


def unpacked(gallery: LocalGallery, target: Path) -> DataSet:
    with zipfile.ZipFile(io.BytesIO(b"".join(gallery.feedback.archive()))) as archive:
        assert archive.testzip() is None
        archive.extractall(target)
    return open_data_set(f"manifest:{target / MANIFEST}")


def trained_on(manifest: Path) -> list[str]:
    """The vehicles that `vehicle-model train` would make triplets of."""
    config = untrained().config
    (source,) = open_sources(replace(config, sources=(Source(data=f"manifest:{manifest}", p=2, k=2),)))
    return sorted(source.labels, reverse=True)


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / name).read_text(encoding="utf-8"), newline="")))


def test_the_trainer_reads_what_was_said(gallery: LocalGallery, tmp_path: Path) -> None:
    query, other = crop(50), crop(51)
    say(gallery, 0, query, same=True)
    say(gallery, 3, query, same=True)
    say(gallery, 1, 2, same=False)
    say(gallery, 4, other, same=True)
    say(gallery, 7, other, same=True)
    say(gallery, 5, other, same=False)
    data = unpacked(gallery, tmp_path / "out")
    rows = data.part("train")
    vehicles = {row.image_id or row.path.name: row.vehicle_id for row in rows}
    made = vehicles["i4"]
    assert vehicles == {
        "i0": "v1", "i1": "v1", "i3": "v1", content_name(query): "v1", "i2": "v2", "i4": made, "i7": made,
        content_name(other): made, "i5": vehicles["i5"],
    }  # fmt: skip
    assert len({made, vehicles["i5"], "v1", "v2"}) == 4
    cameras = {row.image_id or row.path.name: row.camera_id for row in rows}
    assert (cameras["i0"], cameras["i3"], cameras["i7"], cameras[content_name(query)]) == (
        "c1", "c2", UNKNOWN_CAMERA, UNKNOWN_CAMERA,
    )  # fmt: skip
    assert {row.captured_at for row in rows} == {NOON, None}
    assert not [finding for finding in (*data.findings, *check_pictures(data)) if finding.fatal or finding.skipped]
    assert trained_on(tmp_path / "out" / MANIFEST) == ["v1", made]
    for row in rows:
        own = row.path.read_bytes()
        assert own == (
            gallery.crop(row.image_id)[1]
            if row.image_id
            else {content_name(c): c for c in (query, other)}[row.path.name]
        )
    assert table(tmp_path / "out", CONFLICTS) == []
    said = table(tmp_path / "out", ANSWERS)
    assert [(each["image_id"], each["same"]) for each in said] == [
        ("i5", "false"), ("i7", "true"), ("i4", "true"), ("i1", "false"), ("i3", "true"), ("i0", "true"),
    ]  # fmt: skip
    assert all((tmp_path / "out" / each[name]).is_file() for each in said for name in ("path", "query_path"))


def test_what_contradicts_itself_is_left_out_with_the_reason(gallery: LocalGallery, tmp_path: Path) -> None:
    query = crop(50)
    wrong = say(gallery, 2, query, same=True)
    right = say(gallery, 0, query, same=True)
    say(gallery, 3, 4, same=True)
    say(gallery, 4, 5, same=True)
    denied = say(gallery, 3, 5, same=False)
    say(gallery, 6, 7, same=True)
    data = unpacked(gallery, tmp_path / "out")
    assert sorted(row.image_id or "" for row in data.part("train")) == ["i6", "i7"]
    conflicts = table(tmp_path / "out", CONFLICTS)
    by_group = {
        group: {each["image_id"] or each["query_id"] for each in conflicts if each["group"] == group} for group in "12"
    }
    assert sorted(map(sorted, by_group.values())) == [["ab" * 16, "i0", "i2"], ["i3", "i4", "i5"]]
    (of_query,) = [each for each in conflicts if each["query_id"]]
    assert of_query["reason"] == "joins the vehicles v1, v2"
    assert of_query["feedback"].split() == sorted([wrong.answer_id, right.answer_id])
    assert f"not the same by {denied.answer_id}" in next(
        each["reason"] for each in conflicts if each["image_id"] == "i3"
    )
    left_out = {path.name for path in (tmp_path / "out/pictures").iterdir()}
    assert left_out == {content_name(jpeg(n)) for n in (6, 7)}


def test_an_erased_image_is_in_no_archive(gallery: LocalGallery, tmp_path: Path) -> None:
    for n in (3, 4, 5):
        say(gallery, n, crop(50), same=True)
    gallery.delete("i4")
    data = unpacked(gallery, tmp_path / "out")
    assert {row.image_id for row in data.part("train")} == {"i3", "i5", None}
    assert all("i4" not in each.values() for name in (ANSWERS, CONFLICTS) for each in table(tmp_path / "out", name))


def test_an_image_that_goes_while_the_archive_is_sent_is_not_in_its_tables(
    gallery: LocalGallery, tmp_path: Path
) -> None:
    for n in (3, 4, 5):
        say(gallery, n, 6, same=True)
    parts = gallery.feedback.archive()
    first = next(parts)
    kept = next(n for n in (3, 4, 5, 6) if jpeg(n) in first)
    for n in {3, 4, 5, 6} - {kept}:
        gallery.delete(f"i{n}")
    with zipfile.ZipFile(io.BytesIO(first + b"".join(parts))) as archive:
        assert [name for name in archive.namelist() if name.startswith("pictures")] == [
            f"pictures/{content_name(jpeg(kept))}"
        ]
        rows = list(csv.DictReader(io.StringIO(archive.read(MANIFEST).decode())))
        assert [row["image_id"] for row in rows] == [f"i{kept}"]
        assert len(archive.read(ANSWERS).splitlines()) == 1


def test_an_image_that_is_replaced_meanwhile_is_left_out_too(gallery: LocalGallery) -> None:
    for n in (3, 4, 5):
        say(gallery, n, 6, same=True)
    parts = gallery.feedback.archive()
    first = next(parts)
    kept = next(n for n in (3, 4, 5, 6) if jpeg(n) in first)
    gallery.add([image(n, crop=jpeg(60 + n)) for n in {3, 4, 5, 6} - {kept}])
    with zipfile.ZipFile(io.BytesIO(first + b"".join(parts))) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read(MANIFEST).decode())))
        assert [row["image_id"] for row in rows] == [f"i{kept}"]
        assert len(archive.namelist()) == 4


def test_a_picture_that_is_damaged_is_told(folder: Path, gallery: LocalGallery, tmp_path: Path) -> None:
    for n in (3, 4, 5):
        say(gallery, n, 6, same=True)
    (lost,) = folder.rglob(content_name(jpeg(4)))
    lost.write_bytes(b"something else")
    data = unpacked(gallery, tmp_path / "out")
    assert {row.image_id for row in data.part("train")} == {"i3", "i5", "i6"}
    (told,) = table(tmp_path / "out", CONFLICTS)
    assert (told["image_id"], told["group"]) == ("i4", "")
    assert "is not the picture that was written" in told["reason"]


def test_nothing_said_is_a_manifest_without_rows(gallery: LocalGallery) -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(gallery.feedback.archive()))) as archive:
        assert archive.namelist() == [MANIFEST, CONFLICTS, ANSWERS]
        assert archive.read(MANIFEST) == b"path,vehicle_id,camera_id,image_id,captured_at\n"


def test_the_same_feedback_is_the_same_archive(gallery: LocalGallery) -> None:
    for n in (3, 4, 5):
        say(gallery, n, crop(n), same=True)
    assert b"".join(gallery.feedback.archive()) == b"".join(gallery.feedback.archive())


def test_a_large_archive_is_in_memory_a_picture_at_a_time() -> None:
    """300 pictures of 1 MB each: their tables, and a few pictures, are held at once."""
    answers = [
        Answer(
            answer_id=f"{n:016x}", same=True, image_id=f"i{n}", image_crop=f"{n:064x}.jpg", query_crop="q.jpg",
            query_image_id="q", given_at=NOON,
        )
        for n in range(300)
    ]  # fmt: skip

    class Many:
        def standing(self) -> Iterator[tuple[Answer, Mapping[str, StoredImage]]]:
            for each in answers:
                images = {
                    name: StoredImage(
                        image_id=name, metadata=Metadata(), ingested_at=NOON, viewpoint={}, crop_name=crop
                    )
                    for name, crop in ((each.image_id, each.image_crop), ("q", "q.jpg"))
                }
                yield each, images

        def picture(self, name: str) -> bytes | None:
            raise StorageError(name)

    def read(image_id: str) -> tuple[str, bytes]:
        if image_id == "q":
            raise ImageNotFound(image_id)
        return f"{int(image_id[1:]):064x}.jpg", bytes(1 << 20)

    tracemalloc.start()
    size = sum(map(len, training_archive(Many(), read)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 300 << 20
    assert peak < 12 << 20
