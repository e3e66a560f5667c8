"""The OpenAPI file: what every route says of itself, with what is true of all of them.

That is which scope of a key a route asks for, the headers that every request may have and every answer has, an example
of every body, and where an answer leads. Schemas with a title become components, so that each stands there once.
"""

from collections.abc import Mapping
from typing import Any, Final

from service.gate.route_access import ROUTES, Access
from service.openapi import examples
from service.wire.inference_protocol import HEADER_LENGTH
from service.wire.problems import MEDIA_TYPE

OUTSIDE = (
    "Outside of the routes: a path that there is none of is answered with 404, a method that a path does not know with "
    "405 and the header Allow, bytes that are no HTTP/1.1 with 400. HEAD is answered as GET is."
)

_KEY = "key"  # name of the security scheme
_SCHEME: Final = {
    "type": "http", "scheme": "bearer",
    "description": "A token that `vehicle-search keys create` printed; where none was made none is asked for.",
}  # fmt: skip
_TEXT: Final = {"type": "string"}
_ASKED: Final = (
    {
        "name": "X-Request-ID", "in": "header", "required": False, "schema": _TEXT,
        "description": "What logs call the request; where there is none, or a strange one, it gets one of ours.",
    },
    {
        "name": "traceparent", "in": "header", "required": False, "schema": _TEXT,
        "description": "The caller's place in a trace (W3C Trace Context); a strange one is passed over.",
    },
)  # fmt: skip
_TIMING: Final = {
    "Server-Timing": {
        "description": "milliseconds of each stage, where pictures were worked on or galleries searched",
        "required": False, "schema": _TEXT,
    }
}  # fmt: skip
_ASKED_OF: Final[Mapping[str, Mapping[str, Any]]] = {
    "infer": {
        "name": HEADER_LENGTH, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 0},
        "description": "Bytes of JSON, where the tensor follows as binary data.",
    }
}  # fmt: skip
_TOLD: Final = {
    "X-Request-ID": {"description": "the request's, or one of ours", "required": True, "schema": _TEXT}, **_TIMING,
}  # fmt: skip
_TOLD_WITH: Final[Mapping[int, Mapping[str, Any]]] = {
    401: {
        "WWW-Authenticate": {
            "description": "Bearer, and what is wrong with the key (RFC 6750)", "required": True, "schema": _TEXT,
        }
    },
    403: {
        "WWW-Authenticate": {
            "description": "the scope that the key lacks, where that is why", "required": False, "schema": _TEXT,
        }
    },
    429: {"Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}},
}  # fmt: skip
_BEFORE_ALL: Final = 431  # said by the connection, where there is no request yet

_IN_PATH: Final = "$request.path."
_OF_IMAGE: Final = {"gallery": f"{_IN_PATH}gallery", "image_id": "$response.body#/image_id"}
_OF_GALLERY: Final = {"gallery": "$response.body#/name"}
_OF_MODEL: Final = {"model": "$response.body#/contract/name"}
_OF_IMPORT: Final = {"import_id": "$response.body#/id"}
_OF_MIGRATION: Final = {"gallery": f"{_IN_PATH}gallery", "migration_id": "$response.body#/id"}
_OF_QUERY: Final = {"query_id": "$response.body#/query_id"}
_OF_KEY: Final = {"key_id": "$response.body#/id"}
_LINKS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "put_image": dict.fromkeys(("get_image", "get_crop", "similar", "patch_image", "delete_image"), _OF_IMAGE),
    "put_gallery": {
        **dict.fromkeys(("get_gallery", "list_images", "search", "add_images", "begin_migration"), _OF_GALLERY),
        "delete_gallery": {**_OF_GALLERY, "confirm": "$response.body#/name"},
    },
    "keep_query": dict.fromkeys(("get_query", "get_query_picture", "delete_query"), _OF_QUERY)
    | {"search_kept": {**_OF_QUERY, "gallery": examples.GALLERY}},
    "model": dict.fromkeys(("metadata", "model_ready", "infer"), _OF_MODEL),
    "post_import": dict.fromkeys(("get_import", "get_failures", "delete_import"), _OF_IMPORT),
    "create_key": {"revoke_key": _OF_KEY},
    "post_feedback": {"delete_feedback": {"feedback_id": "$response.body#/feedback_id"}},
    "begin_migration": dict.fromkeys(("get_migration", "cancel_migration"), _OF_MIGRATION),
}


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document, changed in place, as it is served and published."""
    document["info"]["description"] += f"\n{OUTSIDE}\n"
    schemas: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, ROUTES[f"{method.upper()} {path}"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _exemplify(content)
                content["schema"] = _shared(content["schema"], schemas)
            for status, response in operation["responses"].items():
                for kind, content in response.get("content", {}).items():
                    if int(status) >= 400:
                        problem = examples.problem_example(int(status), path)
                        content["example"] = problem if kind == MEDIA_TYPE else {"error": problem["detail"]}
                    else:
                        _exemplify(content)
                    content["schema"] = _shared(content["schema"], schemas)
    document["components"] = {"schemas": dict(sorted(schemas.items())), "securitySchemes": {_KEY: _SCHEME}}
    return document


def _complete(operation: dict[str, Any], access: Access) -> None:
    name, scopes = operation["operationId"], [] if access.scope is None else [access.scope]
    operation["security"] = [] if access.open else [{_KEY: scopes}, {}]  # {}: where no key was made
    own = [_ASKED_OF[name]] if name in _ASKED_OF else []
    operation["parameters"] = [*operation.get("parameters", []), *own, *_ASKED]
    for status, response in operation["responses"].items():
        if int(status) != _BEFORE_ALL:
            response["headers"] = {**response.get("headers", {}), **_TOLD_WITH.get(int(status), {}), **_TOLD}
        if int(status) < 300 and name in _LINKS:
            response["links"] = {
                target: {"operationId": target, "parameters": dict(parameters)}
                for target, parameters in _LINKS[name].items()
            }


def _exemplify(content: dict[str, Any]) -> None:
    """Give a body its example; pictures, archives and tensors have none, as bytes cannot be written here."""
    if (title := content["schema"].get("title")) is not None:
        content["example"] = examples.BODIES[title]


def _shared(part: Any, schemas: dict[str, Any]) -> Any:
    """A schema whose parts with a title are references to ``schemas``, where they are put."""
    if isinstance(part, list):
        return [_shared(each, schemas) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {name: _shared(each, schemas) for name, each in part.items()}
    title = part.get("title")
    if not isinstance(title, str):  # a property of that name is a schema
        return inner
    schemas[title] = {name: each for name, each in inner.items() if name != "title"}
    return {"$ref": f"#/components/schemas/{title}"}
