"""Which route asks for which scope of a key: one table. A route that is not in it answers nobody who has a key."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from index.access_key import AccessKey, Scope
from service.access.caller import caller_of
from service.context import context_of
from service.wire.problems import ScopeMissing


@dataclass(frozen=True)
class Access:
    """``scope`` None: any key. ``everywhere``: not for a key of some galleries only. ``open``: nobody needs one."""

    scope: Scope | None
    everywhere: bool = False
    open: bool = False


OPEN = Access(None, open=True)
ANY_KEY = Access(None)
READ = Access("read")
WRITE = Access("write")
ADMIN = Access("admin")

FIGURES: Final = "/metrics"
_GALLERY = "/v1/galleries/{gallery}"
ROUTES: Final[Mapping[str, Access]] = {
    f"POST {_GALLERY}/search": READ,
    f"POST {_GALLERY}/search/batch": READ,
    f"GET {_GALLERY}/images/{{image_id}}/similar": READ,
    f"GET {_GALLERY}/search": READ,
    "POST /v1/queries": READ,  # a key that searches keeps what it searches with; whoever knows the id has the rest
    "GET /v1/queries/{query_id}": READ,
    "GET /v1/queries/{query_id}/picture": READ,
    "DELETE /v1/queries/{query_id}": READ,
    "POST /v1/embeddings": READ,
    f"GET {_GALLERY}/images": READ,
    f"GET {_GALLERY}/images/{{image_id}}": READ,
    f"GET {_GALLERY}/images/{{image_id}}/crop": READ,
    f"POST {_GALLERY}/trail": READ,
    "GET /v1/cameras": READ,  # of all galleries
    "GET /v1/cameras/plan": READ,
    "GET /v1/galleries": READ,
    f"GET {_GALLERY}": READ,
    f"GET {_GALLERY}/facets": READ,
    "GET /v1/model": READ,
    "GET /v1/status": READ,  # of the key's galleries; folders are named to admins only
    f"POST {_GALLERY}/images": WRITE,
    f"PUT {_GALLERY}/images/{{image_id}}": WRITE,
    f"PATCH {_GALLERY}/images/{{image_id}}": WRITE,
    f"DELETE {_GALLERY}/images/{{image_id}}": WRITE,
    f"DELETE {_GALLERY}/images": WRITE,
    f"PATCH {_GALLERY}/images": WRITE,
    f"POST {_GALLERY}/imports": WRITE,
    "PUT /v1/cameras": Access("write", everywhere=True),  # it takes the place of all cameras
    "PUT /v1/cameras/plan": Access("write", everywhere=True),
    "DELETE /v1/cameras/plan": Access("write", everywhere=True),
    "GET /v1/imports": WRITE,  # whoever sent a job looks after it
    "GET /v1/imports/{import_id}": WRITE,
    "GET /v1/imports/{import_id}/failures": WRITE,
    "DELETE /v1/imports/{import_id}": WRITE,
    "GET /v1/feedback": READ,  # these name their gallery in the query string, a body or the id: see reach_gallery
    "GET /v1/feedback/export": READ,
    "POST /v1/feedback": WRITE,
    "DELETE /v1/feedback": WRITE,
    "DELETE /v1/feedback/{feedback_id}": WRITE,
    f"PUT {_GALLERY}": ADMIN,
    f"DELETE {_GALLERY}": ADMIN,
    f"POST {_GALLERY}/migrations": ADMIN,
    f"GET {_GALLERY}/migrations": ADMIN,
    f"GET {_GALLERY}/migrations/{{migration_id}}": ADMIN,
    f"DELETE {_GALLERY}/migrations/{{migration_id}}": ADMIN,
    "POST /v1/model/reload": Access("admin", everywhere=True),  # the model answers for all galleries
    "GET /v1/audit": ADMIN,  # a key of some galleries sees their entries
    "GET /v1/caller": ANY_KEY,  # what it may do is told to whoever holds it
    "GET /v1/keys": Access("admin", everywhere=True),
    "POST /v1/keys": Access("admin", everywhere=True),
    "DELETE /v1/keys/{key_id}": Access("admin", everywhere=True),
    "GET /v2": OPEN,
    "GET /v2/health/live": OPEN,
    "GET /v2/health/ready": OPEN,
    "GET /v2/models/{model}": READ,
    "GET /v2/models/{model}/ready": READ,
    "POST /v2/models/{model}/infer": READ,
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    f"GET {FIGURES}": Access("read", everywhere=True),  # it names galleries; the setting metrics_open opens it
    "GET /docs": OPEN,
    "GET /openapi.json": OPEN,
    "GET /": OPEN,  # the console's pages hold nothing; what they show they ask for with the caller's key
    "GET /trail": OPEN,
    "GET /gallery": OPEN,
    "GET /model": OPEN,
    "GET /console/{folder}/{file}": OPEN,
}
_OPEN_FOLDERS: Final = ("/docs/assets/", "/console/")  # what pages are made of


def open_paths(*, metrics: bool) -> frozenset[str]:
    """Paths that are answered without a key; ``metrics``: that of the figures, too."""
    paths = {route.partition(" ")[2] for route, access in ROUTES.items() if access.open}
    return frozenset(paths | ({FIGURES} if metrics else set()))


def is_open(path: str, paths: frozenset[str]) -> bool:
    """Whether a path is one of those, or a file of the page that is."""
    return path in paths or path.startswith(_OPEN_FOLDERS)


async def require_access(request: Request) -> None:
    """What every route depends on: the caller's key is for it, and for the gallery in its path. Raises ScopeMissing.

    What is open to all asks for nothing, whatever key comes with it.
    """
    key = caller_of(request).key
    if key is None or request.scope.get("open"):
        return
    with _counted(request, key):
        _require(request, key)


def reach_gallery(request: Request, gallery: str) -> None:
    """What a route asks for that names its gallery elsewhere than in its path. Raises ScopeMissing."""
    key = caller_of(request).key
    if key is None:
        return
    with _counted(request, key):
        _require_gallery(key, gallery)


@contextmanager
def _counted(request: Request, key: AccessKey) -> Iterator[None]:
    """A refusal in here counts among those of its key."""
    try:
        yield
    except ScopeMissing:
        context_of(request).metrics.key_requests.labels(key.key_id, "forbidden").inc()
        raise


def _require(request: Request, key: AccessKey) -> None:
    access = ROUTES.get(f"{request.method} {request.scope['route'].path}")
    if access is None:
        raise ScopeMissing("no scope is stated for this route, so no key opens it")
    if access.scope is not None and not key.allows(access.scope):
        raise ScopeMissing(
            f"key {key.key_id} ({key.name}) has the scopes {', '.join(sorted(key.scopes))}; this route asks for "
            f"{access.scope}",
            scope=access.scope,
        )
    if access.everywhere and key.galleries is not None:
        raise ScopeMissing(f"key {key.key_id} ({key.name}) is for some galleries only; this route is about all")
    gallery = request.path_params.get("gallery")
    if gallery is not None:
        _require_gallery(key, gallery)


def _require_gallery(key: AccessKey, gallery: str) -> None:
    if not key.reaches(gallery):
        raise ScopeMissing(f"key {key.key_id} ({key.name}) is not for this gallery")
