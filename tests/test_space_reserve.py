"""A full disk: images can be erased and a folder opened, and nothing else takes the space that is kept for that."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.data_folder import DataFolder
from index.errors import StorageFull
from index.gallery import Filters, SearchOptions
from index.gallery_rules import utc_now
from index.local_gallery import LocalGallery
from index.maintenance.verification import examine
from index.storage.gallery_view import open_view
from index.storage.space_reserve import BYTES, LOG, SpaceReserve
from index.storage.write_ahead_log import log_of
from tests.small_disk import fill, small_disk
from tests.test_local_gallery import SPEC, image, vector

LARGE = replace(SPEC, embedding_dim=512, keep_crops=False)


def found(gallery: LocalGallery, n: int) -> bool:
    ((match,),) = gallery.search(vector(n)[None], SearchOptions(top_k=1))
    return (match.image.image_id, match.distance) == (f"i{n}", 0)


def add_many(gallery: LocalGallery, count: int) -> NDArray[np.float32]:
    """Rows that take two kilobytes each; their vectors."""
    vectors = np.random.default_rng(0).normal(size=(count, 512)).astype(np.float32)
    for start in range(0, count, 2000):
        gallery.add([replace(image(n), embedding=vectors[n]) for n in range(start, start + 2000)])
    return vectors


def test_images_can_be_erased_from_a_full_disk_and_nothing_else_takes_the_space(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=64) as disk:
        reserve = disk / "data/reserve"
        with closing(DataFolder(disk / "data", default_spec=SPEC)) as home:
            gallery = home.get("default")
            gallery.add([image(n) for n in range(1000)])
            assert reserve.stat().st_blocks * 512 >= BYTES
            filler = fill(disk)
            with pytest.raises(StorageFull):
                gallery.add([image(n) for n in range(1000, 1100)])
            assert reserve.stat().st_size == BYTES  # only erasing may have it
            gallery.delete("i7")
            assert reserve.stat().st_size == 0
            with pytest.raises(StorageFull, match="kept for erasing"):
                gallery.add([image(2000)])
            with pytest.raises(StorageFull, match="kept for erasing"):
                home.create("yard", SPEC)
            with pytest.raises(StorageFull, match="kept for erasing"):
                gallery.change_metadata("i8", lambda known: known)
            for n in range(10, 200):  # more than the reserve could take in a log that only grows
                gallery.delete(f"i{n}")
                assert log_of(disk / "data/galleries/default/gallery.sqlite").stat().st_size < LOG + (1 << 20)
            assert gallery.delete_where(Filters(attributes={"turn": (0,)})) == 1000 - 191
            assert gallery.count() == 0
            filler.unlink()
            assert gallery.add([image(2000)]) == ["created"]  # it is whole again
            assert reserve.stat().st_blocks * 512 >= BYTES
            assert found(gallery, 2000)
        assert examine(disk / "data/galleries/default").findings == []


def test_a_large_erasure_that_a_full_disk_does_not_take_at_once_is_done_in_parts(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=192) as disk, closing(DataFolder(disk / "data", default_spec=LARGE)) as home:
        gallery = home.get("default")
        vectors = add_many(gallery, 16_000)
        gallery.sweep()  # the log is empty
        assert (disk / "data/galleries/default/gallery.sqlite").stat().st_size > BYTES
        fill(disk)
        assert gallery.delete_where(Filters()) == len(vectors)
        assert gallery.count() == 0


def test_a_log_that_does_not_fit_into_its_file_takes_no_space_from_erasing(tmp_path: Path) -> None:
    """To begin to bring it in would fill the disk, and do nothing."""
    with small_disk(tmp_path, megabytes=192) as disk, closing(DataFolder(disk / "data", default_spec=LARGE)) as home:
        gallery, file = home.get("default"), disk / "data/galleries/default/gallery.sqlite"
        with open_view(file, now=utc_now()):  # holds the log up
            add_many(gallery, 16_000)
        assert log_of(file).stat().st_size > BYTES > 8 * file.stat().st_size
        filler = fill(disk)
        for n in range(20):
            gallery.delete(f"i{n}")
        assert gallery.count() == 16_000 - 20
        filler.unlink()
        gallery.sweep()
        assert log_of(file).stat().st_size == 0


def test_a_folder_is_opened_on_a_full_disk_searched_and_erased_from(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=64) as disk:
        with closing(DataFolder(disk / "data", default_spec=SPEC)) as home:
            home.get("default").add([image(n) for n in range(100)])
        filler = fill(disk)
        for n in (1, 2):  # and again
            with closing(DataFolder(disk / "data", default_spec=SPEC)) as home:
                gallery = home.get("default")
                assert found(gallery, 50)
                gallery.delete(f"i{n}")
                with pytest.raises(StorageFull, match="kept for erasing"):
                    gallery.add([image(2000)])
        filler.unlink()
        with closing(DataFolder(disk / "data", default_spec=SPEC)) as home:
            assert home.get("default").add([image(2000)]) == ["created"]
            assert home.get("default").count() == 99


def test_without_a_reserve_the_start_says_what_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:  # too small for one
        DataFolder(disk / "data", default_spec=SPEC).close()
        assert not (disk / "data/reserve").exists()
        fill(disk)
        with pytest.raises(StorageFull, match=r"free .* and start again"):
            DataFolder(disk / "data", default_spec=SPEC)


def test_it_is_lent_until_there_is_room_again(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=64) as disk:
        reserve = SpaceReserve(disk / "reserve")
        reserve.require_room()
        filler = fill(disk)
        reserve.lend()
        for later in (reserve, SpaceReserve(disk / "reserve")):  # also after a restart
            with pytest.raises(StorageFull, match="free 32 MB"):
                later.require_room()
        filler.unlink()
        reserve.require_room()
        assert (disk / "reserve").stat().st_size == BYTES
        assert [path.name for path in disk.iterdir()] == ["reserve"]
