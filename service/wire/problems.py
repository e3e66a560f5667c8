"""Errors as RFC 9457 ``application/problem+json``: the one place where the error tree becomes HTTP."""

import json
import logging
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from index import errors
from index.errors import InvalidValue, VehicleSearchError
from service.wire.shown_paths import shown

MEDIA_TYPE = "application/problem+json"
TYPES = "urn:vehicle-search:problem:"  # and the error's name: what a program tells problems of one status apart by
RETRY_AFTER_SECONDS = 1
_INPUT_AT_FAULT = (400, 408, 413, 415, 422)

_LOG = logging.getLogger("service")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SHOWN = 200  # characters of a path in a message
_REALM = "vehicle-search"


class QueueFull(VehicleSearchError):
    """As many requests wait as may."""


class ModelNotFound(errors.NotFound):
    """No loaded model of that name."""


class ImportNotFound(errors.NotFound):
    """No import of that id."""


class ModelRefused(VehicleSearchError):
    """The model file that was to be loaded cannot be used."""


class ReloadUnderWay(errors.Conflict):
    """The model is being loaded anew already."""


class NotReady(VehicleSearchError):
    """The service is starting or stopping."""


class RequestTooLarge(VehicleSearchError):
    """The body has more bytes or parts than the limit allows."""


class MalformedRequest(VehicleSearchError):
    """The body is not the multipart or JSON that it says it is."""


class DeadlinePassed(VehicleSearchError):
    """The request was not answered in time."""


class ClientLeft(VehicleSearchError):
    """Whoever asked is gone, and hears nothing."""


class BodyTooSlow(VehicleSearchError):
    """The body did not arrive in time."""


class UnsupportedBody(VehicleSearchError):
    """The body's content type is none that the route reads."""


class Unauthenticated(VehicleSearchError):
    """The request has no key, or one that does not work; ``invalid`` where it has one."""

    def __init__(self, message: str, *, invalid: bool = False) -> None:
        super().__init__(message)
        self.invalid = invalid


class RateExceeded(VehicleSearchError):
    """The key sends more requests than it may; ``seconds`` until the next one."""

    def __init__(self, message: str, *, seconds: float = RETRY_AFTER_SECONDS) -> None:
        super().__init__(message)
        self.seconds = seconds


class Forbidden(VehicleSearchError):
    """The request comes from where none may come from."""


class ScopeMissing(VehicleSearchError):
    """The key is none for this route, or none for this gallery; ``scope`` is the one that it lacks."""

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class BadPicture(Exception):
    """A picture is at fault and with it the request; ``problem`` says which and why."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


_STATUS: dict[type[VehicleSearchError], tuple[int, str]] = {
    errors.UndecodablePicture: (400, "Picture cannot be decoded"),
    MalformedRequest: (400, "Malformed request"),
    Unauthenticated: (401, "No valid key"),
    Forbidden: (403, "Forbidden"),
    ScopeMissing: (403, "Not with this key"),
    errors.ReadOnly: (403, "Read-only"),
    errors.GalleryNotFound: (404, "No such gallery"),
    errors.ImageNotFound: (404, "No such image"),
    errors.KeyNotFound: (404, "No such key"),
    errors.MigrationNotFound: (404, "No such migration"),
    errors.PlanNotFound: (404, "No plan"),
    errors.QueryNotFound: (404, "No such query"),
    errors.FeedbackNotFound: (404, "No such feedback"),
    ImportNotFound: (404, "No such import"),
    ModelNotFound: (404, "No such model"),
    BodyTooSlow: (408, "Body too slow"),
    errors.EmbeddingSpaceMismatch: (409, "Embedding space mismatch"),
    errors.GalleryConflict: (409, "Gallery conflict"),
    errors.NotMigratable: (409, "Cannot be migrated"),
    errors.QueriesNotKept: (409, "Queries are not kept"),
    errors.NothingKept: (409, "No crop is kept"),
    errors.TooMuchFeedback: (409, "Too much feedback"),
    ReloadUnderWay: (409, "Reload under way"),
    errors.PictureTooLarge: (413, "Picture too large"),
    RequestTooLarge: (413, "Request too large"),
    errors.UnsupportedPicture: (415, "Not a picture type that is read"),
    UnsupportedBody: (415, "Unsupported media type"),
    errors.BoxOutsidePicture: (422, "Box outside the picture"),
    errors.InvalidValue: (422, "Invalid value"),
    ModelRefused: (422, "Model file refused"),
    errors.EmbeddingNotFinite: (422, "Embedding not finite"),
    QueueFull: (429, "Too many requests"),
    RateExceeded: (429, "Too many requests with this key"),
    ClientLeft: (499, "Client left"),
    NotReady: (503, "Not ready"),
    DeadlinePassed: (503, "Deadline passed"),
    errors.GalleryUnavailable: (503, "Gallery damaged"),
    errors.ModelError: (503, "Model failed"),
    errors.StorageError: (503, "Storage failed"),
    errors.StorageFull: (507, "Disk full"),
}

RESPONSES: dict[int, str] = {
    400: "A picture, a multipart body or JSON cannot be read",
    401: "No key, or one that does not work; the header WWW-Authenticate says so, too",
    403: "The key lacks the scope or the gallery; without keys: Host or Origin is not this machine's; or a write to a "
    "service that only reads",
    404: "No such gallery, image, import, key, migration, model or query",
    408: "The body did not arrive within body_seconds",
    409: "Embedding space or gallery mismatch, or no queries are kept",
    413: "More bytes, pixels or parts than the limit, which the message names",
    415: "Not a picture type that is read",
    422: "An unknown or invalid parameter or metadata field",
    429: "The queue is full, or the key sends more than it may; Retry-After says when to try again",
    431: "The request line and the header fields are too large",
    503: "Not ready, or past the deadline, or the gallery is damaged, or the keys cannot be read",
    507: "The disk is full; reads go on",
}


def status_of(error: VehicleSearchError) -> tuple[int, str]:
    """HTTP status and title; 500 for what a client cannot cause."""
    return _STATUS.get(_known_kind(error), (500, "Internal error"))


def _known_kind(error: VehicleSearchError) -> type[VehicleSearchError]:
    """The nearest class of an error that the table knows; the tree's root where it knows none."""
    return next((kind for kind in type(error).__mro__ if kind in _STATUS), VehicleSearchError)


def plain_problem(status: int, detail: str) -> dict[str, Any]:
    """The problem document of an HTTP status that says all there is to say, as RFC 9457 wants it."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def problem_of(error: VehicleSearchError, *, pointer: str | None = None) -> dict[str, Any]:
    """The problem document of an error; ``pointer`` stands in where the error carries none."""
    status, title = status_of(error)
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", _known_kind(error).__name__).lower()
    document: dict[str, Any] = {"type": f"{TYPES}{kind}", "title": title, "status": status, "detail": str(error)}
    at = error.pointer if isinstance(error, InvalidValue) else pointer
    if at is None and status in _INPUT_AT_FAULT:
        at = ""  # the body as a whole
    if at is not None:
        document["errors"] = [{"pointer": at, "detail": str(error)}]
    return document


def pointer_of(error: VehicleSearchError, image: str, box: str) -> str:
    """Where a picture's error points: at its box, where it has one that does not fit, else at the picture."""
    return box if isinstance(error, errors.BoxOutsidePicture) else image


def refusal(error: VehicleSearchError) -> Response:
    """An error as the whole answer, with the headers that go with it."""
    return problem_response(problem_of(error), _headers_of(error))


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as the whole answer."""
    extra = dict(headers or {})
    if document["status"] == 429:
        extra.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    body = json.dumps(document, ensure_ascii=True).encode()
    return Response(body, status_code=document["status"], headers=extra, media_type=MEDIA_TYPE)


async def on_known_error(request: Request, error: Exception) -> Response:
    """Handler of the error tree."""
    assert isinstance(error, VehicleSearchError)  # noqa: S101  # registered for that class
    if status_of(error)[0] >= 500:
        level = logging.INFO if isinstance(error, DeadlinePassed) else logging.ERROR  # that one is the client's to set
        _LOG.log(level, "%s: %s", type(error).__name__, error)
    if (gallery := request.path_params.get("gallery")) is not None:
        request.app.state.context.failures.note(gallery, error)
    if status_of(error)[0] < 500:
        return refusal(error)
    admin = "caller" in request.scope and request.scope["caller"].admin
    detail = shown(str(error), request.app.state.context.settings.data_dir, admin=admin)
    return problem_response({**problem_of(error), "detail": detail}, _headers_of(error))


async def on_bad_picture(_: Request, error: Exception) -> Response:
    """Handler of :class:`BadPicture`."""
    assert isinstance(error, BadPicture)  # noqa: S101  # registered for that class
    return problem_response(error.problem)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handler of the framework's own refusals: unknown paths and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for that class
    path = shown_path(request.scope)
    detail = {
        404: f"no route has the path {path}",
        405: f"{path} does not know {request.method}; the header Allow names what it knows",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed_methods(request)) or headers.get("Allow", "")
    return problem_response(plain_problem(error.status_code, detail), headers)


async def on_bug(request: Request, error: Exception) -> Response:
    """Handler of everything else: a bug of ours, logged whole and told without its insides."""
    _LOG.error("%s %s failed", request.method, shown_path(request.scope), exc_info=error)
    told = {} if "request_id" not in request.scope else {"X-Request-ID": request.scope["request_id"]}
    return problem_response(plain_problem(500, "the service failed; its log says more"), told)


def _headers_of(error: VehicleSearchError) -> dict[str, str]:
    if isinstance(error, RateExceeded):
        return {"Retry-After": str(max(1, math.ceil(error.seconds)))}
    if isinstance(error, Unauthenticated):  # RFC 6750, section 3
        return {"WWW-Authenticate": f'Bearer realm="{_REALM}"' + (', error="invalid_token"' if error.invalid else "")}
    if isinstance(error, ScopeMissing):
        scope = "" if error.scope is None else f', scope="{error.scope}"'
        return {"WWW-Authenticate": f'Bearer realm="{_REALM}", error="insufficient_scope"{scope}'}
    return {}


def shown_path(scope: Scope) -> str:
    """A path for a message, from the scope: a URL made of the Host header need not be one."""
    return ascii(scope["path"][:_SHOWN])[1:-1]


def _allowed_methods(request: Request) -> list[str]:
    """Of every route with this path; the framework names those of the first alone. HEAD is answered as GET is."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": "GET" if method == "HEAD" else method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
