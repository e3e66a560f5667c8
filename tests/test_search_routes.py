"""Searching over HTTP: what is found, and what each bad picture, part or parameter gets."""

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.http_client import exchange, form, parts, refused, status_of
from tests.pictures import encoded, jpeg, photograph, png, png_header


@pytest.fixture
def filled(client: httpx.Client, gallery: str) -> str:
    """A gallery of six images: vehicles v0–v2 at cameras c0 and c1, the sixth without a vehicle."""
    metadata = [
        {
            "image_id": f"i{number}", "vehicle_id": f"v{number // 2}" if number < 5 else None,
            "camera_id": f"c{number % 2}", "captured_at": f"2026-05-04T10:0{number}:00Z",
            "attributes": {"lane": number % 3, "code": str(number % 3), "name": f"n {number}"},
        }
        for number in range(6)
    ]  # fmt: skip
    pictures = [jpeg(number) for number in range(6)]
    answer = client.post(f"{gallery}/images", files=parts(*pictures, metadata=metadata))
    assert answer.json()["created"] == 6, answer.text
    return gallery


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [match["image_id"] for match in response.json()["matches"]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_stored_picture_is_found_at_distance_zero(client: httpx.Client, gallery: str, kind: str) -> None:
    data = encoded(photograph(3), kind)
    client.put(f"{gallery}/images/other", content=jpeg(9))
    client.put(f"{gallery}/images/own", content=data)

    answer = client.post(f"{gallery}/search", content=data).json()

    assert answer["matches"][0]["image_id"] == "own"
    assert answer["matches"][0]["distance"] <= 1e-3
    assert [match["rank"] for match in answer["matches"]] == [1, 2]
    assert answer["gallery"] == gallery.rpartition("/")[2]
    assert answer["queries"] == 1
    assert answer["viewpoint"].keys() == {"front", "rear", "side"}
    assert answer["timing_ms"].keys() == {"decode", "queue", "embed", "search", "total"}
    assert answer["model"] == client.get("/v1/model").json()["fingerprint"]


@pytest.mark.parametrize("data", [jpeg(4, (160, 120)), png(4, (160, 120))], ids=["jpeg", "png"])
def test_a_picture_stored_with_a_box_is_found_with_that_box(client: httpx.Client, gallery: str, data: bytes) -> None:
    metadata = {"box": [13, 7, 81, 90]}
    assert client.put(f"{gallery}/images/own", files=parts(data, metadata=metadata)).status_code == 201
    match = client.post(f"{gallery}/search", params={"box": "13,7,81,90"}, content=data).json()["matches"][0]
    assert match["distance"] <= 1e-3


def test_exif_orientation_comes_before_the_box(client: httpx.Client, gallery: str) -> None:
    upright = photograph(5, (120, 80))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise when shown
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    client.put(f"{gallery}/images/own", content=encoded(upright.crop((70, 10, 110, 70)), "PNG"))

    found = client.post(f"{gallery}/search", params={"box": "70,10,40,60"}, content=turned)
    assert found.json()["matches"][0]["distance"] <= 1e-3
    outside = client.post(f"{gallery}/search", params={"box": "10,70,60,40"}, content=turned)
    refused(outside, 422, "120 × 80")


@pytest.mark.parametrize("declared", ["image/png", "text/plain", "application/json", "image/tiff", ""])
def test_the_bytes_decide_what_a_picture_is(client: httpx.Client, filled: str, declared: str) -> None:
    headers = {"Content-Type": declared} if declared else {}
    assert ids(client.post(f"{filled}/search", content=jpeg(0), headers=headers))[0] == "i0"


def test_curls_default_content_type_is_no_form(client: httpx.Client, filled: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ids(client.post(f"{filled}/search", content=jpeg(0), headers=headers))[0] == "i0"


def mpo() -> bytes:
    return encoded(photograph(0), "MPO", save_all=True, append_images=[photograph(1)], quality=92)


def transparent() -> bytes:
    image = photograph(0).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image, "PNG")


READ = {
    "phone MPO": mpo(),
    "palette": encoded(photograph(0).quantize(16), "PNG"),
    "palette GIF": encoded(photograph(0).quantize(16), "GIF", transparency=3),
    "CMYK": encoded(photograph(0).convert("CMYK"), "JPEG"),
    "transparent": transparent(),
    "grey": encoded(photograph(0).convert("L"), "JPEG"),
    "16-bit grey": encoded(Image.fromarray(np.full((40, 40), 40_000, np.uint16)), "PNG"),
    "1 × 1": png(0, (1, 1)),
    "10000 × 1": png(0, (10_000, 1)),
    "1 × 10000": jpeg(0, (1, 10_000)),
}


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_picture_is_read(client: httpx.Client, gallery: str, name: str) -> None:
    assert client.put(f"{gallery}/images/own", content=READ[name]).status_code == 201
    answer = client.post(f"{gallery}/search", content=READ[name]).json()
    assert answer["matches"][0]["distance"] <= 1e-3


REFUSED = {
    "empty": (b"", 400, "empty"),
    "text": (b"a red car, please", 415, "text"),
    "JSON": (b'{"image": "car.jpg"}', 415, "text"),
    "truncated JPEG": (jpeg(0)[:700], 400, "truncated"),
    "truncated PNG": (png(0)[:-300], 400, ""),
    "signature alone": (b"\xff\xd8\xff", 400, ""),
    "damaged": (png(0)[:60] + b"\0" * 40 + png(0)[100:], 400, "damaged"),
    "TIFF": (encoded(photograph(0), "TIFF"), 415, "TIFF"),
    "PDF": (b"%PDF-1.7 and so on", 415, "PDF"),
    "decompression bomb": (png_header(50_000, 50_000), 413, "50,000,000"),
    "side too long": (png_header(70_000, 1), 413, "65,535"),
    "no pixels": (png_header(0, 5), 400, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused(client: httpx.Client, filled: str, name: str) -> None:
    data, status, word = REFUSED[name]
    refused(client.post(f"{filled}/search", content=data), status, word)
    refused(client.post(f"{filled}/search", files=parts(data)), status, word)


PARAMETERS = {
    "unknown": ("camera=c1", "unknown parameter"),
    "misspelt filter": ("captured_befor=2026-01-01T00:00:00Z", "captured_before"),
    "repeated": ("top_k=3&top_k=4", "may stand once"),
    "top_k 0": ("top_k=0", "1 to 1000"),
    "top_k 1001": ("top_k=1001", "1 to 1000"),
    "top_k text": ("top_k=ten", "1 to 1000"),
    "top_k sign": ("top_k=%2B5", "1 to 1000"),
    "top_k digits of another script": ("top_k=%D9%A3", "1 to 1000"),
    "top_k huge": ("top_k=" + "9" * 5000, "1 to 1000"),
    "max_distance NaN": ("max_distance=NaN", "finite"),
    "max_distance infinite": ("max_distance=inf", "finite"),
    "max_distance overflow": ("max_distance=1e999", "finite"),
    "max_distance negative": ("max_distance=-1", "finite"),
    "box of three": ("box=1,2,3", "x,y,width,height"),
    "box of nothing": ("box=0,0,0,5", "at least 1"),
    "box negative": ("box=-1,0,5,5", "x,y,width,height"),
    "box outside": ("box=90,0,40,40", "96 × 72"),
    "box huge": ("box=999999999,999999999,999999999,999999999", "96 × 72"),
    "time without offset": ("captured_after=2026-05-04T10:00:00", "offset"),
    "time out of range": ("captured_before=9999-12-31T23:59:59-23:59", "time"),
    "no time": ("captured_before=yesterday", "time"),
    "viewpoint": ("viewpoint=top", "front, rear, side"),
    "group_by": ("group_by=camera_id", "vehicle_id"),
    "include": ("include=pixels", "embedding"),
    "combine": ("combine=max", "mean"),
    "empty label": ("camera_id=", "1–256"),
    "long label": ("camera_id=" + "x" * 257, "1–256"),
    "NUL label": ("camera_id=a%00b", "NUL"),
    "attribute without name": ("attribute.=1", "name"),
    "long attribute": ("attribute.x=" + "y" * 1100, "1024"),
    "not UTF-8": ("camera_id=%ff", "UTF-8"),
    "surrogate": ("camera_id=%ed%a0%80", "UTF-8"),
    "too many": ("&".join(f"camera_id=c{number}" for number in range(300)), "256"),
    "unknown with hostile name": ("%00%22%7e%2f=1", "unknown parameter"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_wrong_parameter_is_refused(client: httpx.Client, filled: str, name: str) -> None:
    query, word = PARAMETERS[name]
    document = refused(client.post(f"{filled}/search?{query}", content=jpeg(0)), 422)
    assert word.lower() in document["detail"].lower()
    if not name.startswith("box"):
        assert document["errors"][0]["pointer"].startswith("/query")


def test_a_query_that_is_not_percent_encoded_is_refused(server: str, gallery: str) -> None:
    target = f"GET {gallery}/images?camera_id=Zürich HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert status_of(exchange(server, target.encode())) == 400


def test_filters(client: httpx.Client, filled: str) -> None:
    def found(query: str) -> set[str]:
        return set(ids(client.post(f"{filled}/search?{query}", content=jpeg(0))))

    everything = {f"i{number}" for number in range(6)}
    assert found("") == found("top_k=1000") == everything
    assert len(found("top_k=1")) == 1
    assert found("camera_id=c0") == {"i0", "i2", "i4"}
    assert found("camera_id=c0&camera_id=c1") == everything
    assert found("exclude_camera_id=c0") == {"i1", "i3", "i5"}
    assert found("vehicle_id=v0&camera_id=c1") == {"i1"}
    assert found("captured_after=2026-05-04T10:03:00Z") == {"i3", "i4", "i5"}
    assert found("captured_before=2026-05-04T10:03:00Z") == {"i0", "i1", "i2"}
    assert found("captured_after=2026-05-04T12:03:00+02:00") == {"i3", "i4", "i5"}  # "+" reaches us as a space
    assert found("captured_after=2026-05-04T12:03:00%2B02:00") == {"i3", "i4", "i5"}
    assert found("captured_after=2026-05-04T08:03:00-02:00") == {"i3", "i4", "i5"}
    assert found("max_distance=0.001") == {"i0"}
    assert found("vehicle_id=nobody") == set()
    assert found("viewpoint=front&viewpoint=rear&viewpoint=side") == everything


def test_attributes_are_compared_by_type(client: httpx.Client, filled: str) -> None:
    def found(query: str) -> set[str]:
        return set(ids(client.post(f"{filled}/search?{query}", content=jpeg(0))))

    assert found("attribute.lane=1") == found("attribute.lane=1.0") == found("attribute.lane=10e-1") == {"i1", "i4"}
    assert found('attribute.lane="1"') == set()
    assert found('attribute.code="1"') == {"i1", "i4"}
    assert found("attribute.code=1") == set()
    assert found("attribute.name=n 3") == found("attribute.name=n+3") == found('attribute.name="n 3"') == {"i3"}
    assert found("attribute.lane=0&attribute.lane=1&attribute.code=%220%22") == {"i0", "i3"}


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 10**18, 0.1, 1e300, -0.0])
def test_a_number_is_found_whatever_its_size(client: httpx.Client, gallery: str, number: float) -> None:
    client.put(f"{gallery}/images/own", files=parts(jpeg(0), metadata={"attributes": {"n": number}}))
    found = client.get(f"{gallery}/images", params={"attribute.n": str(number)}).json()["images"]
    assert [image["attributes"] for image in found] == [{"n": number}]


def test_the_best_image_of_each_vehicle(client: httpx.Client, filled: str) -> None:
    answer = client.post(f"{filled}/search?group_by=vehicle_id", content=jpeg(1)).json()
    vehicles = [match["vehicle_id"] for match in answer["matches"]]
    assert sorted(map(str, vehicles)) == ["None", "v0", "v1", "v2"]
    assert answer["matches"][0]["image_id"] == "i1"


def test_more_in_the_answer(client: httpx.Client, filled: str) -> None:
    plain = client.post(f"{filled}/search", content=jpeg(0)).json()
    assert "embedding" not in plain
    assert "attention" not in plain
    answer = client.post(f"{filled}/search?include=embedding,attention", content=jpeg(0)).json()
    assert np.allclose(answer["embedding"], answer["matches"][0]["embedding"], atol=1e-4)
    assert np.linalg.norm(answer["embedding"]) == pytest.approx(1, abs=1e-5)
    assert np.array(answer["attention"]["global"]).shape == np.array(answer["attention"]["local"]).shape
    similar = client.get(f"{filled}/images/i0/similar?include=embedding,attention").json()
    assert similar["attention"] == answer["attention"]
    assert np.allclose(similar["embedding"], answer["embedding"], atol=1e-4)


@pytest.mark.parametrize("count", [2, 8])
def test_several_pictures_of_one_vehicle(client: httpx.Client, filled: str, count: int) -> None:
    pictures = [jpeg(number) for number in range(count)]
    answer = client.post(f"{filled}/search?combine=mean&include=embedding", files=parts(*pictures)).json()
    assert answer["queries"] == count
    rows = [one["embedding"] for one in client.post("/v1/embeddings", files=parts(*pictures)).json()["results"]]
    mean = np.mean(rows, axis=0)
    assert np.allclose(answer["embedding"], mean / np.linalg.norm(mean), atol=1e-5)


def test_several_pictures_need_to_be_combined_and_are_eight_at_most(client: httpx.Client, filled: str) -> None:
    two, nine = parts(jpeg(0), jpeg(1)), parts(*[jpeg(number) for number in range(9)])
    refused(client.post(f"{filled}/search", files=two), 422, "combine=mean", "search/batch")
    refused(client.post(f"{filled}/search?combine=mean", files=nine), 413, "8 pictures")
    refused(client.post(f"{filled}/search?combine=mean&box=0,0,5,5", files=two), 422, "box")
    assert ids(client.post(f"{filled}/search?combine=mean", files=parts(jpeg(0))))[0] == "i0"
    damaged = client.post(f"{filled}/search?combine=mean", files=parts(jpeg(0), b"text"))
    assert refused(damaged, 415, "image 1")["errors"][0]["pointer"] == "/image/1"


def test_a_bad_picture_of_a_batch_fails_alone(client: httpx.Client, filled: str) -> None:
    pictures = parts(jpeg(0), jpeg(1)[:500], jpeg(2), b"", jpeg(3))
    results = client.post(f"{filled}/search/batch?top_k=2", files=pictures).json()["results"]
    assert [result["matches"][0]["image_id"] for result in results if "matches" in result] == ["i0", "i2", "i3"]
    assert [result["problem"]["status"] for result in results if "problem" in result] == [400, 400]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/image/1"
    assert all(len(result["matches"]) == 2 for result in results if "matches" in result)
    only_bad = client.post(f"{filled}/search/batch", files=parts(b"text")).json()
    assert only_bad["results"][0]["problem"]["status"] == 415


def test_too_many_queries_name_limit_and_setting(client: httpx.Client, filled: str) -> None:
    pictures = parts(*[b"x"] * 65)
    refused(client.post(f"{filled}/search/batch", files=pictures), 413, "64", "max_queries")
    refused(client.post("/v1/embeddings", files=parts(*[b"x"] * 300)), 413, "64", "max_queries")


def test_similar_leaves_the_image_itself_out(client: httpx.Client, filled: str) -> None:
    found = ids(client.get(f"{filled}/images/i2/similar?top_k=5"))
    searched = ids(client.post(f"{filled}/search", content=jpeg(2)))
    assert found == searched[1:]
    refused(client.get(f"{filled}/images/nothing/similar"), 404, "nothing")
    refused(client.get(f"{filled}/images/i2/similar?box=0,0,1,1"), 422, "unknown parameter")


def test_embeddings_of_one_and_of_several(client: httpx.Client) -> None:
    alone = client.post("/v1/embeddings", content=jpeg(0)).json()
    several = client.post("/v1/embeddings", files=parts(jpeg(1), b"text", jpeg(0))).json()["results"]
    assert np.allclose(alone["results"][0]["embedding"], several[2]["embedding"], atol=1e-4)
    assert several[1]["problem"]["status"] == 415
    told = refused(client.post("/v1/embeddings", content=b"text"), 415)
    assert told["errors"][0]["pointer"] == "/image"
    refused(client.post("/v1/embeddings?top_k=1", content=jpeg(0)), 422, "none")


def test_parts_that_no_route_knows(client: httpx.Client, filled: str) -> None:
    unknown = client.post(f"{filled}/search", files=[*parts(jpeg(0)), ("picture", ("x", b"1"))])
    refused(unknown, 422, "unknown part", "'picture'")
    refused(client.post(f"{filled}/search", files=parts(jpeg(0), metadata={})), 422, "unknown part", "'metadata'")
    body, headers = form(('form-data; name="other"', b"1"))
    refused(client.post(f"{filled}/search", content=body, headers=headers), 422, "unknown part")


@pytest.mark.parametrize("name", ["none", "Default", "..%2f..", "a b", "x" * 64, "%00", "%F0%9F%9A%97", "%ff"])
def test_a_gallery_that_is_not_there(server: str, client: httpx.Client, name: str) -> None:
    response = client.post(f"/v1/galleries/{name}/search", content=jpeg(0))
    refused(response, 404 if name in ("none", "..%2f..") else 422)


def test_a_search_that_the_client_gives_up_leaves_the_service_well(server: str, filled: str) -> None:
    head = f"POST {filled}/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n".encode()
    for _ in range(3):
        exchange(server, head + jpeg(0), end=True)
    whole = f"POST {filled}/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(jpeg(0))}\r\n\r\n".encode()
    assert status_of(exchange(server, whole + jpeg(0))) == 200
