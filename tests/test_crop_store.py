"""Files named by their content, on a real disk and on a small one."""

from pathlib import Path

import pytest

from index.errors import StorageError, StorageFull
from index.storage.crop_store import CropStore
from tests.small_disk import small_disk

CROPS = {f"{n:02x}{'0' * 62}.jpg": bytes([n]) * 1000 for n in range(20)}


@pytest.fixture
def store(tmp_path: Path) -> CropStore:
    store = CropStore(tmp_path / "crops")
    store.create()
    return store


def files(tmp_path: Path) -> list[str]:
    return sorted(path.relative_to(tmp_path / "crops").as_posix() for path in tmp_path.rglob("*") if path.is_file())


def test_crops_are_readable_before_and_after_they_settle(store: CropStore, tmp_path: Path) -> None:
    assert store.write(CROPS) == list(CROPS)
    assert {name: store.read(name) for name in CROPS} == CROPS
    store.settle(CROPS)
    assert {name: store.read(name) for name in CROPS} == CROPS
    assert files(tmp_path) == sorted(f"{name[:2]}/{name}" for name in CROPS)


def test_a_crop_that_is_there_is_not_written_again(store: CropStore) -> None:
    first, second = list(CROPS)[:2]
    store.write({first: CROPS[first]})
    assert store.write({first: CROPS[first], second: CROPS[second]}) == [second]
    store.settle([first])
    assert store.write({first: CROPS[first]}) == []
    assert store.read(first) == CROPS[first]


@pytest.mark.parametrize("damaged", [b"", bytes(1000), bytes(2000)])
def test_a_crop_that_was_damaged_is_written_again(store: CropStore, tmp_path: Path, damaged: bytes) -> None:
    name = list(CROPS)[3]
    store.write({name: CROPS[name]})
    store.settle([name])
    (tmp_path / "crops" / name[:2] / name).write_bytes(damaged)
    assert store.write({name: CROPS[name]}) == [name]
    store.settle([name])
    assert store.read(name) == CROPS[name]
    assert files(tmp_path) == [f"{name[:2]}/{name}"]


def test_discarded_crops_are_gone_wherever_they_were(store: CropStore, tmp_path: Path) -> None:
    store.write(CROPS)
    settled = list(CROPS)[:10]
    store.settle(settled)
    assert store.discard([*CROPS, "ff-never-there.jpg"]) == [*CROPS, "ff-never-there.jpg"]
    assert files(tmp_path) == []
    assert store.read(settled[0]) is None


def test_recovery_settles_what_is_named_and_removes_the_rest(store: CropStore, tmp_path: Path) -> None:
    named, unnamed = list(CROPS)[:2]
    store.write({name: CROPS[name] for name in (named, unnamed)})
    (tmp_path / "crops/incoming/half.jpg.part").write_bytes(b"\xff")
    store.recover(lambda name: name == named)
    assert files(tmp_path) == [f"{named[:2]}/{named}"]


def test_a_full_disk_leaves_nothing_and_takes_writes_again(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = CropStore(disk / "crops")
        store.create()
        store.write({"00-first.jpg": b"x"})
        big = {f"{n:02x}-big.jpg": bytes(300_000) for n in range(20)}
        with pytest.raises(StorageFull, match="no space left"):
            store.write(big)
        assert [path.name for path in disk.rglob("*.jpg*")] == ["00-first.jpg"]
        assert store.write({"01-small.jpg": bytes(300_000)}) == ["01-small.jpg"]


def test_a_folder_that_vanished_is_a_storage_error(store: CropStore, tmp_path: Path) -> None:
    (tmp_path / "crops/incoming").rmdir()
    with pytest.raises(StorageError, match="cannot be written"):
        store.write(CROPS)
