"""Images of a gallery over HTTP: ingest, read, change, erase, and everything that may be wrong with them."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.http_client import body_of, form, parts, raw, refused, status_of
from tests.pictures import encoded, jpeg, photograph, png


def ingest(client: httpx.Client, gallery: str, count: int = 3, **fields: Any) -> None:
    metadata = [{"image_id": f"i{number}", "camera_id": f"c{number}", **fields} for number in range(count)]
    answer = client.post(f"{gallery}/images", files=parts(*map(jpeg, range(count)), metadata=metadata))
    assert answer.json()["created"] == count


def listed(client: httpx.Client, gallery: str, **query: Any) -> list[str]:
    answer = client.get(f"{gallery}/images", params=query)
    assert answer.status_code == 200, answer.text
    return [image["image_id"] for image in answer.json()["images"]]


def test_a_batch_answers_for_each_image_in_order(client: httpx.Client, gallery: str) -> None:
    metadata: list[object] = [
        {"image_id": "good", "vehicle_id": "v1", "attributes": {"lane": 2}},
        {"image_id": "bad picture"},
        {"image_id": "cut"},
        {},
        {"image_id": "boxed", "box": [0, 0, 40, 40]},
        {"image_id": "outside", "box": [90, 0, 40, 40]},
        "no object",
        {"image_id": "misspelt", "vehicleid": "v1"},
    ]
    pictures = [jpeg(0), jpeg(1), jpeg(2)[:400], *map(jpeg, range(3, 8))]
    answer = client.post(f"{gallery}/images", files=parts(*pictures, metadata=metadata)).json()
    results = answer["results"]
    states = ["created", "failed", "failed", "created", "created", "failed", "failed", "failed"]
    assert [result["status"] for result in results] == states
    assert (answer["created"], answer["updated"], answer["failed"]) == (3, 0, 5)
    assert [result["problem"]["status"] for result in results if "problem" in result] == [422, 400, 422, 422, 422]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/metadata/1/image_id"
    assert results[2]["problem"]["errors"][0]["pointer"] == "/image/2"
    assert results[7]["problem"]["errors"][0]["pointer"] == "/metadata/7/vehicleid"
    assert len(results[3]["image_id"]) == 36
    assert set(listed(client, gallery)) == {"good", "boxed", results[3]["image_id"]}
    again = client.post(f"{gallery}/images", files=parts(jpeg(9), metadata=[{"image_id": "good"}])).json()
    assert again["results"] == [{"image_id": "good", "status": "updated"}]


def test_pictures_need_no_metadata_and_no_filename(client: httpx.Client, gallery: str) -> None:
    body, headers = form(
        ('form-data; name="image"', jpeg(0)),
        ('form-data; name="image"; filename="car.jpg"', jpeg(1)),
        ("form-data; name=image", jpeg(2)),
    )
    answer = client.post(f"{gallery}/images", content=body, headers=headers).json()
    assert answer["created"] == 3
    assert client.post(f"{gallery}/images", content=jpeg(4)).json()["created"] == 1  # the raw body, too
    found = client.post(f"{gallery}/search?top_k=1", content=jpeg(1)).json()["matches"]
    assert found[0]["distance"] <= 1e-3


def test_metadata_may_come_before_the_pictures_and_be_large(client: httpx.Client, gallery: str) -> None:
    attributes = {f"{number:03}{'n' * 100}": "ü" * 1000 for number in range(64)}
    metadata = json.dumps([{"image_id": f"i{n}", "attributes": attributes} for n in range(9)], ensure_ascii=False)
    assert 1_200_000 < len(metadata.encode()) < 1_300_000
    pieces = [("metadata", metadata.encode()), *[("image", jpeg(number)) for number in range(9)]]
    body, headers = form(*[(f'form-data; name="{name}"', data) for name, data in pieces])
    answer = client.post(f"{gallery}/images", content=body, headers=headers)
    assert answer.json()["created"] == 9, answer.text
    assert client.get(f"{gallery}/images/i8").json()["attributes"] == attributes


def test_a_metadata_part_beyond_its_limit_is_refused(client: httpx.Client, gallery: str) -> None:
    answer = client.post(f"{gallery}/images", files=parts(jpeg(0), metadata=b" " * (256 * 65_536) + b"[{}]"))
    refused(answer, 413, "metadata", "16,777,216")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_count_that_does_not_fit_fails_the_request(client: httpx.Client, gallery: str, count: int) -> None:
    document = refused(
        client.post(f"{gallery}/images", files=parts(jpeg(0), jpeg(1), metadata=[{}] * count)), 422, str(count), "2"
    )
    assert document["errors"][0]["pointer"] == "/metadata"
    assert listed(client, gallery) == []


def test_an_id_that_stands_twice_fails_the_request(client: httpx.Client, gallery: str) -> None:
    metadata = [{"image_id": "a"}, {"image_id": "b"}, {"image_id": "a"}]
    document = refused(client.post(f"{gallery}/images", files=parts(*map(jpeg, range(3)), metadata=metadata)), 422, "a")
    assert document["errors"][0]["pointer"] == "/metadata/2/image_id"
    assert listed(client, gallery) == []


NO_JSON = {
    "NaN": b'[{"attributes": {"a": NaN}}]',
    "Infinity": b'[{"attributes": {"a": -Infinity}}]',
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "not UTF-8": b'[{"camera_id": "\xff"}]',
    "UTF-16": '[{"camera_id": "a"}]'.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf[{}]",
    "cut": b'[{"camera_id": "a"',
    "empty": b"",
    "more": b"[{}] []",
    "raw surrogate": b'[{"camera_id": "\xed\xa0\x80"}]',
    "control character": b'[{"camera_id": "a\x01"}]',
    "leading zero": b'[{"attributes": {"a": 012}}]',
}
WRONG_VALUES = {
    "1e999": b'{"attributes": {"a": 1e999}}',
    "huge integer": b'{"attributes": {"a": 18446744073709551616}}',
    "endless integer": b'{"attributes": {"a": ' + b"9" * 10_000 + b"}}",
    "same key twice": b'{"camera_id": "a", "camera_id": "b"}',
    "same attribute twice": b'{"attributes": {"a": 1, "a": 2}}',
    "true": b'{"attributes": {"a": true}}',
    "null attribute": b'{"attributes": {"a": null}}',
    "nested attribute": b'{"attributes": {"a": {"b": 1}}}',
    "array of attributes": b'{"attributes": []}',
    "surrogate": b'{"camera_id": "\\ud800"}',
    "surrogate attribute": b'{"attributes": {"a": "\\udfff"}}',
    "surrogate name": b'{"attributes": {"\\ud800": 1}}',
    "surrogate key": b'{"\\ud800": 1}',
    "NUL": b'{"vehicle_id": "a\\u0000b"}',
    "boolean": b'{"vehicle_id": true}',
    "number": b'{"camera_id": 5}',
    "empty label": b'{"camera_id": ""}',
    "long label": b'{"camera_id": "' + b"x" * 257 + b'"}',
    "no offset": b'{"captured_at": "2026-05-04T10:11:12"}',
    "number as time": b'{"captured_at": 1777888999}',
    "boolean in box": b'{"box": [0, 0, true, 5]}',
    "fraction in box": b'{"box": [0, 0, 5.0, 5]}',
    "huge box": b'{"box": [0, 0, 99999999999999999999, 5]}',
    "box of three": b'{"box": [0, 0, 5]}',
    "unknown": b'{"colour": "red"}',
    "viewpoint": b'{"viewpoint": {"front": 1}}',
    "number as id": b'{"image_id": 5}',
    "id with slash": b'{"image_id": "a/b"}',
    "dots as id": b'{"image_id": ".."}',
    "null": b"null",
    "array": b"[]",
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json_is_malformed(client: httpx.Client, gallery: str, name: str) -> None:
    refused(client.post(f"{gallery}/images", files=parts(jpeg(0), metadata=NO_JSON[name])), 400, "metadata")
    refused(client.put(f"{gallery}/images/own", files=parts(jpeg(0), metadata=NO_JSON[name])), 400, "metadata")
    assert listed(client, gallery) == []


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_a_value_that_breaks_a_rule_fails_its_image(client: httpx.Client, gallery: str, name: str) -> None:
    value = WRONG_VALUES[name]
    together = client.post(f"{gallery}/images", files=parts(jpeg(0), jpeg(1), metadata=b"[" + value + b", {}]")).json()
    assert [result["status"] for result in together["results"]] == ["failed", "created"]
    assert together["results"][0]["problem"]["status"] == 422
    assert together["results"][0]["problem"]["errors"][0]["pointer"].startswith("/metadata/0")
    document = refused(client.put(f"{gallery}/images/own", files=parts(jpeg(0), metadata=value)), 422)
    assert document["errors"][0]["pointer"].startswith("/metadata")


@pytest.mark.parametrize("document", [b"{}", b'"text"', b"5", b"null"])
def test_metadata_of_a_batch_is_an_array(client: httpx.Client, gallery: str, document: bytes) -> None:
    refused(client.post(f"{gallery}/images", files=parts(jpeg(0), metadata=document)), 422, "array")


def test_too_many_images_name_limit_and_setting(client: httpx.Client, gallery: str) -> None:
    refused(client.post(f"{gallery}/images", files=parts(*[b"x"] * 257)), 413, "256", "max_images")
    refused(client.post(f"{gallery}/images", files=parts(*[b"x"] * 2000)), 413, "256", "max_images")
    everything = client.post(f"{gallery}/images", files=parts(*[b"x"] * 256)).json()
    assert everything["failed"] == 256


def test_put_is_idempotent(client: httpx.Client, gallery: str) -> None:
    metadata = {"vehicle_id": "v1", "captured_at": "2026-05-04T12:11:12+02:00", "attributes": {"colour": "röt"}}
    first = client.put(f"{gallery}/images/cam1:7", files=parts(jpeg(0), metadata=metadata))
    again = client.put(f"{gallery}/images/cam1:7", files=parts(jpeg(0), metadata=metadata))
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["status"], again.json()["status"]) == ("created", "updated")
    document = client.get(f"{gallery}/images/cam1:7").json()
    assert document["captured_at"] == "2026-05-04T10:11:12Z"
    assert document["attributes"] == {"colour": "röt"}
    assert document["vehicle_id"] == "v1"
    assert document["camera_id"] is None
    assert sum(document["viewpoint"].values()) == pytest.approx(1, abs=1e-3)
    assert listed(client, gallery) == ["cam1:7"]
    raw_body = client.put(f"{gallery}/images/cam1:7", content=jpeg(1)).json()  # replaced whole
    assert raw_body["vehicle_id"] is None


def test_put_takes_one_picture_and_no_other_id(client: httpx.Client, gallery: str) -> None:
    refused(client.put(f"{gallery}/images/own", files=parts(jpeg(0), jpeg(1))), 422, "one")
    metadata = {"image_id": "other"}
    refused(client.put(f"{gallery}/images/own", files=parts(jpeg(0), metadata=metadata)), 422, "other", "own")
    refused(client.put(f"{gallery}/images/own", files=[("metadata", ("m", b"{}"))]), 422, "image")
    two = [*parts(jpeg(0), metadata={}), ("metadata", ("m", b"{}"))]
    refused(client.put(f"{gallery}/images/own", files=two), 422, "twice")
    refused(client.put(f"{gallery}/images/own", content=b""), 400, "empty")
    refused(client.put(f"{gallery}/images/own", content=b"text"), 415, "text")
    assert listed(client, gallery) == []


BAD_IDS = ["%2e%2e", "%2e", "-a", "a b", "a%00", "%c3%bc", "%ff", "x" * 129, "a%0ab", "a;b", "a%zz", "~"]


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_id_is_refused_by_every_route(server: str, gallery: str, name: str) -> None:
    for method, end in (
        ("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/crop"), ("GET", "/similar"),
    ):  # fmt: skip
        target = f"{gallery}/images/{name.replace(' ', '%20')}{end}"
        answer = raw(server, method, target, body=jpeg(0) if method == "PUT" else b"")
        assert status_of(answer) == 422, answer
        assert body_of(answer)["errors"][0]["pointer"] == "/path/image_id"


@pytest.mark.parametrize("name", [".", ".."])
def test_dots_as_an_id_erase_nothing(server: str, client: httpx.Client, gallery: str, name: str) -> None:
    ingest(client, gallery, 1)
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        unfolded = raw(server, method, f"{gallery}/images/{name}", body=jpeg(0))
        assert status_of(unfolded) == 422, unfolded
        folded = client.request(method, f"{gallery}/images/{name}", content=jpeg(0))
        allowed = {200} if method == "GET" else {400, 404, 405, 422}  # the listing, or the gallery
        assert folded.status_code in allowed, folded.text
    assert listed(client, gallery) == ["i0"]


def test_ids_may_be_percent_encoded(client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/cam1%3A%30007", content=jpeg(0))
    assert listed(client, gallery) == ["cam1:0007"]
    crop = client.get(f"{gallery}/images/cam1:0007").json()["crop"]
    assert client.get(crop).status_code == 200


def test_a_trailing_slash_is_another_path(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 1)
    for method, path in (("GET", "/images/"), ("DELETE", "/images/"), ("GET", "/images/i0/"), ("GET", "/"),
                         ("POST", "/search/"), ("DELETE", "//images/i0"), ("GET", "/images//crop")):  # fmt: skip
        refused(client.request(method, f"{gallery}{path}"), 404, "no route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/images", "GET, HEAD, POST, PATCH, DELETE"),
        ("POST", "/images/i0", "GET, HEAD, PUT, PATCH, DELETE"),
        ("DELETE", "/images/i0/crop", "GET, HEAD"),
        ("GET", "/search/batch", "POST"),
        ("PUT", "/search", "GET, HEAD, POST"),
        ("OPTIONS", "", "GET, HEAD, PUT, DELETE"),
        ("HEAD", "/search/batch", "POST"),
        ("BREW", "/images/i0/similar", "GET, HEAD"),
    ],
)
def test_a_wrong_method_names_the_right_ones(
    client: httpx.Client, server: str, gallery: str, method: str, path: str, allowed: str
) -> None:
    if method == "BREW":
        assert status_of(raw(server, method, f"{gallery}{path}")) == 400  # no method that HTTP knows
        return
    response = client.request(method, f"{gallery}{path}")
    assert response.status_code == 405
    assert response.headers["allow"] == allowed


def test_a_patch_merges(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 1, vehicle_id="v1", attributes={"colour": "red", "lane": 2})
    path = f"{gallery}/images/i0"

    def patched(document: object, kind: str = "application/merge-patch+json") -> dict[str, Any]:
        response = client.patch(path, content=json.dumps(document), headers={"Content-Type": kind})
        assert response.status_code == 200, response.text
        assert response.json() == client.get(path).json()
        return dict(response.json())

    before = client.get(path).json()
    assert patched({}) == before
    changed = patched({"vehicle_id": None, "attributes": {"colour": None, "doors": 5}}, "application/json")
    assert changed == {**before, "vehicle_id": None, "attributes": {"lane": 2, "doors": 5}}
    assert patched({"attributes": None})["attributes"] == {}
    assert patched({"captured_at": "2026-05-04T10:11:12.5Z"})["captured_at"] == "2026-05-04T10:11:12.500000Z"
    assert listed(client, gallery, camera_id="c0") == ["i0"]
    assert client.post(f"{gallery}/search", content=jpeg(0)).json()["matches"][0]["distance"] <= 1e-3


def test_what_a_patch_must_not_say(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 1)
    path = f"{gallery}/images/i0"
    wrong: list[Any] = [
        {"image_id": "x"},
        {"box": [0, 0, 1, 1]},
        {"viewpoint": {}},
        {"colour": 1},
        {"camera_id": 7},
        [],
        5,
    ]
    for document in wrong:
        refused(client.patch(path, json=document), 422)
    for name in ("NaN", "not UTF-8", "BOM", "cut", "deep"):
        refused(client.patch(path, content=NO_JSON[name]), 400)
    refused(client.patch(path, content=WRONG_VALUES["same key twice"]), 422, "'camera_id' stands twice")
    refused(client.patch(path, content=b"{}", headers={"Content-Type": "text/plain"}), 415, "merge-patch")
    refused(client.patch(path, content=b'{"camera_id": "' + b"x" * 2**20 + b'"}'), 413, "1,048,576")
    refused(client.patch(f"{gallery}/images/nothing", json={}), 404)
    refused(client.patch(f"{path}?camera_id=c1", json={}), 422, "unknown parameter")


def test_patches_at_the_same_time_all_count(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 1)
    together = threading.Barrier(4)

    def patch(number: int) -> int:
        together.wait(30)
        codes = {
            client.patch(f"{gallery}/images/i0", json={"attributes": {f"a{number}-{round_}": 1}}).status_code
            for round_ in range(5)
        }
        return codes.pop() if len(codes) == 1 else 0

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(patch, range(4))) == [200] * 4
    assert len(client.get(f"{gallery}/images/i0").json()["attributes"]) == 20


def test_erasing_one(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 2)
    erased = client.delete(f"{gallery}/images/i0")
    assert (erased.status_code, erased.content) == (204, b"")
    for end in ("", "/crop", "/similar"):
        refused(client.get(f"{gallery}/images/i0{end}"), 404, "i0")
    refused(client.delete(f"{gallery}/images/i0"), 404)
    found = client.post(f"{gallery}/search", content=jpeg(0)).json()["matches"]
    assert [match["image_id"] for match in found] == ["i1"]


def test_erasing_by_filter_needs_a_filter_or_all(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 5, attributes={"lane": 1})
    refused(client.delete(f"{gallery}/images"), 422, "all=true")
    refused(client.delete(f"{gallery}/images?all=false"), 422, "true")
    refused(client.delete(f"{gallery}/images?all=true&camera_id=c1"), 422, "without filters")
    refused(client.delete(f"{gallery}/images?camera=c1"), 422, "unknown parameter")
    refused(client.delete(f"{gallery}/images?top_k=1"), 422, "unknown parameter")
    assert len(listed(client, gallery)) == 5
    assert client.delete(f"{gallery}/images?camera_id=c1&camera_id=c2").json() == {"deleted": 2}
    assert client.delete(f"{gallery}/images?attribute.lane=2").json() == {"deleted": 0}
    assert listed(client, gallery) == ["i0", "i3", "i4"]
    assert client.delete(f"{gallery}/images?exclude_camera_id=c0").json() == {"deleted": 2}
    assert client.delete(f"{gallery}/images?all=true").json() == {"deleted": 1}
    assert listed(client, gallery) == []


def test_many_are_changed_by_filter(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 5, vehicle_id="v1", attributes={"lane": 1})
    path = f"{gallery}/images"
    assert client.patch(f"{path}?image_id=i1&image_id=i2", json={"vehicle_id": "v2"}).json() == {"updated": 2}
    assert listed(client, gallery, vehicle_id="v2") == ["i1", "i2"]
    assert listed(client, gallery, vehicle_id="v1") == ["i0", "i3", "i4"]
    merge = {"vehicle_id": "v1", "attributes": {"lane": None, "merged": "yes"}}
    assert client.patch(f"{path}?vehicle_id=v2", json=merge).json() == {"updated": 2}
    assert client.get(f"{path}/i1").json()["attributes"] == {"merged": "yes"}
    assert client.get(f"{path}/i0").json()["attributes"] == {"lane": 1}
    assert client.patch(f"{path}?all=true", json={"camera_id": None}).json() == {"updated": 5}
    assert {image["camera_id"] for image in client.get(path).json()["images"]} == {None}
    assert client.patch(f"{path}?vehicle_id=v9", json={"vehicle_id": "v1"}).json() == {"updated": 0}


def test_what_a_patch_of_many_must_not_say(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 2, attributes={f"a{number}": 1 for number in range(64)})
    path = f"{gallery}/images"
    refused(client.patch(path, json={"vehicle_id": "v"}), 422, "at least one filter")
    refused(client.patch(f"{path}?all=true&image_id=i0", json={}), 422, "without filters")
    refused(client.patch(f"{path}?camera=c1", json={}), 422, "unknown parameter")
    refused(client.patch(f"{path}?image_id=-", json={}), 422, "image_id")
    refused(
        client.patch(f"{path}?vehicle_id=nobody", json={"vehicle_id": 7}), 422, "vehicle_id"
    )  # also where none passes
    refused(client.patch(f"{path}?all=true", json={"image_id": "x"}), 422, "cannot be changed")
    refused(client.patch(f"{path}?all=true", content=b"{"), 400)
    refused(client.patch(f"{path}?all=true", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "merge-patch")
    told = refused(client.patch(f"{path}?all=true", json={"camera_id": "c", "attributes": {"one": 1}}), 422, "65", "i0")
    assert told["errors"][0]["pointer"] == "/attributes"
    assert listed(client, gallery, camera_id="c") == []


def test_facets_of_a_gallery(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 3, vehicle_id="v1", captured_at="2026-05-04T10:11:12Z", attributes={"colour": "red"})
    found = client.get(f"{gallery}/facets").json()
    assert (found["images"], found["vehicles"]) == (3, 1)
    assert found["cameras"] == [{"camera_id": f"c{number}", "images": 1} for number in range(3)]
    assert sum(each["images"] for each in found["viewpoints"]) == 3
    assert found["attributes"] == [{"name": "colour", "images": 3, "values": [{"value": "red", "images": 3}]}]
    assert found["first_captured_at"] == found["last_captured_at"] == "2026-05-04T10:11:12Z"
    assert found["last_change"] == client.get(gallery).json()["last_change"]
    refused(client.get(f"{gallery}/facets?camera_id=c1"), 422, "unknown parameter")
    refused(client.get("/v1/galleries/nowhere/facets"), 404)


def test_a_crop_is_named_by_its_content(client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/whole", content=jpeg(0))
    client.put(f"{gallery}/images/part", files=parts(jpeg(0), metadata={"box": [10, 20, 30, 40]}))
    whole, part = client.get(f"{gallery}/images/whole/crop"), client.get(f"{gallery}/images/part/crop")
    assert (whole.headers["content-type"], part.headers["content-type"]) == ("image/jpeg", "image/png")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(part.content)).size == (30, 40)
    tag = whole.headers["etag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(f"{gallery}/images/whole/crop", headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = client.get(f"{gallery}/images/whole/crop", headers={"If-None-Match": part.headers["etag"]})
    assert changed.content == whole.content


def test_a_crop_comes_smaller_to_look_at(client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/own", content=jpeg(0, (320, 200)))
    client.put(f"{gallery}/images/part", files=parts(jpeg(0, (320, 200)), metadata={"box": [0, 0, 200, 160]}))
    path = f"{gallery}/images/own/crop"
    whole, small, smaller = (client.get(path, params=query) for query in ({}, {"max_side": 64}, {"max_side": 32}))
    assert [Image.open(io.BytesIO(each.content)).size for each in (whole, small, smaller)] == [
        (320, 200), (64, 40), (32, 20)
    ]  # fmt: skip
    tags = {each.headers["etag"] for each in (whole, small, smaller)}
    assert len(tags) == 3
    assert whole.headers["cache-control"] == "private, no-cache"
    assert small.headers["cache-control"] == "private, max-age=300"
    assert small.headers["vary"] == "Authorization"
    for query, known in (({"max_side": 64}, small), ({"max_side": 32}, smaller), ({}, whole)):
        again = client.get(path, params=query, headers={"If-None-Match": known.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == known.headers["cache-control"]
    assert (
        client.get(path, params={"max_side": 32}, headers={"If-None-Match": small.headers["etag"]}).status_code == 200
    )
    part = client.get(f"{gallery}/images/part/crop", params={"max_side": 2048})  # a PNG, small enough already
    assert (part.headers["content-type"], Image.open(io.BytesIO(part.content)).format) == ("image/jpeg", "JPEG")
    for wrong in ("15", "2049", "0", "-1", "x", "1e2", ""):
        refused(client.get(path, params={"max_side": wrong}), 422, "max_side", "16 to 2048")
    refused(client.get(f"{gallery}/images/nobody/crop", params={"max_side": 64}), 404, "nobody")


def test_a_stored_crop_carries_no_metadata(client: httpx.Client, gallery: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "the driver's name"
    client.put(f"{gallery}/images/own", content=encoded(photograph(0), "JPEG", exif=exif, comment=b"secret"))
    crop = client.get(f"{gallery}/images/own/crop").content
    assert b"driver" not in crop
    assert b"secret" not in crop


def test_a_gallery_without_crops_searches_and_says_so(client: httpx.Client, gallery: str) -> None:
    name = f"{gallery}-bare"
    assert client.put(name, json={"keep_crops": False}).status_code == 201
    document = client.put(f"{name}/images/own", content=png(0)).json()
    assert document["crop"] is None
    refused(client.get(f"{name}/images/own/crop"), 404, "keeps no crop")
    refused(client.get(f"{name}/images/own/similar?include=attention"), 404, "keeps no crop")
    assert client.get(f"{name}/images/own/similar").status_code == 200
    client.delete(name, params={"confirm": name.rpartition("/")[2]})


def test_pages_of_a_listing(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 7)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    sizes = []
    while True:
        page = client.get(f"{gallery}/images", params=query).json()
        seen += [image["image_id"] for image in page["images"]]
        sizes.append(len(page["images"]))
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert sizes == [3, 3, 1]
    assert seen == sorted(seen) == [f"i{number}" for number in range(7)]
    assert listed(client, gallery, camera_id=["c1", "c5"]) == ["i1", "i5"]
    for wrong in ("limit=0", "limit=1001", "limit=x", "cursor=", "cursor=%25", "cursor=!!", "cursor=x&cursor=y", "a=b"):
        refused(client.get(f"{gallery}/images?{wrong}"), 422)
    refused(client.get(f"{gallery}/images?cursor=_w"), 422, "cursor")  # base64 of what is not UTF-8
    cursor = client.get(f"{gallery}/images?limit=1").json()["next"]
    refused(client.get(f"{gallery}/images?cursor={cursor}&offset=1"), 422, "without an offset")
    refused(client.get(f"{gallery}/images?cursor={cursor}&order=newest"), 422, "another order")
    for wrong in ("offset=-1", "offset=1e3", "order=oldest", "total=false", "image_id=", "image_id=%20"):
        refused(client.get(f"{gallery}/images?{wrong}"), 422)


def test_a_listing_may_begin_anywhere(client: httpx.Client, gallery: str) -> None:
    ingest(client, gallery, 7)
    page = client.get(f"{gallery}/images?offset=4&limit=2&total=true").json()
    assert ([image["image_id"] for image in page["images"]], page["total"]) == (["i4", "i5"], 7)
    assert [each["image_id"] for each in client.get(f"{gallery}/images?cursor={page['next']}").json()["images"]] == [
        "i6"
    ]
    newest = client.get(f"{gallery}/images?order=newest&limit=2&camera_id=c1&camera_id=c3&camera_id=c6").json()
    assert [image["image_id"] for image in newest["images"]] == ["i6", "i3"]
    assert "total" not in newest
    assert client.get(f"{gallery}/images?offset=900000000&total=true").json() == {
        "images": [],
        "next": None,
        "total": 7,
    }
    assert listed(client, gallery, image_id=["i2", "i5", "none"]) == ["i2", "i5"]


def test_a_box_that_does_not_fit_is_pointed_at(client: httpx.Client, gallery: str) -> None:
    outside = {"box": [0, 0, 10_000, 10]}
    many = client.post(f"{gallery}/images", files=parts(jpeg(0), jpeg(1), metadata=json.dumps([{}, outside]).encode()))
    assert many.json()["results"][1]["problem"]["errors"][0]["pointer"] == "/metadata/1/box"
    one = refused(client.put(f"{gallery}/images/own", files=parts(jpeg(0), metadata=json.dumps(outside).encode())), 422)
    assert one["errors"][0]["pointer"] == "/metadata/box"
    query = refused(client.post(f"{gallery}/search?box=0,0,10000,10", content=jpeg(0)), 422)
    assert query["errors"][0]["pointer"] == "/query/box"


@pytest.mark.parametrize("content", [b"", b"text", jpeg(0)[:200]])
def test_a_picture_at_fault_is_pointed_at(client: httpx.Client, gallery: str, content: bytes) -> None:
    for response in (
        client.post(f"{gallery}/search", content=content),
        client.put(f"{gallery}/images/own", content=content),
    ):
        assert response.status_code in (400, 415)
        assert response.json()["errors"][0]["pointer"] == "/image"


def test_an_id_that_stands_twice_fails_the_request_also_where_one_object_is_wrong(
    client: httpx.Client, gallery: str
) -> None:
    metadata = b'[{"image_id": "d", "x": 1}, {"image_id": "d"}]'
    refused(client.post(f"{gallery}/images", files=parts(jpeg(0), jpeg(1), metadata=metadata)), 422, "image_id d")
