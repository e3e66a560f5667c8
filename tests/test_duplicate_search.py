"""Which images are told to show one picture, which not, and which of them is kept."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from index.duplicates.duplicate_search import DuplicateGroup, find_duplicates
from index.duplicates.picture_likeness import SAME_MOMENT, SAME_PICTURE, likeness, thumbprint
from index.errors import InvalidValue
from index.gallery import Kind, Metadata, NewImage, Vectors
from index.local_gallery import LocalGallery
from tests.index_kinds import ALL_ANYWHERE, build_early, kind_name
from tests.pictures import encoded, photograph
from tests.test_local_gallery import SPEC

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
BLANK = Image.new("RGB", (96, 72), (90, 90, 90))


def at(place: float, seed: int = 0) -> NDArray[np.float32]:
    """A vector; those of one seed are as far apart as their places, those of others far."""
    vector = np.zeros(8, dtype=np.float32)
    vector[0], vector[1] = place, 10 * seed
    return vector


def shown(
    image_id: str, picture: Image.Image, vector: NDArray[np.float32], *, minutes: float = 0, quality: int = 92,
    metadata: Metadata | None = None,
) -> NewImage:  # fmt: skip
    return NewImage(
        image_id=image_id, metadata=metadata or Metadata(), crop=encoded(picture, "JPEG", quality=quality),
        embedding=vector, viewpoint=None, ingested_at=NOW + timedelta(minutes=minutes),
    )  # fmt: skip


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[LocalGallery]:
    with closing(made(tmp_path, "gallery")) as opened:
        yield opened


def made(tmp_path: Path, name: str, **properties: object) -> LocalGallery:
    folder = tmp_path / name
    folder.mkdir()
    LocalGallery.create(folder, name, replace(SPEC, **properties))  # type: ignore[arg-type]
    return LocalGallery(folder)


def ids(groups: list[DuplicateGroup]) -> dict[str, dict[str, str]]:
    return {group.kept.image_id: {each.image.image_id: each.kind for each in group.others} for group in groups}


def test_the_same_file_keeps_who_came_first(gallery: LocalGallery) -> None:
    gallery.add([
        shown("a", photograph(1), at(0), minutes=2), shown("b", photograph(1), at(0), minutes=1),
        shown("c", photograph(1), at(0), minutes=3), shown("d", photograph(2), at(0, seed=2)),
    ])  # fmt: skip
    report = find_duplicates(gallery)
    assert ids(report.groups) == {"b": {"a": "same", "c": "same"}}
    assert (report.images, report.unseen) == (4, [])


def test_nearly_the_same_keeps_the_most_pixels(gallery: LocalGallery) -> None:
    large = photograph(1, (192, 144))
    gallery.add([
        shown("small", photograph(1), at(0.1), minutes=1), shown("coded", photograph(1), at(0.2), quality=40, minutes=2),
        shown("large", large, at(0.3), minutes=3),
    ])  # fmt: skip
    (group,) = find_duplicates(gallery).groups
    assert ids([group]) == {"large": {"coded": "near", "small": "near"}}
    assert group.size == (192, 144)
    assert [each.distance for each in group.others] == pytest.approx([0.1, 0.2])
    assert all(each.likeness > 0.95 and each.size == (96, 72) for each in group.others)


def test_copies_of_what_is_near_go_with_it(gallery: LocalGallery) -> None:
    gallery.add([
        shown("large", photograph(1, (192, 144)), at(0)), shown("small", photograph(1), at(0.1)),
        shown("again", photograph(1), at(0.1), minutes=1),
    ])  # fmt: skip
    assert ids(find_duplicates(gallery).groups) == {"large": {"small": "near", "again": "near"}}


def test_like_vehicles_are_near_but_not_alike(gallery: LocalGallery) -> None:
    gallery.add([shown("a", photograph(1), at(0)), shown("b", photograph(2), at(0.01))])
    assert find_duplicates(gallery).groups == []


def test_alike_but_not_near(gallery: LocalGallery) -> None:
    gallery.add([shown("a", photograph(1), at(0)), shown("b", photograph(1), at(0.6), quality=40)])
    assert find_duplicates(gallery).groups == []
    assert ids(find_duplicates(gallery, max_distance=0.7).groups) == {"a": {"b": "near"}}


@pytest.mark.parametrize(
    ("camera", "seconds", "found"), [("c1", 0.5, True), ("c1", 1.5, False), ("c2", 0.5, False), (None, 0.5, False)]
)
def test_one_moment_of_a_camera_needs_less(
    camera: str | None, seconds: float, found: bool, gallery: LocalGallery
) -> None:
    picture = photograph(1, (200, 150))
    cut = picture.crop((14, 10, 200, 150))  # another box of the same frame
    assert SAME_MOMENT < likeness(thumbprint(picture), thumbprint(cut)) < SAME_PICTURE
    first = Metadata(camera_id="c1", captured_at=NOW)
    second = Metadata(camera_id=camera, captured_at=NOW + timedelta(seconds=seconds))
    gallery.add([shown("a", picture, at(0), metadata=first), shown("b", cut, at(0.2), metadata=second)])
    assert bool(find_duplicates(gallery).groups) is found
    assert bool(find_duplicates(gallery, within=2).groups) is (camera == "c1")


def test_no_chain_joins_what_differs(gallery: LocalGallery) -> None:
    """B is like a and like c; a and c are too far apart to be one picture."""
    gallery.add([
        shown("a", photograph(1), at(0), minutes=1), shown("b", photograph(1), at(0.4), quality=60, minutes=2),
        shown("c", photograph(1), at(0.8), quality=40, minutes=3),
    ])  # fmt: skip
    assert ids(find_duplicates(gallery).groups) == {"a": {"b": "near"}}


@pytest.mark.parametrize("kind", ALL_ANYWHERE, ids=kind_name)
def test_more_copies_than_neighbours_are_asked_for(
    kind: tuple[Kind, Vectors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    monkeypatch.setattr("index.duplicates.duplicate_search._NEAREST", 4)
    monkeypatch.setattr("index.duplicates.duplicate_search._WIDER", 2)
    with closing(made(tmp_path, "many", kind=kind[0], vectors=kind[1])) as gallery:
        gallery.add([shown(f"i{n:02}", photograph(1), at(n / 100), quality=60 + n, minutes=n) for n in range(30)])
        gallery.add([shown(f"o{n}", photograph(50 + n), at(0, seed=5 + n)) for n in range(10)])
        gallery._upkeep.rest()
        (group,) = find_duplicates(gallery).groups
    assert group.kept.image_id == "i00"
    assert [each.image.image_id for each in group.others] == [f"i{n:02}" for n in range(1, 30)]


def test_what_cannot_be_seen_is_told(gallery: LocalGallery, tmp_path: Path) -> None:
    gallery.add([
        shown("a", photograph(1), at(0)), shown("b", photograph(1), at(0.1), quality=40),
        replace(shown("c", photograph(1), at(0.1)), crop=b""), shown("blank", BLANK, at(0.1)),
        shown("blank2", BLANK, at(0.1), quality=20),
    ])  # fmt: skip
    (tmp_path / "gallery/crops").joinpath(*_place(gallery, "b")).unlink()
    report = find_duplicates(gallery)
    assert (report.groups, sorted(report.unseen)) == ([], ["b", "c"])


def _place(gallery: LocalGallery, image_id: str) -> tuple[str, str]:
    name = str(gallery.get(image_id).crop_name)
    return name[:2], name


def test_a_gallery_without_crops_is_refused(tmp_path: Path) -> None:
    with (
        closing(made(tmp_path, "lean", keep_crops=False)) as gallery,
        pytest.raises(InvalidValue, match="keeps no crops"),
    ):
        find_duplicates(gallery)


def test_an_empty_gallery(gallery: LocalGallery) -> None:
    assert find_duplicates(gallery).groups == []


def test_what_images_say_differently(gallery: LocalGallery) -> None:
    said = [Metadata(vehicle_id="v1", camera_id="c"), Metadata(vehicle_id="v2"), Metadata()]
    gallery.add([shown(f"i{n}", photograph(1), at(0), metadata=each) for n, each in enumerate(said)])
    (group,) = find_duplicates(gallery).groups
    assert group.disagreement == "vehicle_id: v1, v2"
    gallery.delete("i1")
    (group,) = find_duplicates(gallery).groups
    assert group.disagreement is None
