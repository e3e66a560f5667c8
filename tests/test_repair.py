"""Damage mended: what is saved, what is lost, and that both are told."""

import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import LogDamaged, StorageError
from index.gallery import Filters, Kind, NewImage, SearchOptions, Vectors
from index.local_gallery import LocalGallery
from index.maintenance.repair import Measure, repair
from index.maintenance.verification import examine
from index.piecework import Piecework
from index.storage.crop_store import CropStore
from index.storage.database_file import PAGE
from index.storage.feedback_database import DAMAGED
from index.storage.feedback_database import LOST as PICTURE_LOST
from index.storage.gallery_files import FEEDBACK, SNAPSHOT, set_aside
from tests import test_gallery_migration as moving
from tests.cut_off import cut_off
from tests.index_kinds import build_early, kind_name
from tests.layout_1 import write_layout_1
from tests.test_answer_book import QUERY, give, listed
from tests.test_feedback_database import change as change_feedback
from tests.test_local_gallery import SPEC, image
from tests.test_verification import change, crop_list, flip, folder, found, spoil_listed

__all__ = ["folder"]

LOST = "lost"
ANEW = "written anew from what can be read, the old one set aside"


def mended(folder: Path, *, act: bool = True) -> dict[str, tuple[str, ...]]:
    measures = repair(folder, act=act)
    assert {measure.gallery for measure in measures} <= {"yard"}
    return {measure.what: measure.subjects for measure in measures}


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but what SQLite keeps for who has it open."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sqlite-shm")
    return {path: path.read_bytes() for path in files if path.stat().st_size}


def page_of(folder: Path, needle: bytes) -> int:
    """Number, from 0, of the page on which these bytes lie."""
    data = (folder / "gallery.sqlite").read_bytes()
    assert data.count(needle) == 1
    return data.index(needle) // PAGE


def spoil(folder: Path, page: int) -> None:
    """A page of noise."""
    with (folder / "gallery.sqlite").open("r+b") as file:
        file.seek(page * PAGE)
        file.write(random.Random(page).randbytes(PAGE))


def root_of(folder: Path, table: str) -> int:
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    page: int = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    connection.close()
    return page - 1


def test_a_sound_gallery_is_left_alone(folder: Path) -> None:
    before = contents(folder)
    assert mended(folder) == mended(folder, act=False) == {}
    assert contents(folder) == before
    assert not set_aside(folder).exists()


@pytest.mark.parametrize("file", ["gallery.sqlite", "crops"])
def test_it_only_tells_unless_it_is_told_to_act(folder: Path, file: str) -> None:
    if file == "crops":
        next(folder.rglob("*.jpg")).write_bytes(b"\xff\xd8\xff another picture")
    else:
        flip(folder, image(8).embedding.tobytes())
    before = contents(folder)
    told = mended(folder, act=False)
    assert told
    assert contents(folder) == before
    assert not set_aside(folder).exists()
    assert mended(folder) == told
    assert found(examine(folder)) == {}


def test_a_flipped_bit_costs_its_image_and_no_other(folder: Path) -> None:
    flip(folder, image(8).embedding.tobytes())
    damaged = (folder / "gallery.sqlite").read_bytes()
    crop = content_name(image(8).crop)
    assert mended(folder) == {
        ANEW: ("database of 39 images",), LOST: ("i8",), "set aside, a file of no image": (crop,),
    }  # fmt: skip
    assert (set_aside(folder) / "gallery.sqlite").read_bytes() == damaged
    assert (set_aside(folder) / crop).read_bytes() == image(8).crop
    assert found(examine(folder)) == {}
    gallery = LocalGallery(folder)
    assert gallery.count() == 39
    for n in (7, 9, 39):
        ((match,),) = gallery.search(gallery.embedding(f"i{n}")[None], SearchOptions(top_k=1))
        assert (match.image.image_id, match.distance) == (f"i{n}", 0)
    assert gallery.get("i7").metadata.attributes == {"lane": "left", "n": 2.5}
    assert [each.image_id for each in gallery.page(Filters(attributes={"lane": ("left",)}), limit=9).images] == ["i7"]
    assert gallery.add([image(8)]) == ["created"]  # the way out
    gallery.close()
    assert found(examine(folder)) == {}


def test_every_damaged_page_costs_what_lay_on_it(tmp_path: Path) -> None:
    """Noise on each page in turn: all that is saved is true, all that is not is told, nothing erased comes back."""
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", replace(SPEC, keep_crops=False))
    gallery = LocalGallery(folder)
    for start in range(0, 600, 200):
        gallery.add([image(n) for n in range(start, start + 200)])
    gallery.add([image(n, turn=1) for n in range(0, 600, 7)])
    gallery.delete_where(Filters(attributes={"turn": (1,)}))
    stored = {each.image_id: each for each in gallery.page(Filters(), limit=1000).images}
    gallery.close()
    whole = contents(folder)
    pages = len(whole[folder / "gallery.sqlite"]) // PAGE
    beyond = 0
    for page in range(pages):
        for path, data in whole.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        spoil(folder, page)
        try:
            measures = repair(folder, act=True)
        except StorageError:
            beyond += 1
            continue
        assert found(examine(folder)) == {}, page
        gallery = LocalGallery(folder)
        saved = {each.image_id: each for each in gallery.page(Filters(), limit=1000).images}
        for image_id, each in saved.items():
            assert each == stored[image_id]
        for image_id in list(saved)[::40]:
            ((match,),) = gallery.search(image(int(image_id[1:])).embedding[None], SearchOptions(top_k=1))
            assert match.image.image_id == image_id
        gallery.close()
        assert _told(measures, stored.keys() - saved.keys()), (page, measures)
    assert beyond <= 2  # the pages of ``about`` and ``spaces``


def _told(measures: list[Measure], missing: set[str]) -> bool:
    """Whether as many are told to be lost as are, by name or by number, or that nobody can know."""
    if any("the record" in measure.what for measure in measures):
        return True
    lost = [subject for measure in measures if measure.what == LOST for subject in measure.subjects]
    return len(lost) == len(missing) and {name for name in lost if name.startswith("i")} <= missing


@pytest.mark.parametrize("table", ["images", "embeddings", "changes", "crops", "attributes", "sqlite_schema"])
def test_what_leads_to_the_rows_may_be_gone(tmp_path: Path, table: str) -> None:
    """The root of a tree, or the header of the file: SQLite finds nothing then, and nothing is lost."""
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", SPEC)
    gallery = LocalGallery(folder)
    for start in range(0, 1500, 500):
        gallery.add([image(n, crop=b"\xff\xd8\xff same") for n in range(start, start + 500)])
    gallery.close()
    spoil(folder, 0 if table == "sqlite_schema" else root_of(folder, table))
    told = mended(folder)
    assert told[ANEW] == ("database of 1,500 images",)
    assert LOST not in told
    assert found(examine(folder)) == {}


def test_what_stands_in_the_log_alone_is_saved(folder: Path) -> None:
    gallery = LocalGallery(folder)
    gallery.add([image(77), image(1, turn=3)])
    gallery.delete("i2")
    copy = folder.parent / "copy/galleries/yard"
    copy.mkdir(parents=True)
    for path, data in contents(folder).items():  # as kill -9 would leave it
        (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(folder)).write_bytes(data)
    gallery.close()
    assert (copy / "gallery.sqlite-wal").stat().st_size
    (copy / "crops/incoming").mkdir()
    (copy / "gallery.sqlite-shm").unlink(missing_ok=True)
    with (copy / "gallery.sqlite").open("r+b") as file:
        file.write(bytes(100))
    told = mended(copy)
    assert LOST not in told
    assert "the record of what was written and erased is damaged" not in told
    gallery = LocalGallery(copy)
    assert gallery.count() == 40
    assert gallery.get("i1").metadata.attributes == {"turn": 3}
    np.testing.assert_array_equal(gallery.embedding("i77"), image(77).embedding)
    gallery.close()


def test_row_ids_and_changes_are_never_used_again(folder: Path) -> None:
    gallery = LocalGallery(folder)
    gallery.add([image(50)])
    last, crop = gallery.info().last_change, gallery.get("i50").crop_name
    gallery.close()
    spoil(folder, page_of(folder, image(50).embedding.tobytes()))
    told = mended(folder)
    assert "i50" in told[LOST]
    assert crop in told["set aside, a file of no image"]
    gallery = LocalGallery(folder)
    gallery.add([image(51)])
    assert gallery.info().last_change > last
    with gallery._database.snapshot() as view:
        assert view.execute("SELECT max(row_id) FROM images").get > 55
    gallery.close()


def test_crops_that_are_not_what_they_were_leave_their_images_searchable(folder: Path) -> None:
    names = {n: content_name(image(n).crop) for n in (1, 2, 3)}
    files = {path.name: path for path in (folder / "crops").rglob("*.jpg")}
    files[names[1]].unlink()
    files[names[2]].write_bytes(b"\xff\xd8\xff another picture")
    change(folder, f"UPDATE crops SET bytes = 7 WHERE name = '{names[3]}'")
    assert mended(folder) == {
        "kept, but without its crop": tuple(sorted(("i1", "i2"), key=lambda name: names[int(name[1])]))
    }
    assert (set_aside(folder) / names[2]).read_bytes() == b"\xff\xd8\xff another picture"
    assert found(examine(folder)) == {}
    gallery = LocalGallery(folder)
    assert gallery.get("i1").crop_name is None
    assert gallery.crop("i3")[1] == image(3).crop
    ((match,),) = gallery.search(image(1).embedding[None], SearchOptions(top_k=1))
    assert (match.image.image_id, match.distance) == ("i1", 0)
    gallery.close()


def test_a_folder_that_was_copied_gets_its_own_name(folder: Path) -> None:
    copy = Path(shutil.copytree(folder, folder.with_name("port")))
    for act in (False, True):
        (measure,) = repair(copy, act=act)
        assert (measure.what, measure.subjects) == ("the gallery is named as its folder", ("port",))
    assert found(examine(copy)) == {}
    gallery = LocalGallery(copy)
    assert gallery.name == "port"
    gallery.close()
    odd = folder.rename(folder.with_name("No Name"))
    with pytest.raises(StorageError, match="rename the folder"):
        repair(odd, act=True)


def test_small_things_are_put_right(folder: Path) -> None:
    change(folder, "DELETE FROM attributes WHERE row_id = 4")
    change(folder, "INSERT INTO crops VALUES ('ab.jpg', 1)")
    (folder / "crops/incoming").rmdir()
    assert mended(folder) == {
        "made": ("crops/incoming",),
        "attributes for filters written anew": ("i3",),
        "listed no longer, a crop of no image": ("ab.jpg",),
    }
    assert found(examine(folder)) == {}


def test_an_index_that_is_gone_is_made_again_and_no_image_is_lost(folder: Path) -> None:
    change(folder, "DROP INDEX images_camera")
    assert set(mended(folder)) == {ANEW}
    assert examine(folder).findings == []
    assert examine(folder).images == 40


def test_a_damaged_file_that_was_of_layout_1_is_read_as_any(tmp_path: Path) -> None:
    folder = tmp_path / "galleries/yard"
    CropStore(folder / "crops").create()
    write_layout_1(folder / "gallery.sqlite", rows=200)
    LocalGallery(folder).close()
    spoil(folder, root_of(folder, "images_camera"))
    assert set(mended(folder)) == {ANEW}
    assert examine(folder).findings == []
    assert examine(folder).images == 200


def test_a_damaged_snapshot_of_the_index_is_set_aside_and_nothing_else(folder: Path) -> None:
    before = contents(folder)
    (folder / SNAPSHOT).write_bytes(b"no snapshot")
    expected = {"set aside, the index is made from the database": (SNAPSHOT,)}
    assert mended(folder, act=False) == expected
    assert (folder / SNAPSHOT).exists()
    assert mended(folder) == expected
    assert contents(folder) == before
    assert [path.name for path in set_aside(folder).iterdir()] == [SNAPSHOT]


@pytest.mark.parametrize("kind", [("flat", "fp32"), ("hnsw", "fp32"), ("ivf", "sq8")], ids=kind_name)
def test_what_a_repair_lost_is_in_no_index_afterwards(
    tmp_path: Path, kind: tuple[Kind, Vectors], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is a snapshot believed that somebody puts back."""
    build_early(monkeypatch)
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", replace(SPEC, kind=kind[0], vectors=kind[1]))
    gallery = LocalGallery(folder)
    gallery.add([image(n) for n in range(40)])
    gallery._upkeep.rest()
    gallery.rewrite_snapshot()
    gallery.close()
    flip(folder, image(8).embedding.tobytes())
    assert mended(folder)[LOST] == ("i8",)
    assert not (folder / SNAPSHOT).exists()
    for put_back in (False, True):
        if put_back:
            (folder / SNAPSHOT).write_bytes((set_aside(folder) / SNAPSHOT).read_bytes())
        gallery = LocalGallery(folder)
        assert ("the database was repaired since" in caplog.text) == put_back
        (matches,) = gallery.search(image(8).embedding[None], SearchOptions(top_k=100))
        assert {match.image.image_id for match in matches} == {f"i{n}" for n in range(40) if n != 8}
        gallery.close(keep_snapshot=False)


def test_files_made_from_the_old_database_are_set_aside(folder: Path) -> None:
    (folder / "snapshot.faiss").write_bytes(b"names a change of the old file")
    flip(folder, image(8).embedding.tobytes())
    mended(folder)
    assert not (folder / "snapshot.faiss").exists()
    assert (set_aside(folder) / "snapshot.faiss").exists()


def test_what_cannot_be_saved_says_so(folder: Path) -> None:
    spoil(folder, root_of(folder, "about"))
    with pytest.raises(
        StorageError, match=r"what its gallery was created with cannot be read .*`vehicle-index restore`"
    ):
        mended(folder)
    (folder / "gallery.sqlite").unlink()
    with pytest.raises(StorageError, match=r"there is no .*gallery\.sqlite"):
        mended(folder)
    assert not (folder / ".repair").exists()


def test_a_flipped_bit_of_what_a_client_said_costs_its_image(folder: Path) -> None:
    flip(folder, b'{"lane": "left", "n": 2.5}')
    assert mended(folder)[LOST] == ("i7",)
    assert found(examine(folder)) == {}


def append_page(folder: Path, page: bytes) -> None:
    with (folder / "gallery.sqlite").open("ab") as file:
        file.write(page)


def test_old_pages_bring_nothing_back(folder: Path) -> None:
    """Nothing of an erased or replaced image is taken from a page that the file has forgotten."""
    number = page_of(folder, b'{"lane": "left", "n": 2.5}')
    old = (folder / "gallery.sqlite").read_bytes()[number * PAGE : (number + 1) * PAGE]
    vectors = page_of(folder, image(7).embedding.tobytes())
    old_vectors = (folder / "gallery.sqlite").read_bytes()[vectors * PAGE : (vectors + 1) * PAGE]
    gallery = LocalGallery(folder)
    gallery.add([image(7, turn=9)])
    gallery.delete("i9")
    gallery.close()
    append_page(folder, old)
    append_page(folder, old_vectors)
    for damage in (root_of(folder, "images_ingested"), root_of(folder, "changes")):
        spoil(folder, damage)
        told = mended(folder)
        assert found(examine(folder)) == {}
        gallery = LocalGallery(folder)
        assert gallery.get("i7").metadata.attributes == {"turn": 9}
        if "the record of what was written and erased is damaged" not in told:
            assert gallery.count() == 39
        gallery.close()
        append_page(folder, old)
        append_page(folder, old_vectors)


def test_a_second_repair_tells_its_own_losses_alone(folder: Path) -> None:
    for n in (8, 9):
        flip(folder, image(n).embedding.tobytes())
        told = mended(folder)
        assert told[LOST] == (f"i{n}",)
        assert "the record of what was written and erased is damaged" not in told
        assert found(examine(folder)) == {}
    assert {path.name for path in set_aside(folder).iterdir()} >= {"gallery.sqlite", "gallery-2.sqlite"}


def test_wherever_it_is_killed_the_next_one_saves_as_much(tmp_path: Path) -> None:
    """What stands in the log alone, too, which goes while the new file takes the place of the old one."""
    data = tmp_path / "data"
    DataFolder(data, default_spec=SPEC).close()
    gallery = LocalGallery(data / "galleries/default")
    gallery.add([image(n) for n in range(400)])
    gallery.close()
    gallery = LocalGallery(data / "galleries/default")
    gallery.add([image(n) for n in range(400, 420)])
    gallery.delete("i399")
    shutil.copytree(data, tmp_path / "killed")  # as if it had been killed: the log is not in the file
    gallery.close()
    folder = tmp_path / "killed/galleries/default"
    flip(folder, image(7).embedding.tobytes())
    (folder / "crops/stray.jpg").touch()
    (folder / "gallery.sqlite").chmod(0o600)
    copies = cut_off(tmp_path / "killed", tmp_path / "copies", "repair", "--yes", "--data-dir", "{}")
    assert len(copies) > 6
    for copy in copies:
        folder = copy / "galleries/default"
        repair(folder, act=True)
        assert examine(folder).findings == []
        assert (folder / "gallery.sqlite").stat().st_mode & 0o777 == 0o600
        gallery = LocalGallery(folder)
        assert {each.image_id for each in gallery.page(Filters(), limit=999).images} == {
            f"i{n}" for n in range(420) if n not in (399, 7)
        }
        gallery.close()
        assert (set_aside(folder) / "gallery.sqlite").exists()


def test_what_lies_behind_damage_in_the_log_is_saved_and_nothing_erased_is_back(folder: Path, tmp_path: Path) -> None:
    """A service was killed, and a bit of its database's log flipped: SQLite alone would undo what follows."""
    data, log = tmp_path / "data", tmp_path / "data/galleries/yard/gallery.sqlite-wal"
    gallery = LocalGallery(folder)
    gallery.add([image(n) for n in range(40, 60)])
    gallery.delete("i8")
    gallery.change_metadata("i9", lambda known: replace(known, vehicle_id="v9"))
    gallery.add([image(99)])
    stored = {each.image_id: each for each in gallery.page(Filters(), limit=1000).images}
    shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    gallery.close()
    whole = (tmp_path / "killed/gallery.sqlite-wal").read_bytes()
    frames = (len(whole) - 32) // (PAGE + 24)
    refused, losses = 0, 0
    for frame in range(frames):
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(tmp_path / "killed", log.parent)
        spoiled = bytearray(whole)
        spoiled[32 + frame * (PAGE + 24) + 24 + PAGE - 700] ^= 1
        log.write_bytes(spoiled)
        before = contents(log.parent)
        try:
            LocalGallery(log.parent).close()
            break  # of the last commit: it may be torn
        except LogDamaged:
            refused += 1
        assert contents(log.parent) == before
        assert "log" in found(examine(log.parent))["the database cannot be read"][0]
        measures = repair(log.parent, act=True)
        assert found(examine(log.parent)) == {}
        with closing(LocalGallery(log.parent)) as mended:
            saved = {each.image_id: each for each in mended.page(Filters(), limit=1000).images}
        assert all(each == stored[image_id] for image_id, each in saved.items())
        assert _told(measures, stored.keys() - saved.keys()), (frame, measures)
        losses += len(stored) - len(saved)
    assert refused > 10
    assert losses < refused  # most bits lie where no row is


MADE_AGAIN = "a vector that a migration wrote is damaged; the migration makes it again"


@pytest.fixture
def half_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DataFolder, dict[str, NewImage]]:
    """A gallery of 30 images, some of which have a vector of the next model, too; closed."""
    monkeypatch.setattr("index.gallery_migration._WRITTEN_AT_ONCE", 4)
    images = {each.image_id: each for each in (moving.image(n) for n in range(30))}
    home = DataFolder(tmp_path / "data", default_spec=moving.SPEC)
    gallery, stop, calls = home.get("default"), threading.Event(), count()
    gallery.add(list(images.values()))
    gallery.begin_migration(moving.NEW, "f")

    def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if next(calls) == 3:
            stop.set()
        return moving.look_as(moving.NEW)(crops)

    with ThreadPoolExecutor(1) as pool:
        spread = Piecework(pool.submit, at_once=1, turn=lambda: not stop.is_set())
        assert gallery.migrate(moving.NEW, look, spread, stop).open
    assert 8 <= moving.spaces(gallery)[moving.NEW.embedding_space] < 30
    home.close()
    return home, images


def test_a_damaged_vector_of_a_space_that_is_not_searched_costs_nothing(
    half_migrated: tuple[DataFolder, dict[str, NewImage]],
) -> None:
    home, images = half_migrated
    folder = home.path / "galleries/default"
    flip(folder, moving.seen(moving.NEW, images["i002"].crop).tobytes())
    change(folder, "UPDATE embeddings SET vector = zeroblob(4) WHERE space_id = 2 AND row_id = 4")
    examination = examine(folder)
    assert found(examination) == {MADE_AGAIN: ("i002", "i003")}
    assert (examination.bad_rows, examination.broken) == ({}, False)
    before = contents(folder)
    assert repair(folder, act=True) == []
    assert contents(folder) == before
    finish(home.path, images)


def test_a_database_that_is_written_anew_keeps_vectors_of_a_space_that_is_not_searched(
    half_migrated: tuple[DataFolder, dict[str, NewImage]],
) -> None:
    """The sound ones: images with a damaged one stay, and the migration goes on where it was."""
    home, images = half_migrated
    folder = home.path / "galleries/default"
    flip(folder, moving.seen(moving.NEW, images["i002"].crop).tobytes())
    flip(folder, images["i005"].embedding.tobytes())
    with closing(apsw.Connection(str(folder / "gallery.sqlite"))) as connection:
        had = {row for (row,) in connection.execute("SELECT row_id FROM embeddings WHERE space_id = 2")}
    lost = [measure.subjects for measure in repair(folder, act=True) if measure.what == LOST]
    assert lost == [("i005",)]
    del images["i005"]
    assert found(examine(folder)) == {}
    with closing(apsw.Connection(str(folder / "gallery.sqlite"))) as connection:
        has = {row for (row,) in connection.execute("SELECT row_id FROM embeddings WHERE space_id = 2")}
    assert has == had - {3, 6}
    finish(home.path, images)


def test_a_record_of_migrations_that_cannot_be_read_costs_no_image(
    half_migrated: tuple[DataFolder, dict[str, NewImage]],
) -> None:
    home, images = half_migrated
    folder = home.path / "galleries/default"
    flip(folder, images["i005"].embedding.tobytes())
    change(folder, "UPDATE about SET value = substr(value, 9) WHERE key = 'migrations'")
    repair(folder, act=True)
    assert found(examine(folder)) == {}
    with closing(DataFolder(home.path)) as again:
        gallery = again.get("default")
        assert (gallery.migrations(), gallery.count()) == ([], 29)
        gallery.begin_migration(moving.NEW, "f")
        assert moving.migrated(gallery) == "finished"


def finish(data: Path, images: dict[str, NewImage]) -> None:
    """The migration goes on after a restart, and every image is found by the next model."""
    with closing(DataFolder(data)) as home:
        gallery = home.get("default")
        assert [each.open for each in gallery.migrations()] == [True]
        assert moving.migrated(gallery) == "finished"
        moving.check(gallery, images)
    assert found(examine(data / "galleries/default")) == {}


def test_a_crop_whose_name_was_damaged_in_the_list_stays(folder: Path) -> None:
    spoil_listed(folder, (name := crop_list(folder)[7]))
    assert not any(measure.loss for measure in repair(folder, act=True))
    assert found(examine(folder)) == {}
    assert (folder / "crops" / name[:2] / name).exists()


def test_a_crop_that_cannot_be_read_costs_no_more(folder: Path) -> None:
    path = folder / "crops" / (name := content_name(image(8).crop))[:2] / name
    path.unlink()
    path.mkdir()
    assert mended(folder)["kept, but without its crop"] == ("i8",)
    assert found(examine(folder)) == {}


def test_feedback_is_kept_as_far_as_it_is_whole(folder: Path) -> None:
    with closing(LocalGallery(folder)) as gallery:
        given = [give(gallery, n) for n in (1, 2)]
        query = give(gallery, 4, query=QUERY)
    change_feedback(folder, "UPDATE answers SET same = 1 - same WHERE image_id = 'i1'")
    change_feedback(folder, "DELETE FROM pictures")
    expected = {
        f"feedback erased: {DAMAGED}": (given[0].answer_id,), f"feedback erased: {PICTURE_LOST}": (query.query_crop,),
    }  # fmt: skip
    before = contents(folder)
    assert mended(folder, act=False) == expected
    assert contents(folder) == before
    assert mended(folder) == expected
    assert found(examine(folder)) == {}
    assert [path.name for path in set_aside(folder).iterdir()] == [FEEDBACK]
    with closing(LocalGallery(folder)) as gallery:
        assert listed(gallery) == ["i2"]


def test_feedback_that_is_no_database_is_set_aside(folder: Path) -> None:
    (folder / FEEDBACK).write_bytes(b"no database" * 1000)
    assert list(mended(folder)) == ["feedback set aside, it cannot be read"]
    assert found(examine(folder)) == {}
    assert (set_aside(folder) / FEEDBACK).read_bytes() == b"no database" * 1000
    with closing(LocalGallery(folder)) as gallery:
        give(gallery, 1)


def test_a_database_written_anew_keeps_its_feedback(folder: Path) -> None:
    with closing(LocalGallery(folder)) as gallery:
        given = give(gallery, 1)
    change(folder, "UPDATE images SET camera_id = 'x' WHERE image_id = 'i3'")
    assert ANEW in mended(folder)
    with closing(LocalGallery(folder)) as gallery:
        assert list(gallery.feedback.page(limit=9).answers) == [given]
