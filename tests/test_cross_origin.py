"""Web pages of other origins, with the real server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.access.cross_origin import read_origins
from tests.http_client import raw, refused, status_of
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving

PAGE, OTHER = "https://cars.example", "https://evil.example"
BEFORE = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture(scope="module")
def open_to_page(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service with a key that a page may call, and the key's token."""
    data = tmp_path_factory.mktemp("cors") / "data"
    token = kept_key(data, "read")
    with serving(data, tiny_model, "--cors-origins", f"{PAGE}, http://10.0.0.5:3000") as address:
        yield address, token


@pytest.mark.parametrize("path", ["/v1/galleries/default/search", "/v1/galleries", "/nowhere"])
def test_a_browser_that_asks_first_is_told_without_a_key(open_to_page: tuple[str, str], path: str) -> None:
    for origin in (PAGE, "http://10.0.0.5:3000"):
        told = httpx.options(f"{open_to_page[0]}{path}", headers={"Origin": origin, **BEFORE})
        assert (told.status_code, told.content) == (204, b"")
        assert told.headers["access-control-allow-origin"] == origin
        assert "POST" in told.headers["access-control-allow-methods"]
        assert "Authorization" in told.headers["access-control-allow-headers"]
        assert "traceparent" in told.headers["access-control-allow-headers"]
        assert told.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in told.headers


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://cars.example.evil", "http://cars.example", f"{PAGE}:8443", "*"]
)
def test_other_pages_are_told_nothing(open_to_page: tuple[str, str], origin: str) -> None:
    address, token = open_to_page
    asked = httpx.options(f"{address}/v1/galleries", headers={"Origin": origin, **BEFORE})
    refused(asked, 401)
    answer = httpx.get(f"{address}/v1/galleries", headers={"Origin": origin, **bearer(token)})
    for each in (asked, answer):
        assert not [name for name in each.headers if name.startswith(("access-control", "timing-allow"))]
        assert each.headers["vary"] == "Origin"


def test_a_page_reads_answers_and_refusals(open_to_page: tuple[str, str]) -> None:
    address, token = open_to_page
    found = httpx.post(
        f"{address}/v1/galleries/default/search", content=jpeg(0), headers={"Origin": PAGE, **bearer(token)}
    )
    assert found.status_code == 200
    assert found.headers["timing-allow-origin"] == PAGE
    assert "Server-Timing" in found.headers["access-control-expose-headers"]
    assert "total;dur=" in found.headers["server-timing"]
    without = httpx.get(f"{address}/v1/galleries", headers={"Origin": PAGE})
    refused(without, 401)
    for each in (found, without):
        assert each.headers["access-control-allow-origin"] == PAGE
        assert "X-Request-ID" in each.headers["access-control-expose-headers"]


def test_two_origins_are_none(open_to_page: tuple[str, str]) -> None:
    address, token = open_to_page
    answer = raw(address, "GET", "/v1/model", f"Origin: {PAGE}", f"Origin: {PAGE}", f"Authorization: Bearer {token}")
    assert status_of(answer) == 200
    assert b"access-control" not in answer.lower()


def test_without_keys_a_named_page_may_call_and_others_may_not(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--cors-origins", PAGE) as server:
        assert httpx.get(f"{server}/v1/galleries", headers={"Origin": PAGE}).status_code == 200
        refused(httpx.get(f"{server}/v1/galleries", headers={"Origin": OTHER}), 403)
        assert status_of(raw(server, "GET", "/v1/galleries", f"Origin: {PAGE}", host="cars.example")) == 403
        assert httpx.options(f"{server}/v1/galleries", headers={"Origin": PAGE, **BEFORE}).status_code == 204


def test_by_default_no_page_is_told_anything(client: httpx.Client) -> None:
    answer = client.get("/v1/galleries", headers={"Origin": "http://localhost:3000"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    refused(client.options("/v1/galleries", headers={"Origin": "http://localhost:3000", **BEFORE}), 405)


@pytest.mark.parametrize("text", ["*", "cars.example", "https://cars.example/", "https://a b", "https://x,ftp://y", "https://CARS.example", "null"])  # fmt: skip
def test_what_is_no_origin_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        read_origins(text)


def test_origins_are_read_with_commas() -> None:
    assert read_origins(None) == read_origins(" , ") == frozenset()
    assert read_origins("https://a.example,http://[::1]:3000 ") == {"https://a.example", "http://[::1]:3000"}
