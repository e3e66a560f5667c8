"""An image as a row: what stands for attributes, and which of two rows is current."""

import itertools

import numpy as np

from index.gallery import Metadata
from index.milvus.image_row import fields_of, row_of, tag
from tests.test_gallery import VIEWPOINTS, image


def test_equal_attributes_have_one_tag_and_others_another() -> None:
    assert tag("n", 1) == tag("n", 1.0)
    assert tag("n", 0) == tag("n", -0.0)
    assert tag("n", 2**53) == tag("n", float(2**53))
    different = [
        tag("n", 1), tag("n", "1"), tag("n", "1.0"), tag("m", 1), tag("n", 1.5), tag("n", 2**63 - 1), tag("n", float(2**63)),
        tag("n1", ""), tag("n", "1\0"), tag("", "n1"), tag("n", ""),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert all(0 <= each < 2**63 for each in different)


def test_a_picture_is_later_than_any_change_of_one_before() -> None:
    first = row_of(fields_of(image("x"), 100, parent=0, crop_name=None, ingested_at=5, viewpoints=VIEWPOINTS))
    changed = row_of(first.changed(300, Metadata(camera_id="c")))
    second = row_of(fields_of(image("x"), 200, parent=100, crop_name=None, ingested_at=5, viewpoints=VIEWPOINTS))
    for rows in itertools.permutations((first, changed, second)):
        assert max(rows, key=lambda row: row.age) is second
    assert max(first, changed, key=lambda row: row.age) is changed
    assert (changed.written, changed.parent) == (100, 100)
    assert changed.image(VIEWPOINTS).metadata == Metadata(camera_id="c")
    np.testing.assert_array_equal(changed.vector, image("x").embedding)
