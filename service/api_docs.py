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

from service.route_access import ROUTES

_ASSETS = "/docs/assets"
_KEY = "key"  # name of the security scheme
_SCHEME = {
    "type": "http", "scheme": "bearer",
    "description": "A token that `vehicle-search keys create` printed; where none was made none is asked for.",
}  # fmt: skip


def add_docs(app: FastAPI) -> None:
    """Serve the page and its files; say in the OpenAPI file which scope of a key every route asks for."""
    _describe_keys(app)
    folder = Path(str(importlib.resources.files("fastapi_offline"))) / "static"
    app.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json", title=f"{app.title} – API", swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css", swagger_favicon_url=f"{_ASSETS}/favicon.png",
            swagger_ui_parameters={"defaultModelsExpandDepth": -1, "tryItOutEnabled": True},
        )  # fmt: skip
        page.headers.update(page_headers(bytes(page.body).decode()))
        return page


def page_headers(page: str) -> dict[str, str]:
    """What a browser may do for a page: run its own scripts, those in it by their hash, call us, and nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)])
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    }  # fmt: skip


def _describe_keys(app: FastAPI) -> None:
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {})["securitySchemes"] = {_KEY: _SCHEME}
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    scope = ROUTES[f"{method.upper()} {path}"].scope
                    operation["security"] = [] if scope is None else [{_KEY: [scope]}, {}]  # {}: where none was made
        assert app.openapi_schema is not None  # noqa: S101  # plain() keeps it there
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
