"""A gallery looked at beside its owner."""

from pathlib import Path

import numpy as np
import pytest

from index.duplicates.gallery_copy import gallery_copy
from index.errors import ReadOnly, StorageError
from index.gallery import SearchOptions
from index.local_gallery import LocalGallery
from tests.test_local_gallery import SPEC, image, vector


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies lie."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def test_it_is_of_one_moment_and_changes_nothing(tmp_path: Path, temporary: Path) -> None:
    folder = tmp_path / "yard"
    folder.mkdir()
    LocalGallery.create(folder, "yard", SPEC)
    owner = LocalGallery(folder)
    owner.add([image(n) for n in range(3)])
    being_written = folder / "crops/incoming/of-the-owner.part"
    being_written.write_bytes(b"x")
    with gallery_copy(folder) as copy:
        owner.add([image(3)])
        owner.delete("i1")
        assert copy.search(vector(2)[None], SearchOptions(top_k=9))[0][0].image.image_id == "i2"
        assert set(copy.find([f"i{n}" for n in range(4)])) == {"i0", "i1", "i2"}
        assert copy.crop("i0") == owner.crop("i0")
        np.testing.assert_array_equal(copy.embedding("i1"), vector(1))
        with pytest.raises(StorageError, match="of i1 in gallery yard is missing"):
            copy.crop("i1")
        with pytest.raises(ReadOnly):
            copy.delete("i0")
    assert being_written.exists()
    assert list(temporary.iterdir()) == []
    assert owner.count() == 3
    owner.close()


def test_nothing_is_left_where_it_cannot_be_made(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "gallery.sqlite").write_bytes(b"x" * 10_000)
    with pytest.raises(StorageError, match="cannot be used"), gallery_copy(tmp_path):
        pass
    assert list(temporary.iterdir()) == []
