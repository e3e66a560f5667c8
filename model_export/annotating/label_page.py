"""The page on which a person labels, served to this machine only.

It listens on 127.0.0.1, answers only to names of this machine (another site's name made to resolve here is refused) and
takes decisions only from its own page. The page is three files of this package and loads nothing from elsewhere.
"""

import importlib.resources
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

import numpy as np

from index.crops import stored_crop
from index.errors import Conflict, InvalidValue, NotFound, PictureError, StorageError, VehicleSearchError
from model_export.annotating.annotation import Annotation
from model_export.annotating.uncertainty import uncertainty
from model_export.annotating.viewpoint_model import MAX_PIXELS
from model_export.annotating.work_list import Picture

RESERVED_KEYS: Final = ("u", "h")  # undo, hide the guess

_FILES: Final = {
    "/": ("label.html", "text/html; charset=utf-8"),
    "/label.js": ("label.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/label.css": ("label.css", "text/css; charset=utf-8"),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # the next work may have another picture at the same address
}
_STATUS: Final[tuple[tuple[type[VehicleSearchError], int], ...]] = (
    (InvalidValue, 422),
    (NotFound, 404),
    (Conflict, 409),
    (StorageError, 507),
)
_MOST_BODY: Final = 1 << 16  # bytes
_MOST_AT_ONCE: Final = 50  # pictures in one answer


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the page says about the work."""

    labels: str  # path of the labels file
    order: str
    model: str  # empty where no V-Net guesses


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class LabelPage(ThreadingHTTPServer):
    """The server of one work. ``port`` 0 takes a free one; InvalidValue where the port is taken."""

    daemon_threads = True

    def __init__(self, annotation: Annotation, description: Description, *, port: int) -> None:
        self.annotation, self.description = annotation, description
        folder = importlib.resources.files("model_export.annotating") / "page"
        self.files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise InvalidValue(
                f"port {port} cannot be used: {error}; give another --port, 0 is any free one"
            ) from error
        self.hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}

    def server_bind(self) -> None:
        """Without asking the network for a name of this machine, as HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.port

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://127.0.0.1:{self.port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def keys_of(viewpoints: Sequence[str]) -> list[list[str]]:
    """The keys of every viewpoint: its number, and the first letter of its name that is still free."""
    taken = set(RESERVED_KEYS)
    keys = []
    for number, name in enumerate(viewpoints, start=1):
        letter = next((sign for sign in name.lower() if sign.isalpha() and sign not in taken), None)
        taken.add(letter or "")
        keys.append([str(number)] if letter is None else [letter, str(number)])
    return keys


class _Handler(BaseHTTPRequestHandler):
    server: LabelPage
    protocol_version = "HTTP/1.1"
    server_version = "vehicle-model"
    sys_version = ""
    timeout = 60  # seconds that an idle connection is kept
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, act: Callable[[], None]) -> None:
        try:
            self._require_own_names()
            act()
        except _Refused as refused:
            self.close_connection = True  # its body may not have been read
            self._send_json({"detail": str(refused)}, refused.status)
        except VehicleSearchError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            self._send_json({"detail": str(error)}, status)

    def _require_own_names(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise _Refused(403, f"this page answers to {self.server.address} only")
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower().removeprefix("http://") not in self.server.hosts:
            raise _Refused(403, "another site may not use this page")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise _Refused(403, "another site may not use this page")

    def _get(self) -> None:
        path = self.path.partition("?")[0]
        if path in self.server.files:
            self._send(*self.server.files[path])
        elif path == "/work":
            self._send_json(self._work())
        elif path.startswith("/pictures/"):
            self._send_picture(path.removeprefix("/pictures/"))
        else:
            raise _Refused(404, f"there is nothing at {path}")

    def _post(self) -> None:
        acts: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], dict[str, tuple[type, ...]]]] = {
            "/next": (self._next, {"window": (str,), "holding": (list,), "count": (int,)}),
            "/decide": (self._decide, {"picture": (str,), "viewpoint": (str, type(None))}),
            "/undo": (self._undo, {"window": (str,), "picture": (str, type(None))}),
            "/leave": (self._leave, {"window": (str,)}),
        }
        if self.path not in acts:
            raise _Refused(404, f"there is nothing at {self.path}")
        act, fields = acts[self.path]
        self._send_json(act(self._body(fields)))

    def _body(self, fields: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "the body must be application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10):
            raise _Refused(411, "the length of the body must be given")
        if int(length) > _MOST_BODY:
            raise _Refused(413, f"the body has {length} bytes; the limit is {_MOST_BODY:,}")
        try:
            document = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, "the body is not JSON") from error
        if not isinstance(document, dict) or document.keys() != fields.keys():
            raise _Refused(422, f"the body must be an object of {', '.join(fields)}")
        for name, kinds in fields.items():
            if not isinstance(document[name], kinds) or isinstance(document[name], bool):
                raise _Refused(422, f"{name} is of the wrong type")
        return document

    def _work(self) -> dict[str, Any]:
        names = self.server.annotation.viewpoints
        viewpoints = [{"name": name, "keys": keys} for name, keys in zip(names, keys_of(names), strict=True)]
        return {**asdict(self.server.description), "viewpoints": viewpoints}

    def _next(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        holding = [name for name in asked["holding"] if isinstance(name, str)]
        count = max(0, min(asked["count"], _MOST_AT_ONCE))
        pictures = self.server.annotation.next(asked["window"], count, holding=holding)
        return {"pictures": [_described(picture) for picture in pictures], **self._state()}

    def _decide(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self.server.annotation.decide(asked["picture"], asked["viewpoint"])
        return self._state()

    def _undo(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        undone = self.server.annotation.undo(asked["window"], asked["picture"])
        return {"picture": _described(undone.picture), "viewpoint": undone.viewpoint, **self._state()}

    def _leave(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self.server.annotation.leave(asked["window"])
        return {}

    def _state(self) -> dict[str, Any]:
        annotation = self.server.annotation
        broken = [{"path": path, "reason": reason} for path, reason in annotation.broken]
        return {"progress": asdict(annotation.progress()), "broken": broken}

    def _send_picture(self, name: str) -> None:
        picture = self.server.annotation.picture(name)
        try:
            crop = stored_crop(picture.row.path.read_bytes(), box=picture.place.box, max_pixels=MAX_PIXELS)
        except (OSError, PictureError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.server.annotation.mark_broken(name, reason)
            self._send_json({"detail": f"{picture.shown_path}: {reason}"}, 422)
            return
        self._send(crop.data, crop.media_type)

    def _send_json(self, document: Mapping[str, Any], status: int = 200) -> None:
        self._send(json.dumps(document, ensure_ascii=False).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Requests are not told; the terminal is for what a person has to know."""


def _described(picture: Picture) -> dict[str, Any]:
    guess = picture.guess
    unsure = None if guess is None else float(uncertainty(np.array([guess], dtype=np.float32))[0])
    return {"id": picture.id, "path": picture.shown_path, "guess": guess, "uncertainty": unsure}
