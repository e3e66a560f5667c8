"""Searching with pictures that an address names."""

import re
from typing import Any

import httpx
import pytest

from index.crops import stored_crop
from tests.http_client import parts, refused
from tests.pictures import jpeg, png


@pytest.fixture
def filled(client: httpx.Client, gallery: str) -> str:
    """A gallery of eight images, i0–i7, of two cameras."""
    metadata = [{"image_id": f"i{n}", "camera_id": f"c{n % 2}"} for n in range(8)]
    answer = client.post(f"{gallery}/images", files=parts(*(jpeg(n) for n in range(8)), metadata=metadata))
    assert answer.json()["created"] == 8, answer.text
    return gallery


def kept(client: httpx.Client, data: bytes) -> str:
    return str(client.post("/v1/queries", content=data).json()["query_id"])


def found(client: httpx.Client, gallery: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{gallery}/search", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(document: dict[str, Any]) -> list[str]:
    return [match["image_id"] for match in document["matches"]]


def untimed(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "timing_ms"}


def stages(answer: httpx.Response) -> set[str]:
    return set(re.findall(r"(\w+);dur", answer.headers["server-timing"]))


def part(box: tuple[int, int, int, int]) -> bytes:
    """A part of what ``jpeg(3)`` shows, without loss."""
    return stored_crop(jpeg(3), box=box, max_pixels=10**6).data


@pytest.mark.parametrize("data", [jpeg(2), png(11)], ids=["jpeg", "png"])
@pytest.mark.parametrize(
    "options", [{}, {"box": "8,4,60,50"}, {"camera_id": "c1", "top_k": 2, "include": "embedding,attention"}]
)
def test_the_answer_is_that_to_the_picture_itself(
    client: httpx.Client, filled: str, data: bytes, options: dict[str, Any]
) -> None:
    query = kept(client, data)
    sent = client.post(f"{filled}/search", params=options, content=data).json()
    for _ in range(2):  # seen by the model, then remembered
        assert untimed(found(client, filled, query_id=query, **options)) == untimed(sent)


def test_several_are_searched_for_together(client: httpx.Client, filled: str) -> None:
    queries = [kept(client, jpeg(n)) for n in (3, 9)]
    sent = client.post(f"{filled}/search?combine=mean&include=embedding", files=parts(jpeg(3), jpeg(9))).json()
    for _ in range(2):
        assert untimed(found(client, filled, query_id=queries, include="embedding")) == untimed(sent)
    assert found(client, filled, query_id=[*queries, queries[0]] * 2)["queries"] == 6


def test_each_has_its_own_box(client: httpx.Client, filled: str) -> None:
    query = kept(client, jpeg(3))
    cut = [part((0, 0, 40, 40)), part((50, 20, 40, 50))]
    sent = client.post(f"{filled}/search?combine=mean", files=parts(*cut)).json()
    asked = {"query_id": [query, kept(client, jpeg(3))], "box": ["0,0,40,40", "50,20,40,50"]}
    for _ in range(2):
        mine = found(client, filled, **asked)
        assert ids(mine) == ids(sent)
        assert [m["distance"] for m in mine["matches"]] == pytest.approx(
            [m["distance"] for m in sent["matches"]], abs=1e-3
        )
    same = found(client, filled, query_id=[query, query], box=["0,0,40,40", "50,20,40,50"])
    assert ids(same) == ids(mine)


def test_stored_images_are_searched_with_and_left_out(client: httpx.Client, filled: str) -> None:
    one = found(client, filled, image_id="i3")
    assert untimed(one) == untimed(client.get(f"{filled}/images/i3/similar").json())
    three = found(client, filled, image_id=["i3", "i4", "i5"], top_k=8)
    assert (three["queries"], set(ids(three))) == (3, {"i0", "i1", "i2", "i6", "i7"})
    sent = client.post(f"{filled}/search?combine=mean&top_k=8", files=parts(jpeg(3), jpeg(4), jpeg(5))).json()
    assert ids(three) == [each for each in ids(sent) if each not in ("i3", "i4", "i5")]
    query = kept(client, jpeg(5))
    mixed = found(client, filled, query_id=query, image_id=["i3", "i4"], top_k=8)
    assert [each for each in ids(mixed) if each != "i5"] == ids(three)
    assert ids(found(client, filled, query_id=query, image_id="i4", camera_id="c0", group_by="vehicle_id"))[0] != "i4"


def test_what_the_model_made_of_a_picture_is_remembered(client: httpx.Client, filled: str) -> None:
    query = kept(client, jpeg(21))
    path = f"{filled}/search"
    looks: list[tuple[dict[str, str], bool]] = [
        ({"query_id": query}, True), ({"query_id": query, "camera_id": "c1"}, False), ({"query_id": query, "image_id": "i1"}, False),
        ({"query_id": query, "box": "0,0,50,50"}, True), ({"query_id": query, "box": "0,0,50,50", "top_k": "3"}, False),
        ({"query_id": query, "include": "attention"}, True), ({"query_id": query, "include": "embedding"}, False),
    ]  # fmt: skip
    for asked, looked in looks:
        answer = client.get(path, params=asked)
        assert answer.status_code == 200
        assert stages(answer) == {"queue", "search", "total"} | ({"decode", "embed"} if looked else set()), asked
        assert (answer.json()["timing_ms"]["embed"] > 0) is looked


def test_the_map_is_that_of_the_first_picture(client: httpx.Client, filled: str) -> None:
    query = kept(client, jpeg(4))
    own = client.post(f"{filled}/search?include=attention", content=jpeg(4)).json()["attention"]
    for asked in (
        {"query_id": query, "image_id": "i1"},
        {"image_id": ["i4", "i1"]},
        {"query_id": [query, kept(client, jpeg(1))]},
    ):
        assert found(client, filled, include="attention", **asked)["attention"] == own
    assert "attention" not in found(client, filled, query_id=query)


def test_what_is_asked_must_be_named(client: httpx.Client, filled: str) -> None:
    query = kept(client, jpeg(0))
    path = f"{filled}/search"
    refused(client.get(path), 422, "0 query_id and 0 image_id", "1 to 8")
    refused(
        client.get(path, params={"query_id": [query] * 5, "image_id": ["i1"] * 4}), 422, "5 query_id and 4 image_id"
    )
    assert found(client, filled, query_id=[query] * 8)["queries"] == 8
    box = refused(client.get(path, params={"query_id": [query] * 2, "box": "0,0,8,8"}), 422, "1 box for 2 query_id")
    assert box["errors"][0]["pointer"] == "/query/box"
    refused(client.get(path, params={"image_id": "i1", "box": "0,0,8,8"}), 422, "1 box for 0 query_id")
    refused(client.get(path, params={"query_id": "x" * 32}), 422, "32 hexadecimal digits")
    refused(client.get(path, params={"image_id": "-a"}), 422, "image_id")
    refused(client.get(path, params={"query_id": query, "combine": "mean"}), 422, "unknown parameter 'combine'")
    refused(client.get(path, params={"query_id": "0" * 32}), 404, "0" * 32, "168 hours")
    refused(client.get(path, params={"query_id": query, "image_id": "nobody"}), 404, "nobody")
    outside = refused(client.get(path, params={"query_id": query, "box": "0,0,97,72"}), 422, query, "96 × 72")
    assert outside["errors"][0]["pointer"] == "/query/box"
    refused(client.get("/v1/galleries/nowhere/search", params={"query_id": query}), 404, "nowhere")
    client.delete(f"/v1/queries/{query}")
    refused(client.get(path, params={"query_id": query}), 404, query)


def test_a_gallery_without_crops_is_searched_with_its_images(client: httpx.Client, gallery: str) -> None:
    name = f"{gallery}-bare"
    client.put(name, json={"keep_crops": False})
    client.put(f"{name}/images/own", content=jpeg(0))
    query = kept(client, jpeg(1))
    assert found(client, name, image_id="own")["matches"] == []
    assert "attention" in found(client, name, query_id=query, image_id="own", include="attention")
    refused(client.get(f"{name}/search", params={"image_id": "own", "include": "attention"}), 404, "keeps no crop")
    client.delete(name, params={"confirm": name.rpartition("/")[2]})
