"""Backups made data folders again, and erasures that came after them."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import DataFolderLocked, DataFolderUnusable, InvalidValue, StorageError, StorageFull
from index.gallery import Filters, SearchOptions
from index.local_gallery import LocalGallery
from index.maintenance.backup import back_up
from index.maintenance.repair import DOUBTFUL, repair
from index.maintenance.restoration import LEFT_IN_DOUBT, GalleryRestoration, restore
from index.maintenance.verification import IN_DOUBT, SAID_ERASED, examine
from index.storage.folder_lock import FolderLock
from index.storage.gallery_files import SNAPSHOT
from tests.cut_off import cut_off
from tests.index_kinds import build_early
from tests.small_disk import fill, small_disk
from tests.test_answer_book import QUERY, give, listed
from tests.test_compaction import SPEC as SECRET_SPEC
from tests.test_compaction import secret, traces
from tests.test_local_gallery import SPEC, image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def home(data: Path, backup: Path) -> Iterator[DataFolder]:
    """An open folder with two galleries, and a backup of it."""
    opened = DataFolder(data, default_spec=SPEC)
    opened.get("default").add([image(n) for n in range(20)])
    opened.create("yard", replace(SPEC, retention_days=400.0))[0].add([image(n) for n in range(3)])
    back_up(data, backup)
    yield opened
    opened.close()


def note(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "restored.json").read_text())
    return found


def by_name(done: list[GalleryRestoration]) -> dict[str, GalleryRestoration]:
    assert not any(each.findings for each in done)
    return {each.name: each for each in done}


def test_what_was_backed_up_is_there_again(home: DataFolder, backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "new")
    again, before = DataFolder(tmp_path / "new", default_spec=SPEC), home
    assert again.names() == ["default", "yard"]
    for name in again.names():
        ours, theirs = again.get(name), before.get(name)
        assert ours.spec == theirs.spec
        assert ours.page(Filters(), limit=99).images == theirs.page(Filters(), limit=99).images
        for n in range(3):
            assert ours.crop(f"i{n}") == theirs.crop(f"i{n}")
            ((match,),) = ours.search(image(n).embedding[None], SearchOptions(top_k=1))
            assert (match.image.image_id, match.distance) == (f"i{n}", 0)
    assert again.get("default").add([image(50)]) == ["created"]
    again.close()
    assert note(tmp_path / "new")["erasures_since_from"] is None
    assert note(tmp_path / "new")["galleries"]["default"]["erased_since"] is None


@pytest.mark.parametrize("erased", [False, True])
def test_no_index_is_copied_and_none_of_another_past_is_believed(
    tmp_path: Path, backup: Path, *, erased: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_early(monkeypatch)
    data, new, place = tmp_path / "data", tmp_path / "new", f"galleries/default/{SNAPSHOT}"
    home = DataFolder(data, default_spec=replace(SPEC, kind="hnsw"))
    home.get("default").add([image(n) for n in range(40)])
    home.get("default")._upkeep.rest()
    back_up(data, backup)
    home.close()
    assert (data / place).exists()
    home = DataFolder(data)
    home.get("default").add([image(n) for n in range(40, 80)])
    home.get("default").delete("i3")
    home.get("default")._upkeep.rest()
    home.get("default").rewrite_snapshot()
    home.close()
    back_up(data, tmp_path / "later")
    restore(backup, new, since=data if erased else None)
    assert not any(
        path.name.startswith(SNAPSHOT) for each in (backup, tmp_path / "later", new) for path in each.rglob("*")
    )

    (new / place).write_bytes((data / place).read_bytes())  # by somebody who means well
    again = DataFolder(new)
    assert "the snapshot of the index is not used, it is newer than the database" in caplog.text
    restored = again.get("default")
    (matches,) = restored.search(image(3).embedding[None], SearchOptions(top_k=100))
    assert {match.image.image_id for match in matches} == {f"i{n}" for n in range(40) if n != 3 or not erased}
    again.close()


def test_what_was_erased_since_stays_erased(home: DataFolder, backup: Path, data: Path, tmp_path: Path) -> None:
    gallery = home.get("default")
    gallery.delete("i1")
    gallery.delete("i2")
    gallery.add([image(2, turn=5), image(3, turn=5), image(60)])  # one came back with another picture
    gallery.delete("i60")
    gallery.change_metadata("i4", lambda known: replace(known, vehicle_id="later"))
    done = by_name(restore(backup, tmp_path / "new", since=data))
    assert (done["default"].images, done["default"].erased, done["default"].replaced) == (19, 1, 2)
    assert (done["yard"].images, done["yard"].erased, done["yard"].replaced) == (3, 0, 0)
    again = DataFolder(tmp_path / "new")
    restored = again.get("default")
    assert {each.image_id for each in restored.page(Filters(), limit=99).images} == {
        f"i{n}" for n in range(20) if n != 1
    }
    for n in (2, 3):
        assert restored.crop(f"i{n}")[1] == image(n).crop
    assert restored.get("i4").metadata.vehicle_id is None
    again.close()
    assert note(tmp_path / "new")["galleries"]["default"] == {
        "images": 19, "last_change": done["default"].last_change, "erased_since": 1, "replaced_since": 2, "left_out": None,
    }  # fmt: skip
    assert "i1" not in (tmp_path / "new/restored.json").read_text().split('"')


def test_no_byte_of_what_was_erased_since_is_restored(tmp_path: Path) -> None:
    home = DataFolder(tmp_path / "data", default_spec=SECRET_SPEC)
    home.get("default").add([secret(n) for n in range(40)])
    back_up(tmp_path / "data", tmp_path / "backup")
    for n in range(0, 40, 3):
        home.get("default").delete(secret(n).image_id)
    restore(tmp_path / "backup", tmp_path / "new", since=tmp_path / "data")
    home.close()
    for n in range(0, 40, 3):
        assert traces(tmp_path / "new", secret(n)) == []
    assert traces(tmp_path / "new", secret(1)) != []


@pytest.mark.parametrize("again", [False, True])
def test_a_gallery_that_was_dropped_since_stays_dropped(
    home: DataFolder, backup: Path, data: Path, tmp_path: Path, again: bool
) -> None:
    home.drop("yard")
    if again:
        home.create("yard", SPEC)[0].add([image(n) for n in range(9)])
    done = by_name(restore(backup, tmp_path / "new", since=data))
    assert done["yard"].left_out == ("dropped after the backup and made anew" if again else "dropped after the backup")
    assert done["default"].images == 20
    restored = DataFolder(tmp_path / "new")
    assert restored.names() == ["default"]
    restored.close()
    by_name(restore(backup, tmp_path / "whole"))
    assert (tmp_path / "whole/galleries/yard").exists()


def test_what_damage_took_comes_back_and_what_was_erased_does_not(
    home: DataFolder, backup: Path, data: Path, tmp_path: Path
) -> None:
    """The reason for a backup: the folder was damaged and repaired."""
    home.get("default").delete("i1")
    home.get("default").close()
    file = data / "galleries/default/gallery.sqlite"
    content = bytearray(file.read_bytes())
    content[content.index(image(5).embedding.tobytes())] ^= 1
    file.write_bytes(content)
    repair(data / "galleries/default", act=True)
    done = by_name(restore(backup, tmp_path / "new", since=data))
    assert (done["default"].images, done["default"].erased) == (19, 1)


def test_a_folder_older_than_the_backup_cannot_tell(home: DataFolder, backup: Path, data: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "old")
    home.get("default").add([image(30)])
    back_up(data, backup)
    with pytest.raises(StorageError, match="restore without --since"):
        restore(backup, tmp_path / "new", since=tmp_path / "old")
    assert not (tmp_path / "new/galleries").exists()
    with pytest.raises(DataFolderUnusable):
        restore(backup, tmp_path / "new", since=tmp_path / "none")
    by_name(restore(backup, tmp_path / "new"))


def test_a_folder_that_lost_its_galleries_does_not_pass_for_one_that_dropped_them(
    home: DataFolder, backup: Path, data: Path, tmp_path: Path
) -> None:
    (data / "galleries/default").rename(data / "elsewhere")
    with pytest.raises(StorageError, match="which nobody can drop"):
        restore(backup, tmp_path / "new", since=data)
    (data / "galleries").rename(data / "lost")
    with pytest.raises(DataFolderUnusable, match="has no folder galleries"):
        restore(backup, tmp_path / "new", since=data)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]


def test_only_an_empty_folder_is_filled(home: DataFolder, backup: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").touch()
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "full", backup):
        before = sorted(target.rglob("*"))
        with pytest.raises(InvalidValue, match="is not empty"):
            restore(backup, target)
        assert [path for path in sorted(target.rglob("*")) if path.name != "lock"] == [
            path for path in before if path.name != "lock"
        ]
    with pytest.raises(DataFolderUnusable, match="is no backup"):
        restore(data, tmp_path / "empty")
    by_name(restore(backup, tmp_path / "empty"))


def test_damage_of_the_backup_is_told_and_never_restored_as_if_it_were_sound(
    home: DataFolder, backup: Path, tmp_path: Path
) -> None:
    files = {path.name: path for path in (backup / "galleries/default/crops").rglob("*.jpg")}
    files[content_name(image(1).crop)].write_bytes(b"\xff\xd8\xff another picture")
    files[content_name(image(2).crop)].unlink()
    default, _ = restore(backup, tmp_path / "new")
    assert [(finding.what, set(finding.subjects)) for finding in default.findings] == [
        ("an image's crop is missing on the disk", {"i1", "i2"})
    ]
    assert repair(tmp_path / "new/galleries/default", act=True)[0].loss
    assert examine(tmp_path / "new/galleries/default").findings == []


def test_a_full_disk_leaves_nothing_half(home: DataFolder, backup: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        filler = fill(disk, leave=400_000)
        with pytest.raises((StorageFull, OSError)):
            restore(backup, disk / "new")
        assert {path.name for path in (disk / "new").iterdir()} <= {"lock"}
        filler.unlink()
        by_name(restore(backup, disk / "new"))


def test_wherever_it_is_killed_it_can_be_repeated(backup: Path, data: Path, tmp_path: Path) -> None:
    """And what it left is no data folder, unless all of it is there."""
    home = DataFolder(data, default_spec=SPEC)
    home.get("default").add([image(n) for n in range(4)])
    home.create("yard", SPEC)[0].add([image(1)])
    back_up(data, backup)
    home.get("default").delete("i3")
    home.close()
    (tmp_path / "none").mkdir()
    words = ("restore", str(backup), "--data-dir", "{}", "--since", str(data))
    copies = cut_off(tmp_path / "none", tmp_path / "killed", *words)
    assert len(copies) > 20
    refused = 0
    for copy in copies[:-1]:
        if (copy / ".restoring").exists():
            refused += 1
            with pytest.raises(DataFolderUnusable, match="is not whole: repeat `vehicle-index restore`"):
                DataFolder(copy, default_spec=SPEC)
        if not (copy / "galleries").exists():
            by_name(restore(backup, copy, since=data))
        again = DataFolder(copy)
        assert (again.get("default").count(), again.get("yard").count()) == (3, 1)
        again.close()
        assert note(copy)["galleries"]["default"]["erased_since"] == 1
    assert refused > 10


def test_galleries_that_a_backup_does_not_have_whole_are_named(
    home: DataFolder, backup: Path, data: Path, tmp_path: Path
) -> None:
    told = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps(told | {"galleries": {}}))
    with pytest.raises(DataFolderUnusable, match="was never finished"):
        restore(backup, tmp_path / "new")
    galleries = {"default": told["galleries"]["default"], "lost": {}}
    (backup / "backup.json").write_text(json.dumps(told | {"galleries": galleries}))
    done = {each.name: each for each in restore(backup, tmp_path / "new")}
    assert (done["default"].images, done["default"].findings) == (20, ())
    assert done["yard"].left_out == "its backup was not finished"
    assert done["lost"].left_out == "its folder is missing in the backup"
    assert done["yard"].findings
    assert done["lost"].findings


def test_what_says_that_it_is_done_is_on_the_disk(
    home: DataFolder, backup: Path, tmp_path: Path, flushed: list[str]
) -> None:
    """In that order: what is told of, what tells of it, and the name of the folder last."""
    restore(backup, tmp_path / "new")
    wanted = [
        "gallery.sqlite",
        "default",
        "gallery.sqlite",
        "yard",
        ".restoring",
        "restored.json.part",
        "layout.part",
        "new",
    ]
    places = iter(flushed)
    assert all(name in places for name in wanted), flushed


def test_no_backup_changes_what_is_being_restored(home: DataFolder, backup: Path, tmp_path: Path) -> None:
    lock = FolderLock(backup)
    with pytest.raises(DataFolderLocked):
        restore(backup, tmp_path / "new")
    lock.close()
    by_name(restore(backup, tmp_path / "new"))


def spoil_erasure(folder: Path, image_id: str, other: str) -> None:
    """Let the entry of an erasure name another row, as one flipped bit may do."""
    with closing(apsw.Connection(str(folder / "gallery.sqlite"))) as connection:
        row_of = "SELECT row_id FROM images WHERE image_id = ?"
        erased = "(SELECT max(change) FROM changes WHERE kind = 'removed')"
        connection.execute(f"UPDATE changes SET row_id = ({row_of}) WHERE change = {erased}", (other,))
        assert connection.execute(row_of, (image_id,)).fetchone() is None


@pytest.mark.parametrize("repaired", [False, True])
def test_damage_in_the_record_of_an_erasure_raises_nobody(
    home: DataFolder, backup: Path, data: Path, tmp_path: Path, repaired: bool
) -> None:
    folder = data / "galleries/default"
    home.get("default").delete("i1")
    home.get("default").close()
    spoil_erasure(folder, "i1", "i5")
    told = {finding.what: finding.subjects for finding in examine(folder).findings}
    assert told == {SAID_ERASED: ("i5",), IN_DOUBT: ("row 2",)}
    if repaired:
        measures = {measure.what: measure.subjects for measure in repair(folder, act=True)}
        assert measures[DOUBTFUL] == ("row 2",)
        assert "the record of what was written and erased is damaged" in measures
        assert examine(folder).findings == []
        with closing(LocalGallery(folder)) as gallery:
            assert gallery.count() == 19
            assert gallery.get("i5").crop_name == content_name(image(5).crop)
    default, _ = restore(backup, tmp_path / "new", since=data)
    assert (default.images, default.erased) == (19, 1)
    assert [finding.what for finding in default.findings] == ([] if repaired else [LEFT_IN_DOUBT])
    again, _ = back_up(data, backup)
    assert again.images == 19
    assert {finding.what for finding in again.findings} == (set() if repaired else {SAID_ERASED, IN_DOUBT})
    with closing(LocalGallery(tmp_path / "new/galleries/default")) as gallery:
        assert gallery.find(["i1", "i5"]).keys() == {"i5"}


def test_feedback_comes_back_but_for_what_was_erased_since(
    home: DataFolder, data: Path, backup: Path, tmp_path: Path
) -> None:
    gallery = home.get("default")
    kept = give(gallery, 1)
    erased = give(gallery, 2, query=QUERY)
    of_erased = give(gallery, 3)
    back_up(data, backup)
    gallery.feedback.delete(erased.answer_id)
    gallery.delete("i3")
    give(gallery, 4)
    for since, expected in ((None, [of_erased, erased, kept]), (data, [kept])):
        new = tmp_path / f"new-{since is None}"
        restore(backup, new, since=since)
        with closing(DataFolder(new, default_spec=SPEC)) as restored:
            again = restored.get("default")
            assert list(again.feedback.page(limit=9).answers) == expected
            assert (QUERY in (new / "galleries/default/feedback.sqlite").read_bytes()) is (since is None)
            assert again.feedback.sweep() == (0 if since is None else 1)
            assert listed(again) == [each.image_id for each in expected]
