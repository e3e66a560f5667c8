"""The console: pages for people at ``/``, made of files of this package that load nothing from elsewhere.

The pages hold nothing of the galleries, so they are open to all; what they show they ask for over the HTTP API, with
the caller's key. Files are read once and kept as they are sent, compressed where the browser takes that.
"""

import gzip
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import dirname, normpath
from string import Template
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.datastructures import Headers

from service.wire.page_headers import page_headers
from service.wire.problems import plain_problem, problem_response

FOLDER: Final = "/console/"

_TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
}  # fmt: skip
_IMPORT: Final = re.compile(r"""^(?:import|export)\b[^"';]*?["'](\.\.?/[a-z0-9_/]+\.js)["'];?$""", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One page: its module and style sheet lie in the folder ``name`` and are ``name`` with .js and .css."""

    name: str
    title: str
    summary: str


PAGES: Final[Mapping[str, Page]] = {
    "/": Page("search", "Search", "A picture of a vehicle in, where else it was seen out"),
    "/trail": Page("trail", "Trail", "Chosen sightings of a vehicle on a time line and a plan"),
    "/gallery": Page("gallery", "Gallery", "Look through the pictures of a gallery, add, correct, erase"),
    "/model": Page("model", "Model and health", "What the model can do, how the service is, keys and jobs"),
}


@dataclass(frozen=True)
class ConsoleFile:
    """One file as it is sent: plain and compressed."""

    plain: bytes
    packed: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, data: bytes, kind: str) -> "ConsoleFile":
        """The file with these bytes."""
        return cls(data, gzip.compress(data, 9, mtime=0), kind, hashlib.sha256(data).hexdigest()[:32])


class Console:
    """Every page and file, by path. ``tiles``: the origin of a map's pictures, which the pages then may load."""

    def __init__(self, *, tiles: str | None = None) -> None:
        folder = importlib.resources.files("service") / "console"
        sources = {
            f"{room.name}/{each.name}": each.read_bytes()
            for room in folder.iterdir()
            if room.is_dir()
            for each in room.iterdir()
        }
        template = Template((folder / "page.html").read_text(encoding="utf-8"))
        self.files = {
            f"{FOLDER}{name}": ConsoleFile.of(data, _TYPES[name.rpartition(".")[2]])
            for name, data in sources.items()
            if name.rpartition(".")[2] in _TYPES
        }
        for path, page in PAGES.items():
            self.files[path] = ConsoleFile.of(_page(page, template, sources), "text/html; charset=utf-8")
        images = "'self' blob: data:" + (f" {tiles}" if tiles else "")
        self._headers = page_headers(
            scripts="'self'", styles="'self'", images=images,
            more="require-trusted-types-for 'script'; trusted-types 'none'",
        )  # fmt: skip

    def answer(self, path: str, headers: Headers) -> Response:
        """The file of a path, or that it is as the browser has it; a 404 where there is none."""
        file = self.files.get(path)
        if file is None:
            return problem_response(plain_problem(404, f"the console has no file {path[:100]!a}"))
        told = {
            "ETag": f'"{file.tag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **self._headers,
        }  # fmt: skip
        if f'"{file.tag}"' in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=told)
        packs = "gzip" in headers.get("accept-encoding", "")
        body = file.packed if packs else file.plain
        encoding = {"Content-Encoding": "gzip"} if packs else {}
        return Response(body, media_type=file.kind, headers={**told, **encoding})


def _page(page: Page, template: Template, sources: Mapping[str, bytes]) -> bytes:
    """The HTML of a page, which names every module that its own one needs, so that all come at once."""
    modules = sorted(_needed(f"{page.name}/{page.name}.js", sources))
    preloads = "\n".join(f'<link rel="modulepreload" href="{FOLDER}{each}">' for each in modules)
    return template.substitute(
        title=page.title, summary=page.summary, name=page.name, preloads=preloads
    ).encode()  # fmt: skip


def _needed(module: str, sources: Mapping[str, bytes]) -> set[str]:
    """The modules that a module imports, at any remove."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        asking = waiting.pop()
        named = _IMPORT.findall(sources[asking].decode())
        new = {normpath(f"{dirname(asking)}/{each}") for each in named} - found
        found |= new
        waiting += new
    return found


def add_console(app: FastAPI, console: Console) -> None:
    """Serve the pages and their files."""
    router = APIRouter(include_in_schema=False)

    async def show(request: Request) -> Response:
        return console.answer(request.scope["path"], request.headers)

    for path in (*PAGES, f"{FOLDER}{{folder}}/{{file}}"):
        router.add_api_route(path, show, methods=["GET"], name=f"console {path}")
    app.include_router(router)
