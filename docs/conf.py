"""The documentation as a site: `make docs` builds it, and fails where a link leads nowhere or a page is in no list."""

import json
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

project = "Vehicle Search"
version = release = installed("vehicle-search")
extensions = ["myst_parser", "sphinx_copybutton"]
nitpicky = True
html_theme = "furo"
html_title = "Vehicle Search"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
myst_heading_anchors = 3
copybutton_prompt_text = "$ "  # of console blocks the commands alone are copied
copybutton_line_continuation_character = "\\"

HERE = Path(__file__).parent


def api_page() -> str:
    """Every route of the OpenAPI file as Markdown: what it does, takes and answers."""
    document = json.loads((HERE / "openapi.json").read_text(encoding="utf-8"))
    parts = [
        "# API reference\n\nMade of [openapi.json](openapi.json), which the service serves at `/openapi.json`; "
        "at `/docs` of a running one everything can be tried.\n"
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            by_tag.setdefault(route["tags"][0], []).append(_route(f"{method.upper()} {path}", route))
    for tag, routes in by_tag.items():
        parts += [f"## {tag.capitalize()}\n", *routes]
    return "\n".join(parts)


def _route(name: str, route: dict[str, Any]) -> str:
    lines = [f"### `{name}`\n", f"{route['summary'].rstrip('?.')}. {route.get('description', '')}\n"]
    if route.get("parameters"):
        lines += ["| parameter | in | is |", "|---|---|---|"]
        lines += [
            f"| `{each['name']}` | {each['in']} | {_cell(each.get('description', ''))} |"
            for each in route["parameters"]
        ]
        lines.append("")
    if "requestBody" in route:
        kinds = ", ".join(f"`{kind}`" for kind in route["requestBody"]["content"])
        lines.append(f"Takes {kinds}.\n")
    lines += ["| answer | is |", "|---|---|"]
    lines += [f"| {status} | {_cell(answer['description'])} |" for status, answer in sorted(route["responses"].items())]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def setup(_: Sphinx) -> None:
    """Write the page of the API before the pages are read."""
    page = HERE / "api.md"
    text = api_page()
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")
