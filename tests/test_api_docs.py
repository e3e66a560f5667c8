"""``/docs`` and the OpenAPI file."""

import base64
import hashlib
import re

import httpx
import pytest

from service.wire.parameters import FILTERS, KEPT_SEARCH, PAGE, SEARCH, SELECTED
from tests.http_client import PROBLEM, refused

_METHODS = {"get", "put", "post", "patch", "delete"}


def test_the_page_needs_nobody_else(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"https?://|[\"']//", page.text)
    own = re.findall(r"(?:href|src)=\"([^\"]+)\"", page.text)
    assert len(own) == 3
    for address in own:
        response = client.get(address)
        assert response.status_code == 200, address
        assert len(response.content) > 500
    assert "/openapi.json" in page.text


@pytest.mark.parametrize(
    "path", ["nothing.js", "../application.py", "%2e%2e/%2e%2e/__init__.py", "%00", "x" * 5000, "", "/"]
)
def test_only_files_of_the_page_are_served(client: httpx.Client, path: str) -> None:
    refused(client.get(f"/docs/assets/{path}"), 404)


def test_every_route_tells_its_problems(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) == 41
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert method in _METHODS
            assert operation["summary"]
            assert operation["description"]
            for status, response in operation["responses"].items():
                assert response["description"]
                if int(status) >= 400:
                    own = path.startswith("/v2") and status != "431"  # that is said before there is a path
                    kind = "application/json" if own else PROBLEM
                    assert list(response["content"]) == [kind], (path, method, status)
            known = set(operation["responses"])
            assert "403" in known
            if path.startswith("/v1"):
                assert "422" in known, (path, method)
            if "{gallery}" in path and method != "put":
                assert "404" in known, (path, method)
            if "requestBody" in operation:
                assert {"400", "413"} <= known, (path, method)


def test_every_parameter_is_described(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    def named(path: str, method: str) -> set[str]:
        return {one["name"] for one in paths[path][method]["parameters"] if one["in"] == "query"}

    gallery = "/v1/galleries/{gallery}"
    filters = {one.name for one in FILTERS} | {"attribute.NAME"}
    searching = {one.name for one in SEARCH} | filters
    assert named(f"{gallery}/search", "post") == searching | {"box", "combine"}
    assert named(f"{gallery}/search", "get") == {one.name for one in KEPT_SEARCH} | {"attribute.NAME"}
    assert {"query_id", "box", "image_id"} | searching == named(f"{gallery}/search", "get")
    assert named(f"{gallery}/search/batch", "post") == searching
    assert named(f"{gallery}/images/{{image_id}}/similar", "get") == searching
    assert named(f"{gallery}/images", "get") == {one.name for one in PAGE} | filters
    assert named(f"{gallery}/images", "delete") == {one.name for one in SELECTED} | filters
    assert named(f"{gallery}/images", "patch") == {one.name for one in SELECTED} | filters
    assert named(gallery, "delete") == {"confirm"}


def test_the_search_can_be_tried_with_a_file(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/v1/galleries/{gallery}/search"]["post"]["requestBody"]["content"]
    assert next(iter(content)) == "multipart/form-data"
    assert {"image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"} < set(content)


def test_the_page_may_run_its_own_scripts_and_nothing_else(client: httpx.Client) -> None:
    page = client.get("/docs")
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    policy = dict(each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";"))
    own = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{own}'"
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["content-length"] == str(len(page.content))
    assert not re.search(r"<[^>]+\son[a-z]+=", page.text)  # handlers in the markup would be refused
