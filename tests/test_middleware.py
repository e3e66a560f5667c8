"""Who may call a keyless service, which paths and methods there are, with the real server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http_client import PROBLEM, body_of, exchange, raw, status_of
from tests.pictures import jpeg
from tests.server_process import serving


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000", "127.8.9.10"]
)
def test_names_of_this_machine_may_call(server: str, host: str) -> None:
    assert status_of(raw(server, "GET", "/livez", host=host)) == 200


@pytest.mark.parametrize(
    "host",
    ["example.org", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.5", "0.0.0.0", "", "[::1", "[",
     "127.0.0.1:evil.example", "a" * 9000, "localhost@example.org", "\xe4", "127.0.0.1, example.org", "[fe80::1%25lo]", "2130706433"],
)  # fmt: skip
def test_other_names_are_refused(server: str, host: str) -> None:
    answer = raw(server, "GET", "/v1/galleries", host=host)
    assert status_of(answer) == 403, answer
    assert body_of(answer)["status"] == 403
    assert PROBLEM.encode() in answer


def test_a_request_without_host_is_refused(server: str) -> None:
    assert status_of(exchange(server, b"GET /livez HTTP/1.0\r\n\r\n")) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("http://[::1]:5", 200),
        ("https://example.org", 403), ("null", 403), ("", 403), ("localhost", 403), ("http://[", 403),
        ("http://localhost.example.org", 403), ("\xff", 403),
    ],
)  # fmt: skip
def test_a_web_page_of_another_origin_may_not_call(server: str, origin: str, status: int) -> None:
    assert status_of(raw(server, "GET", "/livez", f"Origin: {origin}")) == status
    assert status_of(raw(server, "DELETE", "/v1/galleries/default/images?all=true", "Origin: http://evil")) == 403


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Sec-Fetch-Dest: image",), 403), (("Sec-Fetch-Dest: image", "Referer: https://evil.example/x"), 403),
        (("Sec-Fetch-Dest: image", "Referer: http://["), 403), (("Sec-Fetch-Dest: object",), 403),
        (("Sec-Fetch-Dest: image", "Referer: http://localhost:3000/cars?a"), 200), (("Sec-Fetch-Dest: document",), 200),
        (("Sec-Fetch-Dest: document", "Origin: https://evil.example"), 403),
        (("Sec-Fetch-Dest: image", "Origin: https://evil.example", "Referer: http://localhost/"), 403),
    ],
)  # fmt: skip
def test_a_page_of_another_origin_may_not_show_what_is_here(server: str, fields: tuple[str, ...], status: int) -> None:
    """It cannot read a picture, but whether there is one, and how large; browsers send no Origin with it."""
    assert status_of(raw(server, "GET", "/livez", "Sec-Fetch-Site: cross-site", *fields)) == status
    assert status_of(raw(server, "GET", "/livez", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: image")) == 200


def test_two_hosts_are_no_host(server: str) -> None:
    assert status_of(raw(server, "GET", "/livez", "Host: 127.0.0.1")) == 403
    for first in (b"127.0.0.1:8000", b"[::1]", b"localhost"):
        twice = b"GET /livez HTTP/1.1\r\nHost: " + first + b"\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        assert status_of(exchange(server, twice)) == 403


@pytest.fixture(scope="module")
def open_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that was told in so many words to listen to everybody."""
    data = tmp_path_factory.mktemp("open") / "data"
    with serving(data, tiny_model, "--host", "0.0.0.0", "--allow-unauthenticated-remote") as address:
        yield address


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("cars.example:8000", None, 200), ("10.0.0.5", None, 200), ("cars.example", "https://cars.example", 200),
        ("CARS.example:80", "http://cars.example:3000", 200), ("cars.example", "https://evil.example", 403),
        ("cars.example", "null", 403), ("cars.example", "https://cars.example.evil", 403), ("[", None, 200),
        ("[", "null", 403),
    ],
)  # fmt: skip
def test_a_page_may_call_the_host_that_it_came_from(
    open_server: str, host: str, origin: str | None, status: int
) -> None:
    fields = [] if origin is None else [f"Origin: {origin}"]
    assert status_of(raw(open_server, "GET", "/livez", *fields, host=host)) == status


def test_head_is_get_without_the_body(server: str, client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/own", content=jpeg(0))
    for path in ("/livez", "/v1/model", gallery, f"{gallery}/images", f"{gallery}/images/own/crop", "/openapi.json"):
        got, told = client.get(path), client.head(path)
        assert (told.status_code, told.content) == (200, b""), path
        assert told.headers["content-length"] == str(len(got.content))
    assert client.head(f"{gallery}/images/none").status_code == 404
    posted = client.head(f"{gallery}/search/batch")
    assert (posted.status_code, posted.headers["allow"]) == (405, "POST")
    text = client.get("/metrics").text
    assert 'vehicle_search_requests_total{method="HEAD",route="/v1/model",status="200"}' in text


@pytest.mark.parametrize("coded", ["%2F", "%2f"])
def test_a_coded_slash_leads_to_no_other_route(server: str, client: httpx.Client, gallery: str, coded: str) -> None:
    client.put(f"{gallery}/images/own", content=jpeg(0))
    name = gallery.rpartition("/")[2]
    for method, target in (
        ("DELETE", f"/v1/galleries/{name}{coded}images{coded}own"),
        ("DELETE", f"{gallery}/images{coded}own"),
        ("GET", f"{gallery}/images/own{coded}crop"),
        ("DELETE", f"{gallery}/images%0a?all=true"),
        ("POST", f"{gallery}/search%0A"),
        ("GET", "/livez%0a"),
    ):
        answer = raw(server, method, target, body=jpeg(0))
        assert status_of(answer) == 404, target
        assert body_of(answer)["status"] == 404
    assert client.get(f"{gallery}/images/own").status_code == 200


def test_a_refused_call_is_counted(server: str) -> None:
    raw(server, "GET", "/livez", host="example.org")
    assert b'vehicle_search_requests_total{method="GET",route="none",status="403"}' in raw(server, "GET", "/metrics")


def test_a_published_container_answers_to_this_machine_only(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--allow-unauthenticated-remote", "--loopback-names-only")
    with serving(tmp_path / "data", tiny_model, *options) as address:
        for path in ("/livez", "/metrics"):
            assert status_of(raw(address, "GET", path, host="rebound.example")) == 403
            assert status_of(raw(address, "GET", path, host="localhost:8000")) == 200


def test_figures_that_are_open_to_all_are_so_by_any_name(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--allow-unauthenticated-remote", "--loopback-names-only", "--metrics-open")
    with serving(tmp_path / "data", tiny_model, *options) as address:
        assert status_of(raw(address, "GET", "/metrics", host="service:8000")) == 200
        for path in ("/livez", "/v1/galleries", "/metrics/"):
            assert status_of(raw(address, "GET", path, host="service:8000")) == 403
