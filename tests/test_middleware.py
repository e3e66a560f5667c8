"""Who may call a keyless service, with the real server."""

import pytest

from tests.http_client import PROBLEM, body_of, exchange, raw, status_of


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000", "127.8.9.10"]
)
def test_names_of_this_machine_may_call(server: str, host: str) -> None:
    assert status_of(raw(server, "GET", "/livez", host=host)) == 200


@pytest.mark.parametrize(
    "host",
    ["example.org", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.5", "0.0.0.0", "", "[::1", "[",
     "a" * 9000, "localhost@example.org", "\xe4", "127.0.0.1, example.org", "[fe80::1%25lo]", "2130706433"],
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


def test_a_refused_call_is_counted(server: str) -> None:
    raw(server, "GET", "/livez", host="example.org")
    assert b'vehicle_search_requests_total{method="GET",route="none",status="403"}' in raw(server, "GET", "/metrics")
