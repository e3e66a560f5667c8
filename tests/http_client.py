"""Clients for a real service: one that checks every answer against what the service says of itself, and a raw one."""

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from index.manifest import parse_time

PROBLEM = "application/problem+json"


_TOLD_ANYWAY = re.compile(  # headers that the OpenAPI file need not name: HTTP's own, and what browsers obey
    "cache-control|connection|content-.*|date|timing-allow-origin|transfer-encoding|x-content-type-options|vary|access-control-.*"
)


class AnswerCheck:
    """A hook of httpx: each answer is valid JSON or none, each refusal a problem, and all of it is in the OpenAPI file.

    That is its status, its media type, its headers, and every field of its body.
    """

    def __init__(self, address: str) -> None:
        self._api = ApiSchemas(httpx.get(f"{address}/openapi.json").json())
        self._routes = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations)
            for path, operations in self._api.document["paths"].items()
        ]

    def __call__(self, response: httpx.Response) -> None:
        response.read()
        kind = response.headers.get("content-type", "")
        refusal = response.status_code >= 400 and response.request.method != "HEAD"
        if refusal and response.status_code != 431 and response.request.url.path.startswith("/v2"):
            assert list(response.json()) == ["error"], (response, response.text)
        elif refusal:
            assert kind == PROBLEM, (response, response.text)
            assert response.json()["status"] == response.status_code
            assert {"type", "title", "detail"} <= response.json().keys()
        if "json" in kind and response.content:
            strict_json(response.content)
        assert response.status_code in {*range(200, 500), 503, 507}, (response, response.text)
        self._assert_documented(response)

    def _assert_documented(self, response: httpx.Response) -> None:
        path, method = urlsplit(str(response.request.url)).path, response.request.method.lower()
        for pattern, operations in self._routes:
            if pattern.fullmatch(path) and method in operations:
                known = operations[method]["responses"]
                where = f"{method} {path}: {response.status_code}"
                assert str(response.status_code) in known, f"{where} is not documented"
                self._assert_as_documented(response, known[str(response.status_code)], where)

    def _assert_as_documented(self, response: httpx.Response, known: dict[str, Any], where: str) -> None:
        headers = {name.lower(): one for name, one in known.get("headers", {}).items()}
        for name, one in headers.items():
            assert name in response.headers or not one["required"], f"{where} lacks the header {name}"
        for name in response.headers:
            assert name in headers or _TOLD_ANYWAY.fullmatch(name), f"{where}: header {name} is not documented"
        kind = response.headers.get("content-type", "").partition(";")[0]
        assert bool(kind) is bool(known.get("content")), f"{where} comes as {kind}"
        if kind:
            assert kind in known["content"], f"{where} comes as {kind}"
            if kind.endswith("json"):
                self._api.require(response.json(), known["content"][kind]["schema"])


_HERE = "urn:openapi"
_FORMATS = jsonschema.FormatChecker()


@_FORMATS.checks("date-time", ValueError)  # type: ignore[untyped-decorator]
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or parse_time(value) is not None


class ApiSchemas:
    """What the schemas of an OpenAPI file say of documents; fields that they do not name are none."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        own = Resource(contents=_closed(document), specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_HERE, own)

    def require(self, document: object, schema: dict[str, Any]) -> None:
        """Raise AssertionError where a document is not what a schema says."""
        validator = jsonschema.Draft202012Validator(_closed(schema), registry=self._registry, format_checker=_FORMATS)
        wrong = best_match(validator.iter_errors(document))
        assert wrong is None, f"{wrong.json_path}: {wrong.message}"


def _closed(part: Any) -> Any:
    """A schema whose objects have no properties but those that it names."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {name: f"{_HERE}{each}" if name == "$ref" else _closed(each) for name, each in part.items()}
    return {"additionalProperties": False, **closed} if isinstance(part.get("properties"), dict) else closed


def strict_json(data: bytes) -> Any:
    """What RFC 8259 calls JSON; NaN and infinities are an error."""

    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(data, parse_constant=refuse)


def parts(*pictures: bytes, metadata: object = None) -> list[tuple[str, tuple[str, bytes]]]:
    """Multipart parts for httpx: pictures, and metadata as JSON where it is given."""
    files = [("image", (f"{number}.jpg", data)) for number, data in enumerate(pictures)]
    if metadata is not None:
        text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
        files.append(("metadata", ("metadata.json", text)))
    return files


def form(*pieces: tuple[str, bytes], boundary: str = "frontier", last: bool = True) -> tuple[bytes, dict[str, str]]:
    """A multipart body written by hand, each piece (Content-Disposition, bytes), and its headers."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
        for disposition, data in pieces
    )
    if last:
        body += f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def refused(response: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """The problem of a refusal with this status, whose detail holds these words."""
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    told = document["error"] if response.request.url.path.startswith("/v2") else document["detail"]
    for word in words:
        assert word in told, document
    return document


def exchange(address: str, *pieces: bytes, end: bool = False, whole: bool = True) -> bytes:
    """Send bytes as they are, read until the server closes or, with ``whole``, the first answer is complete.

    ``end`` closes our side first.
    """
    host, port = urlsplit(address).hostname, urlsplit(address).port
    with socket.create_connection((host, port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while not (whole and _whole(received)):
            more = connection.recv(65536)
            if not more:
                break
            received += more
    return received


def raw(address: str, method: str, target: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """One request whose target reaches the server as it stands here."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return exchange(address, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> Any:
    """The JSON body of a raw answer."""
    return strict_json(answer.partition(b"\r\n\r\n")[2])


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return len(body) >= (int(length[1]) if length else 0)
