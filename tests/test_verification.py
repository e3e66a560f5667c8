"""A gallery's folder held against itself: what is sound, and every kind of damage by its name."""

import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from index.errors import DataFolderUnusable, StorageFull
from index.gallery import Filters, Metadata
from index.local_gallery import LocalGallery
from index.maintenance.verification import (
    IN_DOUBT,
    OUT_OF_ORDER,
    SAID_ERASED,
    UNREADABLE_CROP,
    Examination,
    examine,
    work_of,
)
from index.searching.index_snapshot import write_snapshot
from index.storage.crop_store import CropStore
from index.storage.database_file import PAGE
from index.storage.feedback_database import BROKEN, DAMAGED, LOST
from index.storage.gallery_files import FEEDBACK, SNAPSHOT
from index.storage.gallery_schema import LAYOUT
from index.storage.image_rows import remove
from index.storage.row_checksum import OF_EMBEDDING, teach
from index.storage.write_ahead_log import log_of
from tests.layout_1 import write_layout_1
from tests.small_disk import fill, small_disk
from tests.test_answer_book import QUERY, give
from tests.test_feedback_database import change as change_feedback
from tests.test_index_snapshot import ABOUT
from tests.test_local_gallery import SPEC, image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery of 40 images with everything that an image may have; some were replaced, some erased."""
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", SPEC)
    gallery = LocalGallery(folder)
    gallery.add([image(n) for n in range(45)])
    gallery.add([image(n, turn=1) for n in range(0, 45, 5)])
    gallery.change_metadata("i7", lambda known: replace(known, vehicle_id="v7", attributes={"lane": "left", "n": 2.5}))
    for n in range(40, 45):
        gallery.delete(f"i{n}")
    gallery.close()
    return folder


def change(folder: Path, sql: str) -> None:
    """What a bug or a person with a database tool might do."""
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    teach(connection)
    connection.execute("PRAGMA ignore_check_constraints = ON").fetchall()
    connection.execute(sql).fetchall()
    connection.close()


def flip(folder: Path, needle: bytes, *, bit: int = 1) -> None:
    """Flip a bit of what lies at the only place of these bytes."""
    file = folder / "gallery.sqlite"
    data = bytearray(file.read_bytes())
    assert data.count(needle) == 1
    data[data.index(needle) + len(needle) // 2] ^= bit
    file.write_bytes(data)


def found(examination: Examination) -> dict[str, tuple[str, ...]]:
    return {finding.what: finding.subjects for finding in examination.findings}


def test_an_older_file_is_whole_without_what_is_new(tmp_path: Path) -> None:
    write_layout_1(tmp_path / "gallery.sqlite", name=tmp_path.name)
    assert list(found(examine(tmp_path))) == [
        "the database is of an older layout, without checksums; `list` upgrades it"
    ]
    CropStore(tmp_path / "crops").create()
    LocalGallery(tmp_path).close()
    assert examine(tmp_path).findings == []
    assert examine(tmp_path).images == 3


def test_a_sound_gallery_has_nothing_to_tell_and_stays_as_it_is(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.stat().st_size}
    steps: list[int] = []
    examination = examine(folder, progress=steps.append)
    assert found(examination) == {}
    assert (examination.images, examination.crops) == (40, 40)
    assert sum(steps) == work_of(folder)
    for path, data in before.items():
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("sql", "what", "subjects"),
    [
        ("UPDATE images SET camera_id = 'x' WHERE image_id = 'i3'", "an image's row is not what was written", ("i3",)),
        (
            "UPDATE embeddings SET vector = zeroblob(32) WHERE row_id = 4", "an image's vector is not what was written",
            ("i3",),
        ),
        ("DELETE FROM embeddings WHERE row_id = 4", "an image has no vector", ("i3",)),
        ("DELETE FROM images WHERE row_id = 4", "a vector has no image", ("row 4",)),
        ("DELETE FROM images WHERE row_id = 4", IN_DOUBT, ("row 4",)),
        ("DELETE FROM attributes WHERE row_id = 4", "an image's attributes for filters are not those that it has", ("i3",)),
        (
            "INSERT INTO attributes VALUES (999, 'a', 1)", "an image's attributes for filters are not those that it has",
            ("row 999",),
        ),
        ("INSERT INTO crops VALUES ('ab.jpg', 1)", "a crop is listed that no image has", ("ab.jpg",)),
        ("DELETE FROM changes WHERE change = 5", "the change sequence has gaps", ("1 between 1 and 69",)),
        ("UPDATE changes SET kind = 'addee' WHERE change = 5", "a change is of no known kind", ("change 5",)),
        ("INSERT INTO changes (row_id, kind) VALUES (4, 'removed')", SAID_ERASED, ("i3",)),
        ("UPDATE changes SET kind = 'changed' WHERE change = 4", "an image is not in the change sequence", ("i3",)),
        ("DELETE FROM about WHERE key = 'spec'", "what the gallery was created with cannot be read", ("table about",)),
        ("UPDATE about SET value = 'port' WHERE key = 'name'", "the folder is not named as its gallery", ("port",)),
        *(
            (sql, "the database lacks a table or an index, or their columns", (name,))
            for sql, name in (
                ("DROP TABLE discarded", "discarded"),
                ("DROP INDEX images_camera", "images_camera"),
                ("DROP INDEX images_camera; CREATE INDEX images_camera ON images (camera_id)", "images_camera"),
                ("ALTER TABLE embeddings DROP COLUMN checksum", "embeddings"),
            )
        ),
        ("PRAGMA user_version = 1", "the database is of an older layout, without checksums; `list` upgrades it", ("1",)),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_named(folder: Path, sql: str, what: str, subjects: tuple[str, ...]) -> None:
    change(folder, sql)
    assert found(examine(folder))[what] == subjects


def test_the_snapshot_of_the_index_belongs_to_it_and_is_read(folder: Path) -> None:
    write_snapshot(folder, replace(ABOUT, built=False), lambda write: write(b"x" * 100))
    progress: list[int] = []
    assert examine(folder, progress=progress.append).findings == []
    assert sum(progress) == work_of(folder)
    data = bytearray((folder / SNAPSHOT).read_bytes())
    data[-30] ^= 1
    (folder / SNAPSHOT).write_bytes(data)
    problem = ("index.snapshot: block 1 is damaged",)
    assert found(examine(folder)) == {"the index's snapshot is not what was written": problem}
    assert examine(folder, files=False).findings == []


@pytest.mark.parametrize("value", [b"\0\0\xc0\x7f" * 8, b"\0" * 28])
def test_a_vector_that_is_none_is_named_though_its_checksum_agrees(folder: Path, value: bytes) -> None:
    change(folder, f"UPDATE embeddings SET vector = x'{value.hex()}' WHERE row_id = 4")
    change(folder, f"UPDATE embeddings SET checksum = {OF_EMBEDDING} WHERE row_id = 4")
    examination = examine(folder)
    assert found(examination) == {"a vector is not finite or not of its space's dimension": ("i3",)}
    assert examination.bad_rows == {4: "i3"}


def test_a_damaged_page_is_named_with_its_table(folder: Path) -> None:
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'embeddings'").get
    connection.close()
    with (folder / "gallery.sqlite").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"noise" * 3000)
    examination = examine(folder)
    assert examination.broken
    assert found(examination)["the database's pages are damaged"][0].startswith(f"embeddings: page {page}: ")


def test_one_flipped_bit_of_a_vector_is_named(folder: Path) -> None:
    """SQLite itself sees nothing of it."""
    flip(folder, image(8).embedding.tobytes())
    assert found(examine(folder)) == {"an image's vector is not what was written": ("i8",)}


def test_text_that_is_none_any_more_is_named(folder: Path) -> None:
    flip(folder, b'{"lane": "left", "n": 2.5}', bit=0x80)
    assert set(found(examine(folder))) == {
        "an image's row is not what was written", "an image's attributes for filters are not those that it has",
    }  # fmt: skip


def test_crops_are_held_against_their_names(folder: Path) -> None:
    files = {path.name: path for path in (folder / "crops").rglob("*.jpg")}
    gallery = LocalGallery(folder)
    names = [gallery.get(f"i{n}").crop_name or "" for n in range(4)]
    gallery.close()
    files[names[0]].unlink()
    files[names[1]].write_bytes(b"\xff\xd8\xff another picture")
    change(folder, f"UPDATE crops SET bytes = 7 WHERE name = '{names[2]}'")
    files[names[3]].with_name("0" * 64 + ".jpg").write_bytes(b"nobody's")
    examination = examine(folder)
    assert found(examination) == {
        "an image's crop is missing on the disk": ("i0",),
        "an image's crop is not the picture that was written": ("i1",),
        "a crop's size is not the one that is listed": ("i2",),
        "a file belongs to no image": ("0" * 64 + ".jpg",),
    }
    assert examination.lost_crops == set(names[:3])


def test_pages_of_noise_never_pass(folder: Path) -> None:
    """Every page that holds anything, one after the other."""
    file = folder / "gallery.sqlite"
    whole = file.read_bytes()
    noise = random.Random(0).randbytes(PAGE)
    pages = [page for page in range(len(whole) // PAGE) if any(whole[page * PAGE + 100 : (page + 1) * PAGE])]
    assert len(pages) >= 19
    for page in pages:
        file.write_bytes(whole[: page * PAGE] + noise + whole[(page + 1) * PAGE :])
        assert examine(folder).findings, page
    file.write_bytes(whole)
    assert examine(folder).findings == []


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"x" * 9999)])
def test_no_database_is_a_finding(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "gallery.sqlite")
    examination = examine(folder)
    assert list(found(examination)) == ["the database cannot be read"]
    assert examination.broken
    assert work_of(folder) > 0


def test_a_disk_that_is_full_or_read_only_is_no_damage(folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=8) as disk:
        shutil.copytree(folder, disk / "yard")
        filler = fill(disk)
        with pytest.raises(StorageFull, match="no space left"):
            examine(disk / "yard")
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        examination = examine(disk / "yard")
        assert found(examination) == {}
        assert examination.images == 40


def test_a_newer_release_is_asked_for(folder: Path) -> None:
    change(folder, f"PRAGMA user_version = {LAYOUT + 1}")
    with pytest.raises(DataFolderUnusable, match="use the newer release"):
        examine(folder)


@pytest.fixture
def busy(folder: Path) -> Iterator[LocalGallery]:
    """The gallery with somebody who writes, replaces and erases all the time."""
    gallery = LocalGallery(folder)
    stop = threading.Event()

    def work() -> None:
        for turn in range(1_000_000):
            if stop.is_set():
                return
            gallery.add([image(n, turn=turn) for n in range(100, 103)])
            gallery.delete("i100")

    worker = threading.Thread(target=work)
    worker.start()
    yield gallery
    stop.set()
    worker.join()
    gallery.close()


def test_a_gallery_at_work_is_sound(busy: LocalGallery, folder: Path) -> None:
    for _ in range(15):
        assert found(examine(folder)) == {}


def test_an_open_gallery_is_sound_after_every_kind_of_write(folder: Path) -> None:
    gallery = LocalGallery(folder)
    gallery.add([image(1, turn=5), image(99)])
    gallery.change_metadata("i99", lambda _: Metadata(vehicle_id="ü", attributes={"big": 2**62, "x": 0.1, "t": "1"}))
    gallery.delete_where(Filters(camera_id=("c",)))
    assert found(examine(folder)) == {}
    with gallery._database.transaction() as connection:
        remove(connection, [])
    gallery.close()
    assert found(examine(folder)) == {}


def test_damage_in_the_log_of_a_running_service_is_told_before_a_kill_makes_it_a_loss(folder: Path) -> None:
    gallery = LocalGallery(folder)
    gallery.add([image(50)])
    gallery.add([image(51)])
    with log_of(folder / "gallery.sqlite").open("r+b") as log:
        log.seek(32 + 16)  # the first frame's checksum
        log.write(b"\0\0")
    assert found(examine(folder)) == {
        "the log is damaged: end the service in order, a kill would lose what follows": (
            f"gallery.sqlite-wal: at frame 1 of {(log_of(folder / 'gallery.sqlite').stat().st_size - 32) // (PAGE + 24)}",
        )
    }  # fmt: skip
    gallery.close()
    assert found(examine(folder)) == {}


def test_a_verification_that_reads_many_crops_does_not_hold_the_log_up(folder: Path) -> None:
    gallery = LocalGallery(folder)
    steps = 0

    def write(done: int) -> None:
        nonlocal steps
        steps += done
        if steps > work_of(folder) - 20:  # the crops are being read
            gallery.add([image(steps, turn=7)])
            assert gallery._database.empty_log()

    assert examine(folder, progress=write).findings == []
    assert steps > work_of(folder) - 20
    gallery.close()


def spoil_listed(folder: Path, name: str, *, at: int = 40, bit: int = 1) -> None:
    """Flip a bit of a crop's name in the list of crops, and nowhere else."""
    file = folder / "gallery.sqlite"
    whole, start = file.read_bytes(), -1
    while (start := whole.find(name.encode(), start + 1)) >= 0:
        data = bytearray(whole)
        data[start + at] ^= bit
        file.write_bytes(data)
        if not _named_in(folder, "SELECT CAST(name AS BLOB) FROM crops", name):
            assert _named_in(folder, "SELECT CAST(crop AS BLOB) FROM images NOT INDEXED", name)
            assert _named_in(folder, "SELECT CAST(crop AS BLOB) FROM images INDEXED BY images_crop", name)
            return
    raise AssertionError(name)


def _named_in(folder: Path, sql: str, name: str) -> bool:
    with closing(apsw.Connection(str(folder / "gallery.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return (name.encode(),) in connection.execute(sql).fetchall()


def crop_list(folder: Path) -> list[str]:
    with closing(apsw.Connection(str(folder / "gallery.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM crops ORDER BY name")]


def test_a_crop_whose_name_was_damaged_in_the_list_is_no_file_of_nobody(folder: Path) -> None:
    spoil_listed(folder, (name := crop_list(folder)[7]))
    examination = examine(folder)
    assert found(examination)["an image's crop is not listed"] == (name,)
    assert examination.orphans == []


def test_a_list_of_crops_that_goes_back_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.maintenance.verification._CROPS_AT_ONCE", 8)
    last = crop_list(folder)[7]  # of the first lot
    spoil_listed(folder, last, at=0, bit=0x10)  # a digit becomes a sign before all digits
    examination = examine(folder)
    assert examination.broken
    assert OUT_OF_ORDER in found(examination)


def test_a_crop_without_a_name_is_named(folder: Path) -> None:
    name = crop_list(folder)[3]
    file = folder / "gallery.sqlite"
    whole = file.read_bytes()
    starts = [start for start in range(len(whole)) if whole.startswith(b"\x04\x81\x15", start)]
    header = next(start for start in starts if whole.startswith(name.encode(), start + 4))
    file.write_bytes(whole[: header + 1] + b"\x80\0" + whole[header + 3 :])  # the same header, of NULL
    examination = examine(folder)
    assert found(examination)["a crop is listed without a name"] == ("table crops",)
    assert found(examination)["an image's crop is not listed"] == (name,)
    assert examination.broken


def test_a_crop_that_cannot_be_read_is_named(folder: Path) -> None:
    path = next((folder / "crops").rglob("*.jpg"))
    path.unlink()
    path.mkdir()
    examination = examine(folder)
    assert examination.lost_crops == {path.name}
    assert set(found(examination)) == {UNREADABLE_CROP}


def test_feedback_is_looked_at_too(folder: Path) -> None:
    with closing(LocalGallery(folder)) as gallery:
        given = [give(gallery, n) for n in (1, 2)]
        query = give(gallery, 4, query=QUERY)
    assert found(examine(folder)) == {}
    change_feedback(folder, "UPDATE answers SET same = 1 - same WHERE image_id = 'i1'")
    change_feedback(folder, "DELETE FROM pictures")
    assert found(examine(folder)) == {DAMAGED: (given[0].answer_id,), LOST: (query.query_crop,)}
    (folder / FEEDBACK).write_bytes(b"no database" * 1000)
    assert list(found(examine(folder))) == [BROKEN]
