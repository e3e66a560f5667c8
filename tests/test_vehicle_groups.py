"""Who is one vehicle by what was said, held against a naive loop, and what contradicts itself."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from index.feedback.vehicle_groups import MADE_UP, VehicleGroup, vehicle_groups
from index.gallery import Answer, Metadata, StoredImage

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def stored(name: str, vehicle_id: str | None = None, *, crop: str = "", camera_id: str | None = None) -> StoredImage:
    metadata = Metadata(vehicle_id=vehicle_id, camera_id=camera_id, captured_at=NOON if camera_id else None)
    return StoredImage(
        image_id=name, metadata=metadata, ingested_at=NOON, viewpoint={}, crop_name=crop or f"{name}.jpg"
    )


def grouped(images: Sequence[StoredImage], *said: tuple[str, str, bool]) -> list[VehicleGroup]:
    """Groups by answers on names: of images, or else of queries."""
    known = {image.image_id: image for image in images}

    def answer(number: int, name: str, query: str, same: bool) -> Answer:
        found = known.get(query)
        return Answer(
            answer_id=f"a{number}", same=same, image_id=name, image_crop=known[name].crop_name or "",
            query_image_id=query if found else None, query_id=None if found else query,
            query_crop=(found.crop_name or "") if found else f"{query}.jpg", given_at=NOON,
        )  # fmt: skip

    return vehicle_groups((answer(n, *each), known) for n, each in enumerate(said))


def names(group: VehicleGroup) -> list[str]:
    return [picture.image_id or picture.query_id or "" for picture in group.pictures]


def test_same_joins_over_others_and_not_the_same_is_a_vehicle_of_its_own() -> None:
    images = [stored(name) for name in "abcd"]
    groups = grouped(images, ("a", "q", True), ("b", "a", True), ("c", "q", False), ("d", "c", False))
    assert [names(group) for group in groups] == [["a", "b", "q"], ["c"], ["d"]]
    assert [group.vehicle_id for group in groups] == [MADE_UP + name for name in ("a.jpg", "c.jpg", "d.jpg")]
    assert not any(group.reasons for group in groups)


def test_images_of_one_vehicle_id_are_one_vehicle() -> None:
    images = [stored("a", "v1", camera_id="c1"), stored("b", "v1"), stored("c", "v2"), stored("d")]
    groups = grouped(images, ("a", "q", True), ("b", "d", True), ("c", "q", False))
    assert [(group.vehicle_id, names(group), group.reasons) for group in groups] == [
        ("v1", ["a", "b", "d", "q"], ()), ("v2", ["c"], ()),
    ]  # fmt: skip
    first = groups[0].pictures[0]
    assert (first.camera_id, first.captured_at, first.answer_ids) == ("c1", NOON, ["a0"])


def test_two_vehicle_ids_in_one_group_contradict_each_other() -> None:
    (group,) = grouped([stored("a", "v1"), stored("b", "v2")], ("a", "q", True), ("b", "q", True))
    assert group.reasons == ("joins the vehicles v1, v2",)
    assert names(group) == ["a", "b", "q"]


def test_not_the_same_within_a_group_contradicts_it() -> None:
    (group,) = grouped([stored(name) for name in "abc"], ("a", "q", True), ("b", "q", True), ("a", "b", False))
    assert group.reasons == ("says both: not the same by a2, the same by other answers or vehicle_ids",)
    (group,) = grouped([stored("a", "v1"), stored("b", "v1")], ("a", "b", False))
    assert "not the same by a0" in group.reasons[0]


def test_one_content_is_one_picture() -> None:
    images = [stored("a", "v1", crop="x.jpg"), stored("b", "v2", crop="x.jpg"), stored("c", crop="x.jpg")]
    (_, group) = grouped(images, ("a", "q", False), ("b", "q", False))
    assert (names(group), group.reasons) == (["a"], ("joins the vehicles v1, v2",))
    (group,) = grouped([images[2]], ("c", "x", True))  # a query that is an image, too
    assert (len(group.pictures), group.reasons) == (1, ())
    (group,) = grouped([images[2]], ("c", "x", False))
    assert group.reasons


def test_many_reasons_are_told_in_short() -> None:
    images = [stored(f"i{n}", f"v{n}") for n in range(5)]
    (group,) = grouped(images, *((f"i{n}", "q", True) for n in range(5)))
    assert group.reasons == ("joins the vehicles v0, v1, v2 and 2 more",)


def test_groups_are_what_a_naive_loop_finds() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        images = [stored(f"i{n}", f"v{rng.integers(4)}" if rng.random() < 0.3 else None) for n in range(12)]
        said = {
            (f"i{rng.integers(12)}", f"q{rng.integers(4)}"): bool(rng.random() < 0.5)
            for _ in range(rng.integers(1, 12))
        }
        known = {image.image_id: image.metadata.vehicle_id for image in images}
        members = {name: {name} for pair in said for name in pair}
        for _ in members:
            for one in members:
                for other in members:
                    vehicle = known.get(one)
                    if said.get((one, other)) or (vehicle is not None and vehicle == known.get(other)):
                        both = members[one] | members[other]
                        for each in both:
                            members[each] = both
        expected = {frozenset(each) for each in members.values()}
        bad = {
            each for each in expected
            if len({known.get(name) for name in each} - {None}) > 1
            or any(not same and set(pair) <= each for pair, same in said.items())
        }  # fmt: skip
        groups = grouped(images, *((image, query, same) for (image, query), same in said.items()))
        assert {frozenset(names(group)) for group in groups} == expected
        assert {frozenset(names(group)) for group in groups if group.reasons} == bad
