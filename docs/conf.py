"""The documentation as a site: `make docs` builds it, and fails where a link leads nowhere or a page is in no list."""

import json
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

from scripts.api_page import api_page

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


def setup(_: Sphinx) -> None:
    """Write the page of the API before the pages are read."""
    page = HERE / "api.md"
    text = api_page(json.loads((HERE / "openapi.json").read_text(encoding="utf-8")))
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")
