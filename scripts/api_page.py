"""The page of the API: the OpenAPI file as Markdown, every route with all that it takes and answers.

``docs/conf.py`` writes it as ``docs/api.md`` when the site is built.
"""

import json
from collections.abc import Iterator
from typing import Any

OF_EVERY_ROUTE = ("X-Request-ID", "X-Request-Timeout-Ms", "traceparent")  # headers, told once
INTRODUCTION = """# API reference

Made of [openapi.json](openapi.json), which the service serves at `/openapi.json`; at `/docs` of a running one everything can be tried.

What is marked with \\* must be there. What may be a list in a query string is repeated: `camera_id=c001&camera_id=c002`. Every route takes the headers
`X-Request-ID`, `X-Request-Timeout-Ms` and `traceparent` ([errors](integrating.md#errors), [logs](operations/monitor.md#logs)), and
`Authorization` where there are keys. `type` and `detail` of errors are told in [the guide](integrating.md#errors); by their status they mean:
"""
Schema = dict[str, Any]


def api_page(document: Schema) -> str:
    """Of a whole OpenAPI document."""
    schemas = document["components"]["schemas"]
    routes = [
        (f"{method.upper()} {path}", route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]
    errors = {
        status: answer["description"]
        for _, route in routes
        for status, answer in route["responses"].items()
        if status >= "400"
    }
    by_tag: dict[str, list[str]] = {}
    for name, route in routes:
        by_tag.setdefault(route["tags"][0], []).extend(_route(name, route, schemas, errors))
    parts = [INTRODUCTION, *_table(("status", "is"), sorted(errors.items()))]
    for tag, lines in by_tag.items():
        parts += [f"## {tag.capitalize()}\n", *lines]
    return "\n".join(parts)


def _route(name: str, route: Schema, schemas: Schema, errors: dict[str, str]) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{route['summary'].rstrip('?.')}. {route.get('description', '')}\n"
    yield from _table(
        ("parameter", "in", "takes", "is"),
        [
            (_name(each), each["in"], _values(each["schema"]), each.get("description", ""))
            for each in route.get("parameters", [])
            if each["name"] not in OF_EVERY_ROUTE
        ],
    )
    for content, kinds in _bodies(route):
        yield f"Takes {', '.join(f'`{kind}`' for kind in kinds)}{_example(content)}\n"
        yield from _fields(content["schema"], schemas)
    answers = sorted(route["responses"].items())
    for status, answer in answers:
        if status < "400" or answer["description"] != errors[status]:
            content = answer.get("content", {}).get("application/json", {})
            yield f"**{status}** {answer['description']}{_example(content)}\n"
    yield f"Errors: {', '.join(status for status, _ in answers if status >= '400')}.\n"


def _bodies(route: Schema) -> list[tuple[Schema, list[str]]]:
    """What is said of each kind of body, and the media types that have it."""
    found: list[tuple[Schema, list[str]]] = []
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        alike = [kinds for other, kinds in found if other == content]
        if alike:
            alike[0].append(kind)
        else:
            found.append((content, [kind]))
    return found


def _fields(schema: Schema, schemas: Schema, of: str = "") -> Iterator[str]:
    """A table of what an object has, then of the objects in its lists; nothing of what is no object."""
    schema = _resolved(schema, schemas)
    fields = {name: _resolved(field, schemas) for name, field in schema.get("properties", {}).items()}
    needed = schema.get("required", ())
    yield from _table(
        (f"each of `{of}`" if of else "field", "takes", "is"),
        [
            (_name({"name": name, "required": name in needed}), _values(field), field.get("description", ""))
            for name, field in fields.items()
        ],
    )
    for name, field in fields.items():
        yield from _fields(field.get("contentSchema", field).get("items", {}), schemas, name)


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    found: Schema = schemas[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    return found


def _values(schema: Schema) -> str:
    """What may be said, in words: choices, bounds, and what holds where nothing is said."""
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = _of_kind(next(each for each in kinds if each != "null"), schema)
    if "null" in kinds:
        words += " or null"
    default = schema.get("default")
    if isinstance(default, float):
        default = f"{default:g}"
    return words if default is None else f"{words}; if not said `{default}`"


def _of_kind(kind: str, schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    most = schema.get("maxItems", schema.get("maxLength"))
    bound = "" if most is None else f" of {most:,}" if most == schema.get("minItems") else f" of at most {most:,}"
    if kind == "array":
        items = schema.get("items", {})
        of = f": {_values(items)}" if items.get("type") in {"string", "integer", "number"} else ""
        return f"list{bound}{of}"
    if kind == "string":
        formats = {"date-time": "RFC 3339 time with an offset", "binary": "bytes"}
        return formats.get(schema.get("format", ""), f"text{bound and f'{bound} characters'}")
    if kind in {"integer", "number"}:
        return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(schema)}"
    return "`true` or `false`" if kind == "boolean" else kind


def _bounds(schema: Schema) -> str:
    words = [
        f"{word} {schema[key]:,.16g}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "more than"), ("maximum", "to"))
        if key in schema
    ]
    return f", {' '.join(words)}" if words else ""


def _example(content: Schema) -> str:
    if "example" not in content:
        return "."
    return f", as\n\n```json\n{json.dumps(content['example'], ensure_ascii=False)}\n```"


def _name(field: Schema) -> str:
    return f"`{field['name']}`" + (" \\*" if field.get("required") else "")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Markdown with an empty line behind it; nothing where there are no rows."""
    if not rows:
        return []
    lines = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)
    ]
    return [lines[0], "|" + "---|" * len(head), *lines[1:], ""]
