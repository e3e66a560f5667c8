"""Bodies as they come over the wire: multipart written by hand, too large ones, and ones that never end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.http_client import body_of, exchange, form, refused, status_of
from tests.pictures import jpeg
from tests.server_process import serving

IMAGE = 'form-data; name="image"'


def sent(client: httpx.Client, gallery: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return client.post(f"{gallery}/images", content=body, headers=headers)


def test_bytes_of_a_part_are_taken_as_they_are(client: httpx.Client, gallery: str) -> None:
    for disposition in (
        IMAGE,
        f'{IMAGE}; filename="car.jpg"',
        f'{IMAGE}; filename=""',
        f"{IMAGE}; filename*=UTF-8''%c3%bc",
    ):
        body, headers = form((disposition, jpeg(0)))
        assert sent(client, gallery, body, headers).json()["created"] == 1
    body, headers = form((f"{IMAGE}\r\nContent-Type: text/plain; charset=utf-16", jpeg(0)))
    assert sent(client, gallery, body, headers).json()["created"] == 1


def test_a_header_name_in_any_case(client: httpx.Client, gallery: str) -> None:
    body, headers = form((IMAGE, jpeg(0)))
    assert (
        sent(client, gallery, body.replace(b"Content-Disposition", b"CONTENT-disposition"), headers).json()["created"]
        == 1
    )
    loud = {"content-type": 'Multipart/Form-Data; charset=utf-8; boundary="frontier"'}
    assert sent(client, gallery, body, loud).json()["created"] == 1


WHOLE, HEADERS = form((IMAGE, jpeg(0)))
DAMAGED = {
    "no final boundary": form((IMAGE, jpeg(0)), last=False),
    "cut in a picture": (WHOLE[:300], HEADERS),
    "cut in a header": (WHOLE[:30], HEADERS),
    "empty": (b"", HEADERS),
    "another boundary": (WHOLE, {"Content-Type": "multipart/form-data; boundary=other"}),
    "no boundary": (WHOLE, {"Content-Type": "multipart/form-data"}),
    "empty boundary": (WHOLE, {"Content-Type": "multipart/form-data; boundary="}),
    "long boundary": (WHOLE, {"Content-Type": f"multipart/form-data; boundary={'x' * 3000}"}),
    "no disposition": (WHOLE.replace(b"Content-Disposition", b"Content-Type"), HEADERS),
    "no name": (WHOLE.replace(b' name="image"', b" x=y"), HEADERS),
    "attachment": (WHOLE.replace(b"form-data;", b"attachment;"), HEADERS),
    "hostile header": (WHOLE.replace(b"Content-Disposition", b"Content\0Disposition"), HEADERS),
    "many headers": (WHOLE.replace(b"Content-Disposition", b"A: b\r\n" * 50 + b"Content-Disposition"), HEADERS),
    "long header": (WHOLE.replace(b"form-data;", b"form-data; x=" + b"y" * 9000 + b";"), HEADERS),
    "JSON": (b'{"image": 1}', HEADERS),
    "a picture": (jpeg(0), HEADERS),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_multipart_body(client: httpx.Client, gallery: str, name: str) -> None:
    refused(sent(client, gallery, *DAMAGED[name]), 400, "multipart")
    assert client.get(gallery).json()["images"] == 0


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_multipart_body_of_an_import(client: httpx.Client, gallery: str, name: str) -> None:
    body, headers = DAMAGED[name]
    archive = body.replace(b'name="image"', b'name="archive"')
    refused(client.post(f"{gallery}/imports", content=archive, headers=headers), 400, "multipart")


@pytest.mark.parametrize("path", ["images", "search", "search/batch"])
def test_a_body_without_bytes(client: httpx.Client, gallery: str, path: str) -> None:
    document = refused(client.post(f"{gallery}/{path}"), 400, "the body is empty")
    assert document["errors"][0]["pointer"] == "/image"


@pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/related; boundary=frontier", "multipart/x"])
def test_another_multipart(client: httpx.Client, gallery: str, kind: str) -> None:
    refused(sent(client, gallery, WHOLE, {"Content-Type": kind}), 415, "multipart/form-data")


@pytest.mark.parametrize(
    "disposition",
    ['form-data; name="ima\\"ge"', "form-data; name*=UTF-8''%69%ff", 'form-data; name=""', 'form-data; name="\udcff"',
     'form-data; name="image\0"', "form-data; name*0=im; name*1=age", "form-data; name*1*=x'y'%zz"],
)  # fmt: skip
def test_a_part_with_a_strange_name(client: httpx.Client, gallery: str, disposition: str) -> None:
    body, headers = form(("@", jpeg(0)))
    body = body.replace(b"@", disposition.encode("utf-8", "surrogateescape"), 1)
    response = sent(client, gallery, body, headers)
    assert response.status_code in (200, 400, 422), response.text


@pytest.mark.parametrize(
    "kind", ["boundary", ";;;", "multipart/form-data; boundary*=utf-8'x'%ff", "a/b; c*0*=d'e'%f", "\xff/\xfe"]
)
def test_a_strange_content_type(client: httpx.Client, gallery: str, kind: str) -> None:
    response = client.post(f"{gallery}/search", content=jpeg(0), headers=[(b"content-type", kind.encode("latin-1"))])
    assert response.status_code in (200, 400), response.text


@pytest.fixture(scope="module")
def narrow(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that takes 100,000 bytes."""
    folder = tmp_path_factory.mktemp("narrow")
    with serving(folder / "data", tiny_model, "--max-body-bytes", "100000", log=folder / "log") as address:
        yield address
    assert "Traceback" not in (folder / "log").read_text()


def test_a_body_that_is_too_large(narrow: str) -> None:
    with httpx.Client(base_url=narrow, timeout=60) as client:
        for path in ("/v1/galleries/default/search", "/v1/galleries/default/images", "/v1/embeddings"):
            refused(client.post(path, content=b"x" * 100_001), 413, "100,000", "max_body_bytes")
            refused(client.post(path, content=iter([b"x" * 60_000] * 3)), 413, "100,000", "max_body_bytes")  # chunked
            refused(client.post(path, content=b"x" * 30_000_000), 413, "max_body_bytes")  # sent although nobody reads
            refused(client.post(path, content=iter([b"x" * 1_000_000] * 30)), 413, "max_body_bytes")
            assert client.post(path, content=b"x" * 100_000).status_code != 413
        assert client.post("/v1/galleries/default/search", content=jpeg(0)).status_code == 200
        refused(client.put("/v1/galleries/new", content=b" " * 100_001), 413, "max_body_bytes")


def test_a_declared_length_is_refused_before_the_body_comes(narrow: str) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
    answer = exchange(narrow, head + b"Expect: 100-continue\r\n\r\n")
    assert status_of(answer) == 413
    assert "max_body_bytes" in body_of(answer)["detail"]


def test_a_client_that_is_told_to_go_on_goes_on(server: str) -> None:
    picture = jpeg(0)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n"
    answer = exchange(server, f"{head}Expect: 100-continue\r\n\r\n".encode(), picture)
    assert status_of(answer) in (100, 200)


@pytest.mark.parametrize("picture", [jpeg(0), b""])
def test_a_client_that_leaves_gives_its_place_back(narrow: str, picture: bytes) -> None:
    for path in ("search", "images"):
        for length in ("Content-Length: 90000\r\n", "Transfer-Encoding: chunked\r\n"):
            head = f"POST /v1/galleries/default/{path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode()
            body = b"%x\r\n%s\r\n" % (len(picture), picture) if "chunked" in length and picture else picture
            for _ in range(3):
                exchange(narrow, head + body, end=True)
    metrics = httpx.get(f"{narrow}/metrics").text
    assert "vehicle_search_queue_requests 0.0" in metrics


def test_requests_one_behind_the_other(narrow: str) -> None:
    request = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\ntext"
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert status_of(exchange(narrow, request + request + last)) == 415


def test_a_body_that_does_not_come_frees_its_place(tiny_model: Path, tmp_path: Path) -> None:
    """Stalled senders are told 408 after the deadline, and the next search is answered."""
    options = ("--body-seconds", "0.3", "--threads", "1", "--queue-size", "1")
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nab"
    with serving(tmp_path / "data", tiny_model, *options) as address:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: exchange(address, head), range(2)))
        assert [status_of(answer) for answer in answers] == [408, 408]
        assert b"body_seconds" in answers[0]
        assert httpx.post(f"{address}/v1/embeddings", content=jpeg(0)).status_code == 200


def test_a_json_body_is_not_read_beyond_its_limit(server: str, client: httpx.Client, gallery: str) -> None:
    told = refused(client.put(f"{gallery}x", content=bytes((1 << 20) + 1)), 413, "1,048,576 bytes", "fixed limit")
    assert told["type"] == "urn:vehicle-search:problem:request-too-large"
    head = f"PATCH {gallery}/images/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    answer = exchange(server, head, chunk, b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
