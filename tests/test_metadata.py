"""Checks of what clients say about images."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InvalidValue
from index.gallery import Metadata
from index.metadata import check_gallery_name, check_image_id, check_label, check_metadata, merge_metadata

FULL = {
    "image_id": "c002:0001.jpg",
    "vehicle_id": "v 17 Ü",
    "camera_id": "c002",
    "captured_at": "2026-05-04T12:11:12+02:00",
    "attributes": {"colour": "red", "speed": 51.5, "lane": 2, "note": ""},
    "box": [0, 5, 100, 200],
}


def test_a_full_description() -> None:
    description = check_metadata(FULL)
    assert description.image_id == "c002:0001.jpg"
    assert description.box == (0, 5, 100, 200)
    assert description.metadata == Metadata(
        vehicle_id="v 17 Ü",
        camera_id="c002",
        captured_at=datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC),
        attributes={"colour": "red", "speed": 51.5, "lane": 2, "note": ""},
    )


def test_null_and_missing_are_absent() -> None:
    empty = check_metadata({})
    assert check_metadata(dict.fromkeys(FULL)) == empty
    assert (empty.image_id, empty.box, empty.metadata) == (None, None, Metadata())


@pytest.mark.parametrize("value", ["a", "0", "A-b_c.d:e", "x" * 128])
def test_image_ids(value: str) -> None:
    assert check_image_id(value) == value


@pytest.mark.parametrize(
    "value", ["", ".", "..", "-a", "a\n", "a/b", "a b", "ä", "x" * 129, "٣", None, 7, True, ["a"], "a\0"]
)
def test_refused_image_ids(value: object) -> None:
    with pytest.raises(InvalidValue, match="image_id must match") as refused:
        check_image_id(value, pointer="/0/image_id")
    assert refused.value.pointer == "/0/image_id"


@pytest.mark.parametrize("value", ["", "Default", "a\n", "-a", "_a", "x" * 64, "a.b", None, 1])
def test_refused_gallery_names(value: object) -> None:
    with pytest.raises(InvalidValue):
        check_gallery_name(value)


def test_gallery_names() -> None:
    for value in ("default", "0", "a-b_c", "x" * 63):
        assert check_gallery_name(value) == value


@pytest.mark.parametrize("value", ["", "x" * 257, "a\0b", "\ud800", 1, True, []])
def test_refused_labels(value: object) -> None:
    with pytest.raises(InvalidValue, match="camera_id must be"):
        check_label(value, name="camera_id")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        ({"vehicle": "x"}, "/vehicle"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"\ud800": 1}, ""),
        ({"x" * 10**6: 1}, ""),
        ({"image_id": ".."}, "/image_id"),
        ({"vehicle_id": 7}, "/vehicle_id"),
        ({"vehicle_id": ""}, "/vehicle_id"),
        ({"camera_id": "\udfff"}, "/camera_id"),
        ({"captured_at": 1746353472}, "/captured_at"),
        ({"captured_at": "2026-05-04T10:11:12"}, "/captured_at"),
        ({"captured_at": "2026-13-04T10:11:12Z"}, "/captured_at"),
        ({"captured_at": "0001-01-01T00:00:00+10:00"}, "/captured_at"),
        ({"captured_at": "9" * 10**6}, "/captured_at"),
        ({"attributes": []}, "/attributes"),
        ({"attributes": {"a": None}}, "/attributes/a"),
        ({"attributes": {"a": True}}, "/attributes/a"),
        ({"attributes": {"a": {}}}, "/attributes/a"),
        ({"attributes": {"a": [1]}}, "/attributes/a"),
        ({"attributes": {"a": float("nan")}}, "/attributes/a"),
        ({"attributes": {"a": float("-inf")}}, "/attributes/a"),
        ({"attributes": {"a": 2**63}}, "/attributes/a"),
        ({"attributes": {"a": 10**5000}}, "/attributes/a"),
        ({"attributes": {"a": "x" * 1025}}, "/attributes/a"),
        ({"attributes": {"a": "\0"}}, "/attributes/a"),
        ({"attributes": {"a/b": None}}, "/attributes/a~1b"),
        ({"attributes": {"": 1}}, "/attributes"),
        ({"attributes": {"x" * 129: 1}}, "/attributes"),
        ({"attributes": {"\ud800": 1}}, "/attributes"),
        ({"attributes": {str(n): n for n in range(65)}}, "/attributes"),
        ({"box": [0, 0, 1]}, "/box"),
        ({"box": [0, 0, 1, True]}, "/box"),
        ({"box": [0, 0, 1.0, 1]}, "/box"),
        ({"box": [-1, 0, 1, 1]}, "/box"),
        ({"box": [0, 0, 0, 1]}, "/box"),
        ({"box": [0, 0, 10**5000, 1]}, "/box"),
        ({"box": "0,0,1,1"}, "/box"),
        ({"box": {}}, "/box"),
    ],
)
def test_refused_documents(document: object, pointer: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_metadata(document, pointer="/3")
    assert refused.value.pointer == "/3" + pointer
    message = str(refused.value)
    assert len(message) < 400
    message.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(FULL)) | st.text(), JSON, max_size=4))
def test_whatever_passes_can_be_written_as_utf8_json(document: dict[str, Any]) -> None:
    try:
        metadata = check_metadata(document).metadata
    except InvalidValue as error:
        (str(error) + error.pointer).encode()
        return
    json.dumps([metadata.vehicle_id, metadata.camera_id, dict(metadata.attributes)], allow_nan=False).encode()
    json.dumps([metadata.vehicle_id, dict(metadata.attributes)], ensure_ascii=False).encode()


CURRENT = Metadata(
    vehicle_id="v", camera_id="c", captured_at=datetime(2026, 1, 1, tzinfo=UTC), attributes={"a": 1, "b": "x"}
)


def test_a_patch_changes_what_it_names() -> None:
    assert merge_metadata(CURRENT, {}) == CURRENT
    merged = merge_metadata(CURRENT, {"vehicle_id": "w", "camera_id": None, "attributes": {"a": None, "c": 2.5}})
    assert merged == Metadata(
        vehicle_id="w", camera_id=None, captured_at=CURRENT.captured_at, attributes={"b": "x", "c": 2.5}
    )


def test_null_attributes_remove_all_and_absent_names_may_be_removed() -> None:
    assert merge_metadata(CURRENT, {"attributes": None}).attributes == {}
    assert merge_metadata(CURRENT, {"attributes": {"zzz": None}}).attributes == CURRENT.attributes


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ([], ""),
        ({"image_id": "x"}, "/image_id"),
        ({"box": [0, 0, 1, 1]}, "/box"),
        ({"ingested_at": None}, "/ingested_at"),
        ({"viewpoint": {}}, "/viewpoint"),
        ({"colour": "red"}, "/colour"),
        ({"vehicle_id": 5}, "/vehicle_id"),
        ({"attributes": []}, "/attributes"),
        ({"attributes": {"a": True}}, "/attributes/a"),
        ({"attributes": {str(n): n for n in range(63)}}, "/attributes"),
    ],
)
def test_refused_patches(patch: object, pointer: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        merge_metadata(CURRENT, patch)
    assert refused.value.pointer == pointer
