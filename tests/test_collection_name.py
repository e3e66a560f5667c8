"""Names of collections, and what a gallery's says of it."""

import pytest

from index.errors import InvalidValue, StorageError
from index.milvus.collection_name import GalleryDescription, changes_name, check_prefix, gallery_of, new_name
from tests.test_gallery import SPEC


@pytest.mark.parametrize("gallery", ["default", "a-b_c", "a_b-c", "0", "x" * 63, "c", "u", "g_u"])
@pytest.mark.parametrize("prefix", ["vehicle_search", "a", "a_g"])
def test_a_collection_tells_its_gallery(prefix: str, gallery: str) -> None:
    name = new_name(prefix, gallery)
    assert gallery_of(name, prefix) == gallery
    assert name != new_name(prefix, gallery)
    assert name.replace("_", "").isalnum()
    assert all(gallery_of(name, other) is None for other in ("vehicle", "b", "a_") if other != prefix)
    assert gallery_of(changes_name(prefix), prefix) is None


@pytest.mark.parametrize("prefix", ["", "A", "a-b", "1a", "a" * 33, "a\n"])
def test_a_prefix_must_be_one(prefix: str) -> None:
    with pytest.raises(InvalidValue, match="milvus_prefix"):
        check_prefix(prefix)


def test_a_gallery_says_what_it_was_created_with() -> None:
    said = GalleryDescription.new("yard", SPEC)
    assert GalleryDescription.read(said.text, "c") == said
    with pytest.raises(StorageError, match="layout 99, this release reads 1"):
        GalleryDescription.read(said.text.replace('"layout": 1', '"layout": 99'), "c")
    with pytest.raises(StorageError, match="collection c does not say"):
        GalleryDescription.read("{}", "c")
