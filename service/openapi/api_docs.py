"""``/docs``: the API to read and to try, its scripts served from here so that it works without the internet."""

import base64
import hashlib
import importlib.resources
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from service.openapi.openapi_document import complete_document
from service.wire.page_headers import page_headers

_ASSETS = "/docs/assets"


def add_docs(app: FastAPI) -> None:
    """Serve the page and its files, and the OpenAPI file with all that FastAPI does not know of it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete_document(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
    folder = Path(str(importlib.resources.files("fastapi_offline"))) / "static"
    app.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json", title=f"{app.title} – API", swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css", swagger_favicon_url=f"{_ASSETS}/favicon.png",
            swagger_ui_parameters={"defaultModelsExpandDepth": -1, "tryItOutEnabled": True},
        )  # fmt: skip
        page.headers.update(_headers(bytes(page.body).decode()))
        return page


def _headers(page: str) -> dict[str, str]:
    """The page runs its own scripts, those in it by their hash."""
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)])
    return page_headers(scripts=scripts, styles="'self' 'unsafe-inline'", images="'self' data: blob:")
