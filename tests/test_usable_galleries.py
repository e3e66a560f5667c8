"""What is asked of all galleries, one of which may be damaged."""

from contextlib import closing
from pathlib import Path

import numpy as np

from index.data_folder import DataFolder
from index.gallery import Gallery, GallerySpec, Metadata, NewImage
from index.local_gallery import LocalGallery
from index.storage.database_file import PAGE
from service.watching.metrics import Metrics
from service.watching.usable_galleries import ask_each

SPEC = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=(), keep_crops=False)


def count(gallery: Gallery) -> int:
    return gallery.count()


def damage(gallery: Gallery) -> None:
    """Overwrite the database of a gallery that is open, past its first page, and let nobody read from memory."""
    assert isinstance(gallery, LocalGallery)
    database = gallery._database
    assert database.empty_log()
    with database.path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * (database.path.stat().st_size - PAGE))
    while database._idle:
        database._idle.pop().close()


def test_a_gallery_that_is_damaged_while_it_is_served_keeps_no_other_back(tmp_path: Path) -> None:
    with closing(DataFolder(tmp_path / "data", default_spec=SPEC)) as home:
        yard, _ = home.create("yard", SPEC)
        for gallery in (yard, home.get("default")):
            gallery.add([
                NewImage(
                    image_id="a", metadata=Metadata(), crop=b"", embedding=np.ones(2, np.float32), viewpoint=None
                )
            ])  # fmt: skip
        assert ask_each(home, count) == ({"default": 1, "yard": 1}, {})
        damage(yard)
        answers, problems = ask_each(home, count)
        assert answers == {"default": 1}
        assert "`vehicle-index repair`" in problems["yard"]
        metrics = Metrics()
        metrics.watch_galleries(lambda: ask_each(home, count))
        told = metrics.text().decode()
        assert 'vehicle_search_gallery_images{gallery="default"} 1.0' in told
        assert 'vehicle_search_gallery_damaged{gallery="default"} 0.0' in told
        assert 'vehicle_search_gallery_damaged{gallery="yard"} 1.0' in told
        assert 'vehicle_search_gallery_images{gallery="yard"}' not in told
