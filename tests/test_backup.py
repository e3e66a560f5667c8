"""Backups taken beside whoever writes: whole, incremental, forgetting what was erased."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from index.camera import Camera, Cameras
from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import DataFolderLocked, DataFolderUnusable, ImageNotFound, InvalidValue, StorageError, StorageFull
from index.gallery import Filters, Metadata
from index.local_gallery import LocalGallery
from index.maintenance.backup import KEPT, UNFORGOTTEN, GalleryBackup, back_up, read_note
from index.maintenance.restoration import restore
from index.maintenance.verification import IN_DOUBT, UNREADABLE_CROP, examine
from index.storage.camera_folder import CameraFolder
from index.storage.feedback_database import BROKEN, DAMAGED, FeedbackDatabase
from index.storage.folder_lock import FolderLock
from index.storage.gallery_files import FEEDBACK
from index.storage.query_store import QueryStore
from tests.cut_off import cut_off
from tests.pictures import png
from tests.small_disk import fill, small_disk
from tests.test_answer_book import QUERY, give, listed
from tests.test_feedback_database import change
from tests.test_local_gallery import SPEC, image
from tests.test_verification import found, spoil_listed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def home(data: Path) -> Iterator[DataFolder]:
    opened = DataFolder(data, default_spec=SPEC)
    opened.create("yard", replace(SPEC, keep_crops=False))[0].add([image(n) for n in range(3)])
    yield opened
    opened.close()


@pytest.fixture
def gallery(home: DataFolder) -> LocalGallery:
    gallery = home.get("default")
    gallery.add([image(n) for n in range(30)])
    return gallery


def crop_files(backup: Path) -> set[str]:
    return {path.name for path in (backup / "galleries/default/crops").rglob("*.jpg")}


def sound(done: list[GalleryBackup], backup: Path) -> bool:
    """Whether nothing is wrong with a backup, by its own word and by an examination."""
    return not any(each.findings for each in done) and not any(
        examine(folder).findings for folder in (backup / "galleries").iterdir()
    )


def whole(backup: Path) -> bool:
    """Whether it can be restored: crops that were copied for a backup that failed do no harm."""
    findings = examine(backup / "galleries/default").findings
    return {finding.what for finding in findings} <= {"a file belongs to no image"}


def test_a_backup_beside_an_open_folder_holds_everything(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    done = back_up(data, tmp_path / "backup")
    assert [(each.name, each.images, each.crops, each.new_crops) for each in done] == [
        ("default", 30, 30, 30),
        ("yard", 3, 0, 0),
    ]
    assert done[0].last_change == gallery.info().last_change
    assert sound(done, tmp_path / "backup")
    assert read_note(tmp_path / "backup")["galleries"]["yard"] == {"images": 3, "last_change": 3}
    assert sorted(path.name for path in (tmp_path / "backup/galleries/default").iterdir()) == [
        "crops",
        "gallery.sqlite",
    ]
    gallery.add([image(99)])  # and the folder is as free as before
    assert gallery.count() == 31


def test_another_one_copies_what_is_new_and_forgets_what_was_erased(
    home: DataFolder, gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    back_up(data, backup)
    times = {path: path.stat().st_mtime_ns for path in backup.rglob("*.jpg")}
    gallery.add([image(40), image(1, turn=1), replace(image(41), crop=image(2).crop)])
    gallery.add([replace(image(42), metadata=Metadata(vehicle_id="plate-of-somebody"))])
    back_up(data, backup)
    gallery.delete("i3")
    gallery.delete("i42")
    home.drop("yard")
    first, *others = back_up(data, backup)
    assert (first.images, first.new_crops, first.forgotten_crops, others) == (31, 0, 2, [])
    assert sound([first], backup)
    assert crop_files(backup) == {each.crop_name for each in gallery.page(Filters(), limit=99).images}
    kept = {path: path.stat().st_mtime_ns for path in times if path.exists()}
    assert len(kept) == 28
    assert kept.items() <= times.items()
    assert not any(b"plate-of-somebody" in path.read_bytes() for path in backup.rglob("*") if path.is_file())
    assert not any(content_name(image(1).crop) in str(path) for path in backup.rglob("*"))
    assert [path.name for path in (backup / "galleries").iterdir()] == ["default"]


def test_a_backup_under_load_is_one_moment_of_it(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    """Images are written, replaced and erased all the time; each write is there whole or not at all."""
    stop = threading.Event()

    def work() -> int:
        for turn in range(1, 1_000_000):
            gallery.add([image(n, turn=turn) for n in range(100, 104)])
            gallery.delete("i103")
            if stop.is_set():
                return turn
        raise AssertionError

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(work)
        try:
            for number in range(6):
                done = back_up(data, tmp_path / f"backup-{number % 2}")
                assert sound(done, tmp_path / f"backup-{number % 2}")
        finally:
            stop.set()
        assert worker.result() > 6
    folder = tmp_path / "backup-0/galleries/default"
    (folder / "gallery.sqlite").with_name("lock").touch()
    copy = LocalGallery(folder)
    turns = {
        each.metadata.attributes["turn"] for each in copy.page(Filters(), limit=99).images if len(each.image_id) == 4
    }
    assert len(turns) == 1
    assert copy.count() in (33, 34)
    copy.close()


def test_pictures_that_are_replaced_all_the_time_are_no_damage(
    gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    """However long the database takes to copy: many times as long as a picture stays."""
    long = Metadata(attributes={f"n{n}": "long" * 60 for n in range(16)})
    for start in range(1000, 6000, 500):
        gallery.add([replace(image(n, crop=b"\xff\xd8\xff"), metadata=long) for n in range(start, start + 500)])
    stop = threading.Event()

    def work() -> None:
        for turn in range(1, 1_000_000):
            if stop.is_set():
                return
            gallery.add([image(100, turn=turn)])

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(work)
        try:
            assert sound(back_up(data, tmp_path / "backup"), tmp_path / "backup")
        finally:
            stop.set()
        worker.result()


def test_what_a_backup_that_was_killed_left_is_forgotten(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(data, backup)
    erased, kept = content_name(image(1).crop), content_name(image(2).crop)
    folder = backup / "galleries/default"
    for name in (erased, kept):
        (folder / "crops" / name[:2] / name).rename(folder / "crops/incoming" / name)
    (folder / "crops/incoming" / f"{content_name(image(3).crop)}.part").write_bytes(image(3).crop)
    (folder / ".copying").mkdir()
    (folder / ".copying/pages").write_bytes(image(3).crop)
    gallery.delete("i1")
    gallery.delete("i3")
    back_up(data, backup)
    assert sorted(path.name for path in folder.iterdir()) == ["crops", "gallery.sqlite"]
    assert crop_files(backup) == {each.crop_name for each in gallery.page(Filters(), limit=99).images}
    assert list((folder / "crops/incoming").iterdir()) == []


def test_wherever_it_is_killed_it_can_be_repeated_and_nothing_half_is_restored(
    home: DataFolder, data: Path, tmp_path: Path
) -> None:
    gallery = home.get("default")
    gallery.add([image(n) for n in range(4)])
    (tmp_path / "none").mkdir()
    copies = cut_off(tmp_path / "none", tmp_path / "killed", "backup", "{}/backup", "--data-dir", str(data))
    assert len(copies) > 10
    for copy in copies[:-1]:
        if (copy / "backup/backup.json").exists():
            with contextlib.suppress(DataFolderUnusable):
                assert [each.left_out for each in restore(copy / "backup", copy / "new")] == [None, None]
        assert sound(back_up(data, copy / "backup"), copy / "backup")
    back_up(data, tmp_path / "first")
    gallery.add([image(60)])
    gallery.delete("i3")
    before = crop_files(tmp_path / "first")
    copies = cut_off(tmp_path / "first", tmp_path / "again", "backup", "{}", "--data-dir", str(data))
    now = crop_files(copies[-1])
    assert len(copies) > 10
    for copy in copies[:-1]:
        assert not any(each.findings for each in restore(copy, copy.with_name(f"new{copy.name}")))
        assert crop_files(copy.with_name(f"new{copy.name}")) in (before, now)
        back_up(data, copy)
        assert crop_files(copy) == now


def test_a_crop_that_was_cut_in_the_backup_is_copied_again(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    next((tmp_path / "backup").rglob("*.jpg")).write_bytes(b"")
    first, _ = back_up(data, tmp_path / "backup")
    assert first.new_crops == 1
    assert sound([first], tmp_path / "backup")


def test_a_gallery_that_is_dropped_meanwhile_is_no_failure(
    home: DataFolder, gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    back_up(data, tmp_path / "backup")
    gallery.add([image(50)])

    def drop(_: int) -> None:
        if "yard" in home.names():
            home.drop("yard")

    (done,) = back_up(data, tmp_path / "backup", progress=drop)
    assert done.images == 31
    assert read_note(tmp_path / "backup")["galleries"].keys() == {"default"}
    assert [path.name for path in (tmp_path / "backup/galleries").iterdir()] == ["default"]


def test_damage_is_told_and_does_not_keep_the_rest_out(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    files = {path.name: path for path in (data / "galleries/default/crops").rglob("*.jpg")}
    files[content_name(image(1).crop)].unlink()
    files[content_name(image(2).crop)].write_bytes(b"\xff\xd8\xff another picture")
    with gallery._database.transaction() as connection:
        connection.execute("UPDATE images SET camera_id = 'x' WHERE image_id = 'i5'")
    first, _ = back_up(data, tmp_path / "backup")
    assert {(finding.what, finding.subjects) for finding in first.findings} == {
        ("an image's crop is missing on the disk", ("i1",)),
        ("an image's crop is not the picture that was written", ("i2",)),
        ("an image's row is not what was written", ("i5",)),
    }
    assert (first.images, first.crops, first.new_crops) == (30, 28, 28)


def test_what_was_whole_in_the_earlier_backup_stays_whole(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    """Rows are put back, but not where they were written, replaced or erased since."""
    gallery.change_metadata("i1", lambda known: replace(known, attributes={"lane": "left", "n": 2}))
    back_up(data, tmp_path / "backup")
    before = {f"i{n}": gallery.get(f"i{n}") for n in range(30)}
    gallery.change_metadata("i4", lambda known: replace(known, vehicle_id="since"))
    gallery.delete("i6")
    gallery.add([image(7, turn=1), image(50)])
    damage = f"""
        UPDATE images SET camera_id = 'x' WHERE image_id IN ('i1', 'i4', 'i7', 'i50');
        UPDATE images SET image_id = 'j9' WHERE image_id = 'i9';
        UPDATE embeddings SET vector = zeroblob(32) WHERE row_id IN ({row_of(gallery, "i2")}, {row_of(gallery, "i4")});
        DELETE FROM embeddings WHERE row_id = {row_of(gallery, "i3")};
        DELETE FROM images WHERE image_id = 'i5';
    """
    with gallery._database.transaction() as connection:
        connection.execute(damage).fetchall()
    done, _ = back_up(data, tmp_path / "backup")
    told = {finding.what: set(finding.subjects) for finding in done.findings}
    assert told.pop(KEPT) == {"i1", "i2", "i3", "i4", "i9"}
    assert told["an image's row is not what was written"] == {"i1", "i4", "i7", "i50", "j9"}
    assert found(examine(tmp_path / "backup/galleries/default")) == {
        "an image's row is not what was written": ("i4", "i7", "i50"),
        "a crop is listed that no image has": (content_name(image(5).crop),),
        "a file belongs to no image": (content_name(image(6).crop),),  # kept while the lists of crops disagree
        IN_DOUBT: ("row 6",),
    }
    restore(tmp_path / "backup", tmp_path / "new")
    with contextlib.closing(DataFolder(tmp_path / "new")) as home:
        restored = home.get("default")
        for image_id in ("i1", "i2", "i3", "i9", "i10"):
            assert restored.get(image_id) == before[image_id]
            assert (restored.embedding(image_id) == image(int(image_id[1:])).embedding).all()
        assert [each.image_id for each in restored.page(Filters(attributes={"lane": ("left",)}), limit=9).images] == [
            "i1"
        ]
        for image_id in ("i5", "i6"):  # nobody can tell of the first whether it was erased
            with pytest.raises(ImageNotFound):
                restored.get(image_id)
    again, _ = back_up(data, tmp_path / "backup")  # the earlier one is that which was put together
    assert {KEPT} <= {finding.what for finding in again.findings}
    assert len(found(examine(tmp_path / "backup/galleries/default"))) == 4


def row_of(gallery: LocalGallery, image_id: str) -> int:
    with gallery._database.snapshot() as connection:
        row_id: int = connection.execute("SELECT row_id FROM images WHERE image_id = ?", (image_id,)).get
    return row_id


def test_another_gallery_of_that_name_gives_no_rows(home: DataFolder, data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    home.drop("yard")
    yard, _ = home.create("yard", replace(SPEC, keep_crops=False))
    yard.add([image(n, turn=1) for n in range(3)])
    with yard._database.transaction() as connection:
        connection.execute("UPDATE images SET camera_id = 'x' WHERE image_id = 'i1'")
    _, done = back_up(data, tmp_path / "backup")
    assert [finding.what for finding in done.findings] == ["an image's row is not what was written"]


def test_a_database_that_cannot_be_read_leaves_the_earlier_backup_whole(
    home: DataFolder, gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    back_up(data, tmp_path / "backup")
    gallery.add([image(77)])
    gallery._database.empty_log()
    with (data / "galleries/default/gallery.sqlite").open("r+b") as file:
        file.seek(4 * 16384)
        file.write(b"noise" * 3000)
    with pytest.raises(StorageError, match="`vehicle-index verify` tells what is damaged"):
        back_up(data, tmp_path / "backup")
    assert whole(tmp_path / "backup")
    assert read_note(tmp_path / "backup")["galleries"]["default"]["images"] == 30
    home.get("yard").add([image(9)])
    with pytest.raises(StorageError, match=r"\(galleries that are backed up now: yard\)$"):
        back_up(data, tmp_path / "backup")
    assert read_note(tmp_path / "backup")["galleries"]["yard"]["images"] == 4
    restored = {each.name: each.images for each in restore(tmp_path / "backup", tmp_path / "new")}
    assert restored == {"default": 30, "yard": 4}


def test_a_full_disk_leaves_the_earlier_backup_whole(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        back_up(data, disk / "backup")
        filler = fill(disk, leave=100_000)
        gallery.add([replace(image(n), crop=b"\xff\xd8\xff" + bytes([n]) * 30_000) for n in range(50, 60)])
        with pytest.raises(StorageFull):
            back_up(data, disk / "backup")
        assert whole(disk / "backup")
        assert not list((disk / "backup").rglob("*.part"))
        filler.unlink()
        assert sound(back_up(data, disk / "backup"), disk / "backup")


def test_one_backup_at_a_time_goes_to_a_folder(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    lock = FolderLock(tmp_path / "backup")
    with pytest.raises(DataFolderLocked):
        back_up(data, tmp_path / "backup")
    lock.close()


def test_other_folders_are_refused(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").touch()
    for target, problem in (
        (tmp_path / "full", "is no backup and not empty"), (data, "beside each other"), (data / "backup", "beside each other"),
        (tmp_path, "beside each other"),
    ):  # fmt: skip
        with pytest.raises(InvalidValue, match=problem):
            back_up(data, target)
    with pytest.raises(DataFolderUnusable, match="there is no data folder"):
        back_up(tmp_path / "none", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_backup_is_not_opened_as_a_data_folder(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    with pytest.raises(DataFolderUnusable, match="is a backup: `vehicle-index restore"):
        DataFolder(tmp_path / "backup", default_spec=SPEC)


@pytest.mark.parametrize("note", [None, "", "[]", '{"taken_at": 1}'])
def test_a_note_that_is_none(tmp_path: Path, note: str | None) -> None:
    if note is not None:
        (tmp_path / "backup.json").write_text(note)
    with pytest.raises(DataFolderUnusable):
        read_note(tmp_path)


def test_the_note_is_json(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "backup")
    assert json.loads((tmp_path / "backup/backup.json").read_text())["taken_at"].endswith("Z")


def test_no_crop_is_forgotten_while_the_lists_of_crops_disagree(
    home: DataFolder, gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    back_up(data, tmp_path / "backup")
    gallery.delete("i9")
    gallery.close()
    spoil_listed(data / "galleries/default", (name := content_name(image(7).crop)))
    done, _ = back_up(data, tmp_path / "backup")
    told = {finding.what: finding.subjects for finding in done.findings}
    assert told["an image's crop is not listed"] == (name,)
    assert all(told.values())
    assert told[UNFORGOTTEN] == (content_name(image(9).crop),)
    assert {name, content_name(image(9).crop)} <= crop_files(tmp_path / "backup")
    back_up(data, tmp_path / "first")
    assert name in crop_files(tmp_path / "first")


def test_a_crop_that_cannot_be_read_keeps_nothing_else_out(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    name = content_name(image(8).crop)
    path = data / "galleries/default/crops" / name[:2] / name
    path.unlink()
    path.mkdir()
    done, _ = back_up(data, tmp_path / "backup")
    assert [(finding.what, finding.subjects) for finding in done.findings] == [(UNREADABLE_CROP, ("i8",))]
    assert (done.images, done.crops) == (30, 29)


def test_cameras_and_their_plan_come_with_it(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    cameras, backup = CameraFolder(data), tmp_path / "backup"
    back_up(data, backup)
    assert not (backup / "cameras").exists()
    cameras.place((Camera(camera_id="c1", x=1, y=2),))
    cameras.draw(png(1), pixels=(96, 72), width=10)
    back_up(data, backup)
    assert CameraFolder(backup).whole() == cameras.whole()
    cameras.draw(png(2), pixels=(96, 72), width=20)
    back_up(data, backup)
    assert CameraFolder(backup).whole() == cameras.whole()
    assert len(list((backup / "cameras").iterdir())) == 2
    restore(backup, tmp_path / "new")
    assert CameraFolder(tmp_path / "new").whole() == cameras.whole()


def test_cameras_that_are_damaged_stay_as_the_earlier_backup_has_them(
    gallery: LocalGallery, data: Path, tmp_path: Path
) -> None:
    cameras, backup = CameraFolder(data), tmp_path / "backup"
    placed = cameras.place((Camera(camera_id="c1"),))
    back_up(data, backup)
    (data / "cameras/cameras.json").write_text("{}")
    gallery.add([image(99)])
    with pytest.raises(StorageError, match=r"not what was written.*backed up now: default, yard"):
        back_up(data, backup)
    assert CameraFolder(backup).read() == placed
    assert read_note(backup)["galleries"]["default"]["images"] == 31
    (backup / "cameras/cameras.json").write_text("{}")
    with pytest.raises(StorageError, match=r"the backup's cameras: .* the rest is restored"):
        restore(backup, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["lock"]
    (backup / "cameras/cameras.json").unlink()
    restore(backup, tmp_path / "new")
    assert CameraFolder(tmp_path / "new").read() == Cameras()


def test_pictures_of_queries_are_left_out(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    store = QueryStore(data, hours=1, max_bytes=10_000)
    store.keep(b"picture", width=1, height=1, digest="0" * 64, extension="jpg")
    back_up(data, tmp_path / "backup")
    assert not (tmp_path / "backup/queries").exists()


def test_feedback_is_in_a_backup_and_forgotten_with_it(gallery: LocalGallery, data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    first, second = give(gallery, 1), give(gallery, 2, query=QUERY)
    assert sound(back_up(data, backup), backup)
    kept = FeedbackDatabase(backup / "galleries/default")
    assert (list(kept.all()), kept.picture(second.query_crop)) == ([second, first], QUERY)
    gallery.feedback.delete(second.answer_id)
    assert sound(back_up(data, backup), backup)
    assert list(kept.all()) == [first]
    assert QUERY not in kept.path.read_bytes()
    (data / "galleries/default" / FEEDBACK).unlink()
    assert sound(back_up(data, backup), backup)
    assert not kept.exists


@pytest.mark.parametrize("whole_file", [True, False])
def test_damaged_feedback_stays_in_a_backup_as_the_earlier_one_had_it(
    gallery: LocalGallery, data: Path, tmp_path: Path, whole_file: bool
) -> None:
    backup = tmp_path / "backup"
    given = [give(gallery, n) for n in (1, 2)]
    file = data / "galleries/default" / FEEDBACK
    if whole_file:
        back_up(data, backup)
        file.write_bytes(b"no database" * 1000)
    else:
        back_up(data, backup)
        change(file.parent, "UPDATE answers SET same = 0 WHERE image_id = 'i1'")
    (told,) = [finding for each in back_up(data, backup) for finding in each.findings]
    assert told.what == (BROKEN if whole_file else DAMAGED)
    assert list(FeedbackDatabase(backup / "galleries/default").all()) == given[::-1]
    restore(backup, tmp_path / "new")
    with contextlib.closing(DataFolder(tmp_path / "new", default_spec=SPEC)) as again:
        assert listed(again.get("default")) == ["i2", "i1"]
