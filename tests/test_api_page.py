"""The site's page of the API has all that a route takes and answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.api_page import OF_EVERY_ROUTE, api_page

DOCUMENT: dict[str, Any] = json.loads(Path("docs/openapi.json").read_text(encoding="utf-8"))
PAGE = api_page(DOCUMENT)
SECTIONS = dict(re.findall(r"^### `(.+?)`$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROUTES = {
    f"{method.upper()} {path}": route
    for path, methods in DOCUMENT["paths"].items()
    for method, route in methods.items()
}


def test_every_route_has_a_section() -> None:
    assert SECTIONS.keys() == ROUTES.keys()


@pytest.mark.parametrize("name", ROUTES)
def test_whatever_a_route_takes_and_answers_is_there(name: str) -> None:
    section, route = SECTIONS[name], ROUTES[name]
    for parameter in route["parameters"]:
        assert (f"| `{parameter['name']}`" in section) == (parameter["name"] not in OF_EVERY_ROUTE)
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        assert f"`{kind}`" in section
        schema = content["schema"]
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        for field in schema.get("properties", ()):
            assert f"| `{field}`" in section
    for status in route["responses"]:
        assert re.search(rf"\b{status}\b", section)


def test_bounds_defaults_and_what_must_be_there_are_told() -> None:
    search = SECTIONS["POST /v1/galleries/{gallery}/search"]
    assert "| `gallery` \\* | path | text |" in search
    assert "| `top_k` | query | whole number, from 1 to 1,000; if not said `10` |" in search
    assert (
        "| `kind` | `flat` or `ivf` or `hnsw` or `auto`; if not said `flat` |"
        in SECTIONS["PUT /v1/galleries/{gallery}"]
    )
    images = SECTIONS["POST /v1/galleries/{gallery}/images"]
    assert "| each of `metadata` | takes | is |" in images
    assert "| `box` | list of 4: whole number or null |" in images
    assert "| each of `cameras` | takes | is |" in SECTIONS["PUT /v1/cameras"]
    assert "number, more than 0 to 2,000 or null; if not said `150`" in SECTIONS["POST /v1/galleries/{gallery}/trail"]
