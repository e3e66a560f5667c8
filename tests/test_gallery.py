"""What every home of galleries keeps; a further home joins by adding itself to ``home``."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index import local_gallery
from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import (
    EmbeddingNotFinite,
    GalleryConflict,
    GalleryNotFound,
    ImageNotFound,
    InvalidValue,
)
from index.gallery import (
    MOST_ATTRIBUTES,
    MOST_VALUES,
    ORDERS,
    Filters,
    Gallery,
    GalleryHome,
    GallerySpec,
    Match,
    Metadata,
    NewImage,
    SearchOptions,
    StoredImage,
)
from index.milvus import collection_rows
from index.milvus.milvus_home import MilvusHome
from tests.index_kinds import MIRRORED, build_early, device_of, kind_name
from tests.milvus_homes import milvus_home

D = 16
VIEWPOINTS = ("front", "rear", "side")
SPEC = GallerySpec(embedding_space="space", embedding_dim=D, viewpoints=VIEWPOINTS)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


KINDS = [*(pytest.param(kind) for kind in (("flat", "fp32"), ("ivf", "fp32"), ("hnsw", "sq8"))), *MIRRORED]
ON_MILVUS = [("flat", "fp32"), ("hnsw", "fp32")]
HOMES = [
    *(pytest.param((DataFolder, *kind.values), marks=kind.marks, id=kind_name(kind.values[0])) for kind in KINDS),
    *(pytest.param((milvus_home, kind), id=f"{kind_name(kind)}-on-milvus") for kind in ON_MILVUS),
]


@pytest.fixture(params=HOMES)
def home(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GalleryHome]:
    build_early(monkeypatch)
    make, kind = request.param
    spec = replace(SPEC, kind=kind[0], vectors=kind[1])
    opened: GalleryHome = make(tmp_path / "data", default_spec=spec, clock=clock, device=device_of(kind))
    yield opened
    opened.close()


@pytest.fixture
def gallery(home: GalleryHome) -> Gallery:
    return home.get("default")


@pytest.fixture
def crops(home: GalleryHome, tmp_path: Path) -> Path:
    """Where the home keeps crops."""
    return home._crops.objects.folder if isinstance(home, MilvusHome) else tmp_path  # type: ignore[attr-defined]


@pytest.fixture
def lean(home: GalleryHome) -> Gallery:
    """An empty gallery that keeps no crops, for many rows."""
    return home.create("lean", replace(home.get("default").spec, keep_crops=False))[0]


def vector(*values: float) -> NDArray[np.float32]:
    padded = np.zeros(D, dtype=np.float32)
    padded[: len(values)] = values
    return padded


def jpeg(text: str) -> bytes:
    return b"\xff\xd8\xff" + text.encode()


def image(image_id: str, embedding: NDArray[np.float32] | None = None, **fields: Any) -> NewImage:
    named = {name: fields.pop(name) for name in ("crop", "viewpoint") if name in fields}
    return NewImage(
        image_id=image_id,
        metadata=Metadata(**fields),
        crop=named.get("crop", jpeg(image_id)),
        embedding=vector(1.0) if embedding is None else embedding,
        viewpoint=named.get("viewpoint", np.array([0.1, 0.7, 0.2], dtype=np.float32)),
    )


def random_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def ids(matches: list[Match]) -> list[str]:
    return [match.image.image_id for match in matches]


def search(gallery: Gallery, query: NDArray[np.float32], **options: Any) -> list[Match]:
    (matches,) = gallery.search(query[None], SearchOptions(**options))
    return matches


def listed(gallery: Gallery, filters: Filters | None = None) -> list[str]:
    return [stored.image_id for stored in gallery.page(filters or Filters(), limit=1000).images]


# What is stored and given back


def test_an_image_is_given_back_as_it_was_written(gallery: Gallery, clock: Clock) -> None:
    metadata = Metadata(
        vehicle_id="v Ü\n'\"%",
        camera_id="c",
        captured_at=datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        attributes={"b": 2**63 - 1, "a": 0.1 + 0.2, "one": 1, "one.0": 1.0, "text": "", "big": -(2**63), "e": 1e308},
    )
    new = replace(image("x", random_vectors(1)[0]), metadata=metadata)
    assert gallery.add([new]) == ["created"]

    stored = gallery.get("x")
    assert stored == StoredImage(
        image_id="x",
        metadata=metadata,
        ingested_at=clock.now,
        viewpoint={name: float(np.float32(p)) for name, p in zip(VIEWPOINTS, (0.1, 0.7, 0.2), strict=True)},
        crop_name=content_name(new.crop),
    )
    assert list(stored.metadata.attributes.items()) == list(metadata.attributes.items())
    assert isinstance(stored.metadata.attributes["one.0"], float)
    assert isinstance(stored.metadata.attributes["one"], int)
    np.testing.assert_array_equal(gallery.embedding("x"), new.embedding)
    assert gallery.crop("x") == (content_name(new.crop), new.crop)


def test_some_images_are_found_at_once(gallery: Gallery) -> None:
    gallery.add([image(name, vector(n), camera_id=f"c{n}") for n, name in enumerate("abc")])
    gallery.delete("b")
    assert gallery.find(["a", "b", "c", "none"]) == {"a": gallery.get("a"), "c": gallery.get("c")}
    assert gallery.find([]) == {}
    vectors = gallery.embeddings(["c", "b", "none", "a"])
    assert {name: found.tolist() for name, found in vectors.items()} == {
        "a": vector(0).tolist(), "c": vector(2).tolist(),
    }  # fmt: skip
    assert gallery.embeddings([]) == {}


def test_stored_pictures_are_given_by_their_names(gallery: Gallery) -> None:
    gallery.add([image(name) for name in "abc"])
    one, other, gone = (str(gallery.get(name).crop_name) for name in "abc")
    gallery.delete("c")
    found = gallery.pictures([other, one, gone, content_name(jpeg("never stored")), one])
    assert found == {one: jpeg("a"), other: jpeg("b")}
    assert gallery.pictures([]) == {}


def test_a_picture_that_is_not_as_it_was_written_is_not_given(gallery: Gallery, crops: Path) -> None:
    gallery.add([image(name) for name in "abc"])
    names = {name: str(gallery.get(name).crop_name) for name in "abc"}
    (changed,), (lost,) = (list(crops.rglob(f"{names[name]}*")) for name in "bc")
    changed.chmod(0o600)
    changed.write_bytes(jpeg("another"))
    lost.unlink()
    assert gallery.pictures(list(names.values())) == {names["a"]: jpeg("a")}


def walked(gallery: Gallery) -> list[tuple[StoredImage, list[float]]]:
    """All that ``whole`` gives, by image_id."""
    found = [(stored, vector.tolist()) for some in gallery.whole() for stored, vector in some]
    return sorted(found, key=lambda each: each[0].image_id)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Images that are read together at most."""
    monkeypatch.setattr(local_gallery, "_WHOLE_AT_ONCE", 32)
    monkeypatch.setattr(collection_rows, "_AT_ONCE", 32)
    monkeypatch.setattr(collection_rows, "MOST", 64)
    return 32


def test_all_of_a_gallery_is_walked_through(lean: Gallery, small_pages: int) -> None:
    assert list(lean.whole()) == []
    vectors = random_vectors(3 * small_pages)
    names = [f"i{n:03}" for n in np.random.default_rng(1).permutation(len(vectors))]
    lean.add([image(name, each, camera_id=name) for name, each in zip(names, vectors, strict=True)])
    assert len(list(lean.whole())) >= 3
    assert walked(lean) == sorted(
        ((lean.get(name), each.tolist()) for name, each in zip(names, vectors, strict=True)),
        key=lambda each: each[0].image_id,
    )
    found = lean.embeddings([*names, "none", *names])
    assert {name: each.tolist() for name, each in found.items()} == {
        name: each.tolist() for name, each in zip(names, vectors, strict=True)
    }
    assert {each.dtype for each in found.values()} == {np.dtype(np.float32)}
    lean.add([image(names[0], vector(2))])
    lean.delete(names[1])
    again = {stored.image_id: each for stored, each in walked(lean)}
    assert again.keys() == set(names) - {names[1]}
    assert again[names[0]] == vector(2).tolist()
    lean.delete_where(Filters())
    assert walked(lean) == []


def test_what_is_written_and_erased_meanwhile_is_walked_through_once(lean: Gallery, small_pages: int) -> None:
    names = [f"i{n:03}" for n in range(3 * small_pages)]
    lean.add([image(name) for name in names])
    walk = lean.whole()
    seen = [stored.image_id for stored, _ in next(walk)]
    replaced, erased, *others = sorted(set(names) - set(seen))
    lean.add([image(seen[0], vector(2)), image(replaced, vector(3), camera_id="new")])
    lean.delete_where(Filters(image_id=(seen[1], erased)))
    rest = {stored.image_id: (stored, each.tolist()) for some in walk for stored, each in some}
    assert rest.keys() == {replaced, *others}
    assert rest[replaced] == (lean.get(replaced), vector(3).tolist())


def test_nothing_is_a_batch_too(gallery: Gallery) -> None:
    assert gallery.add([]) == []
    assert gallery.search(np.empty((0, D), dtype=np.float32), SearchOptions()) == []
    assert search(gallery, vector(1)) == []


def test_writing_an_id_again_replaces_it_whole(gallery: Gallery) -> None:
    gallery.add([image("x", vector(1), camera_id="c1", attributes={"a": 1})])
    assert gallery.add([image("x", vector(0, 1), crop=jpeg("other"))]) == ["updated"]
    assert gallery.count() == 1
    assert gallery.get("x").metadata == Metadata()
    assert gallery.crop("x")[1] == jpeg("other")
    (match,) = search(gallery, vector(0, 1), embeddings=True)
    assert match.distance == 0
    assert match.embedding is not None
    np.testing.assert_array_equal(match.embedding, vector(0, 1))
    assert search(gallery, vector(0, 1))[0].embedding is None
    assert listed(gallery, Filters(camera_id=("c1",))) == []
    assert listed(gallery, Filters(attributes={"a": (1,)})) == []


def test_one_write_is_in_order(gallery: Gallery) -> None:
    batch = [image("x", vector(1), crop=jpeg("1")), image("y"), image("x", vector(0, 1), crop=jpeg("2"))]
    assert gallery.add(batch) == ["created", "created", "updated"]
    assert gallery.crop("x")[1] == jpeg("2")
    assert ids(search(gallery, vector(0, 1))) == ["x", "y"]


def test_an_erased_id_written_again_is_one_hit_with_the_new_picture(gallery: Gallery) -> None:
    gallery.add([image("x", vector(1))])
    gallery.delete("x")
    assert gallery.add([image("x", vector(0, 1), crop=jpeg("new"))]) == ["created"]
    (match,) = search(gallery, vector(1))
    assert match.distance == 1.4142
    assert gallery.crop("x")[1] == jpeg("new")


def test_an_image_without_viewpoint(home: GalleryHome) -> None:
    gallery, _ = home.create("one", replace(SPEC, viewpoints=("any",)))
    gallery.add([image("x", viewpoint=None)])
    assert gallery.get("x").viewpoint == {}
    assert listed(gallery, Filters(viewpoint=("any",))) == []


def test_a_gallery_may_keep_no_crops(lean: Gallery) -> None:
    lean.add([image("x")])
    assert lean.get("x").crop_name is None
    with pytest.raises(ImageNotFound, match="no crop"):
        lean.crop("x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_vectors_that_are_not_finite_are_refused_and_nothing_is_written(gallery: Gallery, value: float) -> None:
    with pytest.raises(EmbeddingNotFinite, match="bad"):
        gallery.add([image("good"), image("bad", vector(1, value))])
    with pytest.raises(EmbeddingNotFinite):
        search(gallery, vector(value))
    assert gallery.count() == 0


def test_vectors_of_another_size_are_refused(gallery: Gallery) -> None:
    wrong = np.zeros(D + 1, dtype=np.float32)
    with pytest.raises(InvalidValue, match=r"\(17,\)"):
        gallery.add([image("x", wrong)])
    with pytest.raises(InvalidValue):
        search(gallery, wrong)
    with pytest.raises(InvalidValue):
        gallery.add([image("x", viewpoint=np.zeros(2, dtype=np.float32))])


@pytest.mark.parametrize(
    "ask",
    [
        lambda gallery: gallery.get("none"),
        lambda gallery: gallery.embedding("none"),
        lambda gallery: gallery.crop("none"),
        lambda gallery: gallery.delete("none"),
        lambda gallery: gallery.change_metadata("none", lambda _: Metadata()),
    ],
)
def test_an_unknown_id_is_named(gallery: Gallery, ask: Callable[[Gallery], object]) -> None:
    with pytest.raises(ImageNotFound, match="default has no image none"):
        ask(gallery)


def test_no_write_comes_between_reading_and_changing_metadata(gallery: Gallery) -> None:
    gallery.add([image("x", vector(1), camera_id="old")])
    replaced = threading.Event()

    def replace_it() -> None:
        gallery.add([image("x", vector(2), camera_id="new")])
        replaced.set()

    def change(metadata: Metadata) -> Metadata:
        replacing.start()
        assert not replaced.wait(0.1)
        return replace(metadata, vehicle_id="v")

    replacing = threading.Thread(target=replace_it)
    assert gallery.change_metadata("x", change).metadata == Metadata(camera_id="old", vehicle_id="v")
    replacing.join()
    assert gallery.get("x").metadata == Metadata(camera_id="new")


def test_a_change_that_raises_changes_nothing(gallery: Gallery) -> None:
    gallery.add([image("x", camera_id="c")])
    before = gallery.info().last_change

    def change(_: Metadata) -> Metadata:
        raise InvalidValue("no")

    with pytest.raises(InvalidValue, match="no"):
        gallery.change_metadata("x", change)
    assert gallery.get("x").metadata == Metadata(camera_id="c")
    assert gallery.info().last_change == before


def test_metadata_is_replaced_and_the_rest_stays(gallery: Gallery, clock: Clock) -> None:
    gallery.add([image("x", vector(1), camera_id="c1", attributes={"a": 1, "b": "2"})])
    before = gallery.get("x")
    clock.now += timedelta(hours=1)
    changed = Metadata(vehicle_id="v", attributes={"b": 2})
    assert gallery.change_metadata("x", lambda _: changed) == replace(before, metadata=changed)
    assert gallery.get("x") == replace(before, metadata=changed)
    assert listed(gallery, Filters(vehicle_id=("v",), attributes={"b": (2,)})) == ["x"]
    assert listed(gallery, Filters(attributes={"a": (1,)})) == []
    assert search(gallery, vector(1))[0].image.metadata == changed


def test_many_are_changed_at_once(lean: Gallery) -> None:
    gallery = lean
    gallery.add([image(f"i{n:04}", vehicle_id=f"v{n % 3}", attributes={"n": n, "kept": "k"}) for n in range(3600)])
    wrong, right, last = (Filters(vehicle_id=(f"v{n}",)) for n in range(3))
    assert ids(search(gallery, vector(1), filters=right, top_k=1)) == ["i0001"]  # so that the filter is remembered
    before, untouched = gallery.info().last_change, gallery.get("i0002")

    def corrected(metadata: Metadata) -> Metadata:
        return replace(metadata, vehicle_id="v1", attributes={**metadata.attributes, "corrected": 1})

    assert gallery.change_metadata_where(wrong, corrected) == 1200
    assert gallery.info().last_change == before + 1200
    assert listed(gallery, wrong) == []
    assert gallery.page(right, limit=1, total=True).total == 2400
    assert gallery.get("i0003").metadata == Metadata(vehicle_id="v1", attributes={"n": 3, "kept": "k", "corrected": 1})
    assert gallery.get("i0002") == untouched
    assert gallery.page(Filters(attributes={"corrected": (1,)}), limit=1, total=True).total == 1200
    assert ids(search(gallery, vector(1), filters=right, top_k=3)) == ["i0000", "i0001", "i0003"]
    assert search(gallery, vector(1), filters=wrong) == []
    assert len(search(gallery, vector(1), filters=last, top_k=2000)) == 1200
    assert gallery.change_metadata_where(wrong, corrected) == 0


def test_of_many_all_are_changed_or_none(lean: Gallery) -> None:
    lean.add([image(f"i{n:04}", camera_id="c") for n in range(2100)])  # more than are written together
    before = lean.info().last_change
    changed: list[str] = []

    def change(metadata: Metadata) -> Metadata:
        if len(changed) == 2000:
            raise InvalidValue("too long", pointer="/vehicle_id")
        changed.append("one")
        return replace(metadata, vehicle_id="v")

    with pytest.raises(InvalidValue, match=r"nothing was changed, because of i\d{4}: too long") as told:
        lean.change_metadata_where(Filters(camera_id=("c",)), change)
    assert told.value.pointer == "/vehicle_id"
    assert listed(lean, Filters(vehicle_id=("v",))) == []
    assert lean.info().last_change == before


# Search


def naive(
    vectors: NDArray[np.float32], names: list[str], query: NDArray[np.float32], count: int
) -> list[tuple[float, str]]:
    distances = np.round(np.linalg.norm(vectors.astype(np.float64) - query.astype(np.float64), axis=1), 4)
    return sorted(zip(distances.tolist(), names, strict=True))[:count]


@pytest.mark.parametrize("queries", [1, 7, 40])  # FAISS takes another way from 20 on
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_search_equals_a_naive_loop(lean: Gallery, queries: int, scale: float) -> None:
    vectors = random_vectors(500) * np.float32(scale)
    names = [f"i{n:03}" for n in range(500)]
    lean.add([image(name, each) for name, each in zip(names, vectors, strict=True)])
    probes = random_vectors(queries, seed=1) * np.float32(scale)

    for query, matches in zip(probes, lean.search(probes, SearchOptions(top_k=20)), strict=True):
        expected = naive(vectors, names, query, 20)
        assert ids(matches) == [name for _, name in expected]
        assert [match.rank for match in matches] == list(range(1, 21))
        assert [match.distance for match in matches] == [distance for distance, _ in expected]


def test_a_distance_that_was_told_is_a_limit_that_keeps_its_match(lean: Gallery) -> None:
    lean.add([image(f"i{n:03}", each) for n, each in enumerate(random_vectors(200))])
    query = random_vectors(1, seed=1)[0]
    every = search(lean, query, top_k=200)
    for match in every[::7]:
        within = search(lean, query, top_k=200, max_distance=match.distance)
        assert ids(within) == ids([other for other in every if other.distance <= match.distance])


def test_what_differs_by_noise_alone_is_a_tie(lean: Gallery) -> None:
    noise = np.random.default_rng(0).normal(scale=1e-7, size=(9, D)).astype(np.float32)
    lean.add([image(f"i{n}", vector(1) + noise[n]) for n in range(9)])
    assert ids(search(lean, vector(1))) == [f"i{n}" for n in range(9)]
    assert ids(search(lean, vector(1), top_k=2)) == ["i0", "i1"]


@pytest.mark.parametrize("queries", [1, 19, 64])
def test_a_stored_picture_is_at_no_distance_alone_and_in_a_batch(lean: Gallery, queries: int) -> None:
    vectors = random_vectors(100) * np.float32(50)
    lean.add([image(f"i{n:03}", each) for n, each in enumerate(vectors)])
    for n, matches in enumerate(lean.search(vectors[:queries], SearchOptions(top_k=1))):
        assert (ids(matches), matches[0].distance) == ([f"i{n:03}"], 0)


@pytest.mark.parametrize("top_k", [1, 3, 50, 1000])
def test_ties_are_ordered_by_id_also_across_the_cut(lean: Gallery, top_k: int) -> None:
    names = [f"i{n:03}" for n in np.random.default_rng(0).permutation(300)]
    lean.add([image(name, vector(1)) for name in names])
    lean.add([image("far", vector(0, 1)), image("near", vector(1.01))])
    expected = [*sorted(names), "near", "far"][:top_k]
    assert ids(search(lean, vector(1), top_k=top_k)) == expected


def test_erased_neighbours_never_shorten_an_answer(lean: Gallery) -> None:
    lean.add([image(f"i{n:04}", vector(1, n / 1000)) for n in range(600)])
    for n in range(80):
        lean.delete(f"i{n:04}")
    assert ids(search(lean, vector(1), top_k=5)) == [f"i{n:04}" for n in range(80, 85)]
    assert lean.delete_where(Filters()) == 520
    assert search(lean, vector(1)) == []
    lean.add([image("again", vector(1))])
    assert ids(search(lean, vector(1))) == ["again"]


def test_max_distance_is_inclusive(gallery: Gallery) -> None:
    gallery.add([image("a", vector(0.1)), image("b", vector(0.7)), image("c", vector(0.8))])
    distances = [match.distance for match in search(gallery, vector(0))]
    for n, distance in enumerate(distances):
        assert len(search(gallery, vector(0), max_distance=distance)) == n + 1
    assert search(gallery, vector(5), max_distance=0.5) == []


def test_a_stored_image_can_be_left_out(gallery: Gallery) -> None:
    gallery.add([image(name, vector(1)) for name in "abc"])
    assert ids(search(gallery, vector(1), exclude_image_ids=frozenset({"a"}), top_k=2)) == ["b", "c"]


def test_groups_are_filled_up(lean: Gallery) -> None:
    near = [image(f"v1-{n:03}", vector(1, n / 10_000), vehicle_id="v1") for n in range(200)]
    alone = [image(f"x{n}", vector(1, 0.1 + n / 100)) for n in range(3)]
    far = [image(f"v2-{n}", vector(1, 0.5 + n / 100), vehicle_id="v2") for n in range(3)]
    lean.add([*far, *alone, *near])
    matches = search(lean, vector(1), group_by="vehicle_id", top_k=5)
    assert ids(matches) == ["v1-000", "x0", "x1", "x2", "v2-0"]
    assert [match.rank for match in matches] == [1, 2, 3, 4, 5]
    assert ids(search(lean, vector(1), group_by="vehicle_id", top_k=1000)) == ids(matches)


def test_ties_between_groups_are_ordered_by_id(lean: Gallery) -> None:
    lean.add([image(f"i{n:03}", vector(1), vehicle_id=f"v{n % 7}") for n in reversed(range(300))])
    assert ids(search(lean, vector(1), group_by="vehicle_id", top_k=3)) == ["i000", "i001", "i002"]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_has_a_lower_bound(gallery: Gallery, top_k: int) -> None:
    with pytest.raises(InvalidValue, match="top_k"):
        search(gallery, vector(1), top_k=top_k)


# Filters

FILTERED: dict[str, dict[str, Any]] = {
    "a": {"camera_id": "c1", "vehicle_id": "v1", "captured_at": NOON, "attributes": {"n": 1, "t": "1"}},
    "b": {"camera_id": "c2", "vehicle_id": "v1", "captured_at": NOON + timedelta(seconds=1), "attributes": {"n": "1"}},
    "c": {"camera_id": "c2", "vehicle_id": "v2", "captured_at": NOON - timedelta(seconds=1), "attributes": {"n": 1.0}},
    "d": {"attributes": {"n": 2.5, "x y'\"": "z"}, "viewpoint": np.array([0.9, 0.1, 0], dtype=np.float32)},
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), "abcd"),
        (Filters(image_id=("a", "d", "none")), "ad"),
        (Filters(image_id=("a", "b"), camera_id=("c2",)), "b"),
        (Filters(image_id=("none",)), ""),
        (Filters(camera_id=("c1",)), "a"),
        (Filters(camera_id=("c1", "c2")), "abc"),
        (Filters(camera_id=("C1",)), ""),
        (Filters(exclude_camera_id=("c2",)), "ad"),
        (Filters(exclude_camera_id=("c1", "c2")), "d"),
        (Filters(camera_id=("c2",), exclude_camera_id=("c2",)), ""),
        (Filters(vehicle_id=("v1",), camera_id=("c2",)), "b"),
        (Filters(viewpoint=("rear",)), "abc"),
        (Filters(viewpoint=("front", "side")), "d"),
        (Filters(captured_after=NOON), "ab"),
        (Filters(captured_before=NOON), "c"),
        (Filters(captured_after=NOON, captured_before=NOON + timedelta(seconds=1)), "a"),
        (Filters(attributes={"n": (1,)}), "ac"),
        (Filters(attributes={"n": (1.0,)}), "ac"),
        (Filters(attributes={"n": ("1",)}), "b"),
        (Filters(attributes={"n": ("1", 2.5)}), "bd"),
        (Filters(attributes={"n": (1,), "t": ("1",)}), "a"),
        (Filters(attributes={"x y'\"": ("z",)}), "d"),
        (Filters(attributes={"none": ("z",)}), ""),
    ],
)
def test_filters_mean_the_same_for_search_listing_and_erasure(
    gallery: Gallery, filters: Filters, expected: str
) -> None:
    gallery.add(
        [image(name, random_vectors(1, seed)[0], **fields) for seed, (name, fields) in enumerate(FILTERED.items())]
    )
    assert sorted(ids(search(gallery, vector(1), filters=filters))) == list(expected)
    assert listed(gallery, filters) == list(expected)
    assert gallery.page(filters, limit=1, total=True).total == len(expected)
    assert gallery.change_metadata_where(filters, lambda said: said) == len(expected)
    assert listed(gallery, filters) == list(expected)
    assert gallery.delete_where(filters) == len(expected)
    assert listed(gallery) == sorted(set("abcd") - set(expected))


def test_a_filter_is_exact_at_every_selectivity(lean: Gallery) -> None:
    vectors = random_vectors(2000)
    shares = {"all": 1, "half": 2, "tenth": 10, "hundredth": 100, "twelve": 167}
    batch = []
    for n, each in enumerate(vectors):
        attributes = {name: int(n % step == 0) for name, step in shares.items()}
        batch.append(image(f"i{n:04}", each, attributes=attributes))
    lean.add(batch)
    for name, step in shares.items():
        rows = np.arange(0, 2000, step)
        expected = naive(vectors[rows], [f"i{n:04}" for n in rows], vectors[3], 12)
        for queries in (1, 25):
            for matches in lean.search(
                np.repeat(vectors[3:4], queries, axis=0),
                SearchOptions(top_k=12, filters=Filters(attributes={name: (1,)})),
            ):
                assert ids(matches) == [image_id for _, image_id in expected]


def test_a_broad_filter_whose_rows_are_all_far_away(lean: Gallery) -> None:
    lean.add([image(f"near{n:04}", vector(1, n / 10_000), camera_id="c1") for n in range(3000)])
    lean.add([image(f"far{n:04}", vector(-1, n / 10_000), camera_id="c2") for n in range(3000)])
    matches = search(lean, vector(1), filters=Filters(camera_id=("c2",)), top_k=3)
    assert ids(matches) == ["far0000", "far0001", "far0002"]


# Listing


def test_pages_hold_every_image_once_in_order(gallery: Gallery) -> None:
    names = sorted(f"i{n}" for n in range(25))
    gallery.add([image(name) for name in names])
    found: list[str] = []
    cursor = None
    while True:
        page = gallery.page(Filters(), limit=10, cursor=cursor)
        found += [stored.image_id for stored in page.images]
        cursor = page.cursor
        if cursor is None:
            break
        gallery.delete(found[-1])  # the cursor does not need its image
    assert found == names
    assert gallery.page(Filters(), limit=23).cursor is None


def test_a_page_may_begin_anywhere(gallery: Gallery) -> None:
    names = sorted(f"i{n}" for n in range(25))
    gallery.add([image(name, camera_id="even" if n % 2 else "odd") for n, name in enumerate(reversed(names))])
    gallery.add([image("i3", camera_id="even")])  # written again it is the newest
    newest = ["i3", *(name for name in names if name != "i3")]
    for order, expected in zip(ORDERS, (names, newest), strict=True):
        for offset in (0, 1, 7, 24, 25, 100):
            page = gallery.page(Filters(), limit=9, offset=offset, order=order, total=True)
            rest = expected[offset:]
            while True:
                assert [stored.image_id for stored in page.images] == rest[:9]
                rest = rest[9:]
                assert (page.cursor is None) is (not rest)
                if page.cursor is None:
                    break
                page = gallery.page(Filters(), limit=9, cursor=page.cursor, order=order, total=True)
                assert page.total == 25
    odd = gallery.page(Filters(camera_id=("odd",)), limit=2, offset=3, order="newest", total=True)
    passing = [name for name in newest if gallery.get(name).metadata.camera_id == "odd"]
    assert [stored.image_id for stored in odd.images] == passing[3:5]
    assert odd.total == len(passing)
    assert gallery.page(Filters(), limit=1).total is None


def test_a_cursor_belongs_to_its_order(gallery: Gallery) -> None:
    gallery.add([image("a"), image("b")])
    for order, other in zip(ORDERS, reversed(ORDERS), strict=True):
        with pytest.raises(InvalidValue, match="another order"):
            gallery.page(Filters(), limit=1, order=other, cursor=gallery.page(Filters(), limit=1, order=order).cursor)


# What it can be filtered by


def test_facets_count_what_is_there(gallery: Gallery) -> None:
    empty = gallery.facets()
    assert (empty.images, empty.vehicles, empty.cameras, empty.attributes) == (0, 0, [], [])
    assert (empty.first_captured_at, empty.last_captured_at) == (None, None)
    gallery.add([image(name, **fields) for name, fields in FILTERED.items()])
    found = gallery.facets()
    assert (found.images, found.vehicles, found.last_change) == (4, 2, gallery.info().last_change)
    assert found.cameras == [("c2", 2), ("c1", 1)]
    assert found.viewpoints == [("rear", 3), ("front", 1)]
    assert (found.first_captured_at, found.last_captured_at) == (
        NOON - timedelta(seconds=1),
        NOON + timedelta(seconds=1),
    )
    assert [(each.name, each.images, each.values) for each in found.attributes] == [
        ("n", 4, [(1, 2), (2.5, 1), ("1", 1)]), ("t", 1, [("1", 1)]), ("x y'\"", 1, [("z", 1)]),
    ]  # fmt: skip
    assert gallery.facets() is found  # nothing was counted again


def test_facets_follow_every_kind_of_write(gallery: Gallery) -> None:
    gallery.add([image(name, **fields) for name, fields in FILTERED.items()])
    gallery.facets()
    gallery.change_metadata("a", lambda said: replace(said, camera_id="c9"))
    assert gallery.facets().cameras == [("c2", 2), ("c9", 1)]
    gallery.change_metadata_where(Filters(camera_id=("c2",)), lambda said: replace(said, attributes={"lane": 1}))
    assert [(each.name, each.values) for each in gallery.facets().attributes][:2] == [
        ("lane", [(1, 2)]), ("n", [(1, 1), (2.5, 1)]),
    ]  # fmt: skip
    gallery.delete("b")
    assert gallery.facets().cameras == [("c2", 1), ("c9", 1)]


def test_of_very_many_values_the_most_frequent_are_told(gallery: Gallery) -> None:
    names = {f"name {n:03}": 1 for n in range(60)}
    gallery.add([image(f"i{n}", attributes={"plate": f"p{n}", "colour": "red"}) for n in range(30)])
    gallery.add([image("x", attributes=names), image("y", attributes={f"{name}b": 1 for name in names})])
    gallery.add([image("z", attributes={"plate": "p7"})])
    found = gallery.facets().attributes
    assert len(found) == MOST_ATTRIBUTES
    assert (found[0].name, found[0].images, len(found[0].values)) == ("plate", 31, MOST_VALUES)
    assert found[0].values[:2] == [("p7", 2), ("p0", 1)]
    assert (found[1].name, found[1].values) == ("colour", [("red", 30)])


@pytest.mark.parametrize("cursor", ["", "x", "aTE", "ä", "\ud800", "=" * 5, "a" * 10_000])
def test_cursors_of_others_are_refused(gallery: Gallery, cursor: str) -> None:
    with pytest.raises(InvalidValue, match="cursor"):
        gallery.page(Filters(), limit=1, cursor=cursor)


def test_a_cursor_belongs_to_its_gallery(home: GalleryHome) -> None:
    other, _ = home.create("other", SPEC)
    for gallery in (other, home.get("default")):
        gallery.add([image("a"), image("b")])
    with pytest.raises(InvalidValue, match="cursor"):
        other.page(Filters(), limit=1, cursor=home.get("default").page(Filters(), limit=1).cursor)


# Retention


def test_expired_images_are_nowhere(home: GalleryHome, clock: Clock) -> None:
    gallery, _ = home.create("short", replace(SPEC, retention_days=1.5))
    gallery.add([image("old", vector(1), camera_id="c")])
    clock.now += timedelta(days=1)
    gallery.add([image("young", vector(0, 1), camera_id="c")])
    assert gallery.count() == gallery.facets().images == 2
    clock.now = NOON + timedelta(days=1.5, microseconds=1)

    assert gallery.count() == gallery.info().images == 1
    assert listed(gallery) == ["young"]
    facets = gallery.facets()  # no write came in between
    assert (facets.images, facets.cameras, facets.viewpoints) == (1, [("c", 1)], [("rear", 1)])
    assert ids(search(gallery, vector(1))) == ["young"]
    assert ids(search(gallery, vector(1), filters=Filters(camera_id=("c",)))) == ["young"]
    for ask in (gallery.get, gallery.embedding, gallery.crop, gallery.delete):
        with pytest.raises(ImageNotFound):
            ask("old")
    with pytest.raises(ImageNotFound):
        gallery.change_metadata("old", lambda _: Metadata())
    assert [stored.image_id for stored, _ in walked(gallery)] == list(gallery.embeddings(["old", "young"])) == ["young"]
    assert gallery.change_metadata_where(Filters(camera_id=("c",)), lambda said: said) == 1
    assert gallery.add([image("old")]) == ["created"]
    assert listed(gallery) == ["old", "young"]
    clock.now += timedelta(days=2)
    assert gallery.delete_where(Filters()) == 0


# Galleries


def test_the_default_gallery_exists(home: GalleryHome, clock: Clock) -> None:
    assert home.names() == ["default"]
    info = home.get("default").info()
    assert (info.name, info.spec, info.images, info.last_change) == (
        "default",
        replace(SPEC, kind=info.spec.kind, vectors=info.spec.vectors),
        0,
        0,
    )
    assert info.disk_bytes > 0


def test_a_gallery_is_created_once(home: GalleryHome) -> None:
    created, new = home.create("yard", SPEC)
    assert new
    again, new = home.create("yard", SPEC)
    assert not new
    assert again is created
    with pytest.raises(GalleryConflict, match="retention_days is None, not 3"):
        home.create("yard", replace(SPEC, retention_days=3))
    assert home.names() == ["default", "yard"]


def test_a_gallery_has_a_name_that_can_be_one(home: GalleryHome) -> None:
    with pytest.raises(InvalidValue):
        home.create("../yard", SPEC)


def test_galleries_are_apart(home: GalleryHome) -> None:
    other, _ = home.create("other", replace(SPEC, embedding_dim=2))
    other.add([image("x", np.ones(2, dtype=np.float32))])
    assert home.get("default").count() == 0


def test_a_dropped_gallery_is_gone(home: GalleryHome) -> None:
    yard, _ = home.create("yard", SPEC)
    yard.add([image("x")])
    home.drop("yard")
    for ask in (
        lambda: home.get("yard"),
        lambda: home.drop("yard"),
        lambda: yard.get("x"),
        lambda: yard.embeddings(["x"]),
        lambda: list(yard.whole()),
        lambda: yard.add([image("y")]),
    ):
        with pytest.raises(GalleryNotFound):
            ask()
    assert home.create("yard", SPEC)[1]
    assert home.get("yard").count() == 0


def test_every_write_moves_the_change_sequence(gallery: Gallery) -> None:
    seen = [gallery.info().last_change]

    def moved(write: Callable[[], object]) -> None:
        write()
        seen.append(gallery.info().last_change)

    moved(lambda: gallery.add([image("x"), image("y")]))
    moved(lambda: gallery.add([image("x")]))
    moved(lambda: gallery.change_metadata("x", lambda _: Metadata()))
    moved(lambda: gallery.change_metadata_where(Filters(), lambda said: said))
    moved(lambda: gallery.delete("x"))
    moved(lambda: gallery.delete_where(Filters()))
    assert seen == sorted(set(seen))


# Many at once


def test_readers_see_whole_writes_only(gallery: Gallery) -> None:
    """One writer moves a pair of images to and fro and replaces a third; every answer holds all three, in one state."""
    places = (vector(1), vector(0, 1))

    def pair(place: int) -> list[NewImage]:
        return [image(name, places[place], vehicle_id=str(place), crop=jpeg(str(place))) for name in ("a", "b")]

    gallery.add([*pair(0), image("c", vector(0, 0, 1))])
    stop = threading.Event()
    begun = threading.Barrier(4)

    def write() -> None:
        begun.wait()
        for turn in range(1, 61):
            gallery.add(pair(turn % 2))
            gallery.add([image("c", vector(0, 0, 1))])
        stop.set()

    def read() -> int:
        begun.wait()
        answers = 0
        while not stop.is_set() or answers == 0:
            matches = search(gallery, vector(1), top_k=3, embeddings=True)
            by_id = {match.image.image_id: match for match in matches}
            assert sorted(by_id) == ["a", "b", "c"]
            assert by_id["a"].distance == by_id["b"].distance
            assert by_id["a"].image.metadata == by_id["b"].image.metadata
            place = int(by_id["a"].image.metadata.vehicle_id or "")
            assert by_id["a"].embedding is not None
            assert np.array_equal(by_id["a"].embedding, places[place])
            assert gallery.crop("a")[1] in (jpeg("0"), jpeg("1"))
            assert len(gallery.page(Filters(), limit=10).images) == 3
            for stored, each in walked(gallery)[:2]:
                assert each == places[int(stored.metadata.vehicle_id or "")].tolist()
            answers += 1
        return answers

    with ThreadPoolExecutor(4) as pool:
        writer = pool.submit(write)
        readers = [pool.submit(read) for _ in range(3)]
        writer.result()
        assert all(reader.result() for reader in readers)


def test_an_acknowledged_image_is_found_at_once_by_everyone(gallery: Gallery) -> None:
    vectors = random_vectors(60)

    def write_and_find(n: int) -> None:
        gallery.add([image(f"i{n}", vectors[n])])
        assert ids(search(gallery, vectors[n], top_k=1)) == [f"i{n}"]
        gallery.delete(f"i{n}")
        assert f"i{n}" not in ids(search(gallery, vectors[n], top_k=60))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_find, range(60)))
    assert gallery.count() == 0
