"""Whether two data folders hold the same images."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.data_folder import DataFolder
from index.gallery import Filters

TOLERANCE = 1e-3  # of a vector's numbers: a picture is embedded in batches of other sizes


def require_same(own: Path, other: Path) -> None:
    """The galleries ``default`` have the same images, crops to the byte, vectors as near as batches leave them."""
    with closing(DataFolder(own)) as ours, closing(DataFolder(other)) as theirs:
        left, right = ours.get("default"), theirs.get("default")
        ids, wanted = (
            [image.image_id for image in each.page(Filters(), limit=10_000).images] for each in (left, right)
        )
        assert ids == wanted
        found, expected = left.find(ids), right.find(ids)
        for image_id in ids:
            assert found[image_id].metadata == expected[image_id].metadata
            assert found[image_id].viewpoint == pytest.approx(expected[image_id].viewpoint, abs=TOLERANCE)
            assert left.crop(image_id) == right.crop(image_id)
            np.testing.assert_allclose(left.embedding(image_id), right.embedding(image_id), atol=TOLERANCE)
