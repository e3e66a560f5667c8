"""The OpenAPI file as it is published and served."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.commands.openapi_file import FILE, written
from service.openapi import examples
from tests.http_client import ApiSchemas

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
BYTES = (  # cannot be written in JSON
    "multipart/form-data", "application/octet-stream", "application/pdf", "application/zip", "image/",
)  # fmt: skip
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


@pytest.fixture(scope="module")
def schemas() -> ApiSchemas:
    return ApiSchemas(DOCUMENT)


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every media type that goes in or out, and what is said of it."""
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for response in operation["responses"].values():
        yield from response.get("content", {}).items()


def test_the_published_file_is_the_served_one(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT
    assert FILE.read_text(encoding="utf-8") == written(), "run `make openapi`"


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_body_has_a_schema_and_an_example_that_is_one(schemas: ApiSchemas, route: str) -> None:
    for kind, content in bodies(OPERATIONS[route]):
        assert content["schema"], kind
        if kind.startswith(BYTES):
            assert "example" not in content
        else:
            schemas.require(content["example"], content["schema"])


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_parameter_has_a_schema_that_its_examples_are(schemas: ApiSchemas, route: str) -> None:
    for parameter in OPERATIONS[route]["parameters"]:
        assert parameter["description"]
        for example in (*parameter["schema"].get("examples", []), *parameter.get("examples", [])):
            schemas.require(example, parameter["schema"])
        assert parameter["in"] != "path" or parameter["schema"]["examples"]


@pytest.mark.parametrize("route", OPERATIONS)
def test_links_lead_to_what_is_there(route: str) -> None:
    named = {each["operationId"]: each for each in OPERATIONS.values()}
    for response in OPERATIONS[route]["responses"].values():
        for name, link in response.get("links", {}).items():
            target = named[link["operationId"]]
            assert link["operationId"] == name
            assert {each["name"] for each in target["parameters"]} >= link["parameters"].keys()


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_metadata_in_the_examples_is_metadata(schemas: ApiSchemas) -> None:
    for operation in OPERATIONS.values():
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            parts = content["schema"].get("properties", {}) if kind.startswith("multipart") else {}
            metadata = parts.get("metadata", {"examples": []})
            for example in metadata["examples"]:
                schemas.require(json.loads(example), metadata["contentSchema"])


def test_no_example_is_left_over() -> None:
    whole = {
        content["schema"]["$ref"].rpartition("/")[2]
        for operation in OPERATIONS.values()
        for _, content in bodies(operation)
        if "$ref" in content["schema"]
    }
    assert whole - {"Problem", "InferenceError"} == examples.BODIES.keys()


@pytest.mark.parametrize(
    ("document", "fits"), [({"deleted": 1}, True), ({"deleted": -1}, False), ({}, False), ({"deleted": 1, "x": 2}, False)]
)  # fmt: skip
def test_a_schema_is_held_to(schemas: ApiSchemas, document: object, fits: bool) -> None:
    if fits:
        schemas.require(document, {"$ref": "#/components/schemas/Deleted"})
    else:
        with pytest.raises(AssertionError):
            schemas.require(document, {"$ref": "#/components/schemas/Deleted"})
