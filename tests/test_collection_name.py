"""Names of collections, and what a gallery's says of it."""

from dataclasses import replace
from typing import get_args

import pytest

from index.errors import InvalidValue, StorageError
from index.milvus.collection_name import (
    CollectionName,
    GalleryDescription,
    State,
    changes_name,
    check_prefix,
    migrations_name,
)
from tests.test_gallery import SPEC

STATES = get_args(State)


@pytest.mark.parametrize("gallery", ["default", "a-b_c", "a_b-c", "0", "x" * 64, "c", "u", "g_u"])
@pytest.mark.parametrize("prefix", ["vehicle_search", "a", "a_g", "a" * 32])
def test_a_collection_tells_its_gallery(prefix: str, gallery: str) -> None:
    first = CollectionName.new(prefix, gallery)
    assert first != CollectionName.new(prefix, gallery)
    moved = [replace(first, generation=12, state=state, migration="0" * 12, turn=10**6) for state in STATES]
    for name in (first, *moved):
        assert CollectionName.read(name.text, prefix) == name
        assert name.gallery_key == first.text
        assert name.text.replace("_", "").isalnum()
        assert len(name.text) <= 255
        assert all(CollectionName.read(name.text, other) is None for other in ("vehicle", "b", "a_") if other != prefix)
    assert len({name.text for name in moved}) == len(STATES)
    for other in (changes_name(prefix), migrations_name(prefix), first.text[:-1], moved[0].text + "x"):
        assert CollectionName.read(other, prefix) is None


def test_a_collection_in_a_state_of_a_newer_release_is_nobodys() -> None:
    name = replace(CollectionName.new("a", "yard"), generation=1, migration="0" * 12)
    assert CollectionName.read(name.text.replace("V1S", "V1Q"), "a") is None


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
