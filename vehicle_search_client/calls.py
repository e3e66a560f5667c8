"""Every request of the service that a client makes, as data: what is sent, and how the answer is read. No network here.

Each function is a method of both clients. ``gallery`` names the gallery, ``default`` where it is left away.
"""

import csv
import io
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote

import httpx

from vehicle_search_client.client_errors import Problem, UnusableInput
from vehicle_search_client.picture_input import (
    Attribute,
    Box,
    NewImage,
    Picture,
    picture_bytes,
    source_of,
    time_text,
)
from vehicle_search_client.replies import (
    AddedImage,
    AddedImages,
    AuditPage,
    BatchReply,
    CallerReply,
    Camera,
    CamerasReply,
    Crop,
    Embedding,
    EmbeddingsReply,
    FacetsReply,
    FeedbackPage,
    FeedbackReply,
    GalleryReply,
    ImagePage,
    ImportReply,
    KeyReply,
    MigrationReply,
    ModelReply,
    PlanReply,
    QueryReply,
    ReloadReply,
    SearchReply,
    StatusReply,
    StoredImage,
    TrailReply,
    cameras_reply,
    read_reply,
    search_reply,
)

T = TypeVar("T")
Names = str | Iterable[str]
Repetition = Literal["never", "unless begun", "always"]
_IMPORTS, _QUERIES, _FEEDBACK, _CAMERAS = "/v1/imports", "/v1/queries", "/v1/feedback", "/v1/cameras"
_PLAN = f"{_CAMERAS}/plan"


class OtherFilters(TypedDict, total=False):
    """The filters but for ``image_id``, for what takes that as the image itself."""

    camera_id: Names
    exclude_camera_id: Names
    vehicle_id: Names
    viewpoint: Names
    captured_after: datetime | str  # inclusive
    captured_before: datetime | str  # exclusive
    attributes: Mapping[str, Attribute | Sequence[Attribute]]  # compared by type: 5 is not "5"


class Filters(OtherFilters, total=False):
    """Which images count. Of several values of one filter any may hold; different filters all hold."""

    image_id: Names


class Ranking(TypedDict, total=False):
    """How matches are ranked and told."""

    top_k: int  # 1 to 1000; the service's default is 10
    max_distance: float
    group_by: Literal["vehicle_id"]
    include: Names  # "embedding", "attention"


class SearchOptions(Filters, Ranking, total=False):
    """How to search."""


class SimilarOptions(OtherFilters, Ranking, total=False):
    """How to search with a stored image."""


class Description(TypedDict, total=False):
    """What is known of an image."""

    vehicle_id: str | None
    camera_id: str | None
    captured_at: datetime | str | None
    attributes: Mapping[str, Attribute | None] | None


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request, and what its answer means.

    ``repetition`` says after which mishaps it may be sent again. 429 tells that nothing was done, so any request may
    but those that never are; "always": also after a 503 and after a connection that was lost on the way, because doing
    it twice is as doing it once. ``files`` are multipart parts, ``accepted`` refusals that are answers.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    query: Sequence[tuple[str, str]] = ()
    content: bytes | None = None
    content_type: str | None = None
    files: Sequence[tuple[str, tuple[str, Any, str]]] | None = None
    repetition: Repetition = "always"
    accepted: frozenset[int] = frozenset()


# Searching


def search(
    pictures: Picture | Sequence[Picture], *, gallery: str = "default", box: Box | None = None,
    **options: Unpack[SearchOptions],
) -> Call[SearchReply]:  # fmt: skip
    """Where else was this vehicle seen? A list of 2–8 pictures shows one vehicle and is searched for together."""
    query = _query(options, SearchOptions)
    if box is not None:
        query.append(("box", _box(box)))
    path = f"{_gallery(gallery)}/search"
    several = _several(pictures)
    if len(several) == 1:
        return _raw("POST", path, picture_bytes(several[0]), query=query, read=_json(search_reply))
    query.append(("combine", "mean"))
    return Call(method="POST", path=path, query=query, files=_parts(several), read=_json(search_reply))


def search_batch(
    pictures: Iterable[Picture], *, gallery: str = "default", **options: Unpack[SearchOptions]
) -> Call[BatchReply]:
    """Search for one vehicle a picture. A picture that is wrong is a ``Problem`` in its place."""

    def read(document: Mapping[str, Any]) -> BatchReply:
        results = tuple(_or_problem(one, search_reply) for one in document["results"])
        return read_reply(BatchReply, document, results=results)

    query = _query(options, SearchOptions)
    return Call(
        method="POST",
        path=f"{_gallery(gallery)}/search/batch",
        query=query,
        files=_parts(_each(pictures)),
        read=_json(read),
    )


def similar(image_id: str, *, gallery: str = "default", **options: Unpack[SimilarOptions]) -> Call[SearchReply]:
    """Search with a stored image, which is itself left out."""
    return Call(
        method="GET", path=f"{_image(gallery, image_id)}/similar", query=_query(options, SimilarOptions),
        read=_json(search_reply),
    )  # fmt: skip


def search_kept(
    query_ids: Names = (), *, boxes: Iterable[Box] = (), image_ids: Names = (), gallery: str = "default",
    **options: Unpack[SearchOptions],
) -> Call[SearchReply]:  # fmt: skip
    """Search with pictures that ``keep_query`` kept, and stored images, 1–8 of one vehicle. The latter are left out.

    ``boxes`` are parts of the kept pictures, none or one for each, in their order.
    """
    if options.get("image_id") is not None:
        raise UnusableInput("image_id is no filter of search_kept; what it searches with are image_ids")
    query = [
        *(("query_id", each) for each in _names(query_ids)), *(("box", _box(each)) for each in boxes),
        *(("image_id", each) for each in _names(image_ids)), *_query(options, SearchOptions),
    ]  # fmt: skip
    return Call(method="GET", path=f"{_gallery(gallery)}/search", query=query, read=_json(search_reply))


def keep_query(picture: Picture) -> Call[QueryReply]:
    """Have the service keep a picture for a while, to search with by its ``query_id``; Conflict where it keeps none."""
    return _raw("POST", _QUERIES, picture_bytes(picture), read=_json(lambda it: read_reply(QueryReply, it)))


def query(query_id: str) -> Call[QueryReply]:
    """A kept picture's size, and until when it is kept."""
    return Call(method="GET", path=f"{_QUERIES}/{_segment(query_id)}", read=_read(QueryReply))


def query_picture(query_id: str, *, max_side: int | None = None) -> Call[Crop]:
    """A kept picture as it is searched with; with ``max_side`` (16–2048 pixels) a JPEG of it to look at."""
    return _picture(f"{_QUERIES}/{_segment(query_id)}/picture", max_side)


def delete_query(query_id: str) -> Call[None]:
    """Erase a kept picture before its time."""
    return Call(method="DELETE", path=f"{_QUERIES}/{_segment(query_id)}", read=_nothing)


def embeddings(pictures: Picture | Sequence[Picture]) -> Call[EmbeddingsReply]:
    """The vectors that a gallery would store. A picture that is wrong is a ``Problem`` in its place, one of several."""

    def read(document: Mapping[str, Any]) -> EmbeddingsReply:
        results = tuple(_or_problem(one, lambda it: read_reply(Embedding, it)) for one in document["results"])
        return EmbeddingsReply(model=document["model"], results=results)

    return Call(method="POST", path="/v1/embeddings", files=_parts(_several(pictures)), read=_json(read))


# Images


def add_images(images: Iterable[NewImage | Picture], *, gallery: str = "default") -> Call[AddedImages]:
    """Add a batch in one request. A picture or description that is wrong fails alone; an ``image_id`` that exists is
    replaced. For more than a request holds there is ``upload``.
    """  # noqa: D205
    new = [named(each) for each in _each(images)]
    return add_prepared([(one.metadata(), picture_bytes(one.picture), source_of(one.picture)) for one in new], gallery)


def add_prepared(images: Sequence[tuple[Mapping[str, Any], bytes, str | None]], gallery: str) -> Call[AddedImages]:
    """Add images whose metadata, bytes and source are at hand."""

    def read(document: Mapping[str, Any]) -> AddedImages:
        results = tuple(
            AddedImage(
                number=number,
                image_id=one["image_id"],
                status=one["status"],
                source=source,
                problem=Problem.from_document(one["problem"]) if "problem" in one else None,
            )
            for number, (one, (_, _, source)) in enumerate(zip(document["results"], images, strict=True))
        )
        return read_reply(AddedImages, document, results=results)

    metadata = json.dumps([one for one, _, _ in images]).encode()
    files = [*_parts(data for _, data, _ in images), ("metadata", ("metadata.json", metadata, "application/json"))]
    return Call(method="POST", path=f"{_gallery(gallery)}/images", files=files, read=_json(read))


def put_image(
    image_id: str, picture: Picture, *, gallery: str = "default", box: Box | None = None,
    **description: Unpack[Description],
) -> Call[StoredImage]:  # fmt: skip
    """Add or replace one image; ``status`` of the answer says which."""
    metadata = _description(description) | ({} if box is None else {"box": list(box)})
    path, data = _image(gallery, image_id), picture_bytes(picture)
    if not metadata:
        return _raw("PUT", path, data, read=_json(_stored))
    part = ("metadata", ("metadata.json", json.dumps(metadata).encode(), "application/json"))
    return Call(method="PUT", path=path, files=[*_parts([data]), part], read=_json(_stored))


def image(image_id: str, *, gallery: str = "default") -> Call[StoredImage]:
    """What the gallery knows about an image."""
    return Call(method="GET", path=_image(gallery, image_id), read=_json(_stored))


def update_image(image_id: str, *, gallery: str = "default", **changes: Unpack[Description]) -> Call[StoredImage]:
    """Change metadata: None removes a field, attributes merge name by name. Vector and crop stay."""
    return Call(
        method="PATCH", path=_image(gallery, image_id), content=json.dumps(_description(changes)).encode(),
        content_type="application/merge-patch+json", read=_json(_stored),
    )  # fmt: skip


def delete_image(image_id: str, *, gallery: str = "default") -> Call[None]:
    """Erase an image: it is in no answer from now on."""
    return Call(method="DELETE", path=_image(gallery, image_id), read=_nothing)


def delete_images(*, gallery: str = "default", everything: bool = False, **filters: Unpack[Filters]) -> Call[int]:
    """Erase every image that passes the filters (at least one), or ``everything``; how many there were."""
    query = [*_query(filters, Filters), *([("all", "true")] if everything else [])]
    return Call(
        method="DELETE", path=f"{_gallery(gallery)}/images", query=query, repetition="unless begun",
        read=_json(lambda document: int(document["deleted"])),
    )  # fmt: skip


def update_images(
    changes: Description, *, gallery: str = "default", everything: bool = False, **filters: Unpack[Filters]
) -> Call[int]:
    """Change metadata of every image that passes the filters (at least one), or ``everything``, of all or of none.

    ``changes`` are as for ``update_image``; how many images passed.
    """
    query = [*_query(filters, Filters), *([("all", "true")] if everything else [])]
    return Call(
        method="PATCH", path=f"{_gallery(gallery)}/images", query=query, repetition="unless begun",
        content=json.dumps(_description(changes)).encode(), content_type="application/merge-patch+json",
        read=_json(lambda document: int(document["updated"])),
    )  # fmt: skip


def page(
    *, gallery: str = "default", limit: int = 1000, cursor: str | None = None, offset: int = 0,
    order: Literal["image_id", "newest"] | None = None, total: bool = False, **filters: Unpack[Filters],
) -> Call[ImagePage]:  # fmt: skip
    """One page of images, after a cursor or ``offset`` of them; ``images`` goes through all."""

    def read(document: Mapping[str, Any]) -> ImagePage:
        return read_reply(ImagePage, document, images=tuple(_stored(one) for one in document["images"]))

    wanted = {"cursor": cursor, "offset": offset or None, "order": order, "total": "true" if total else None}
    query = [(name, str(value)) for name, value in wanted.items() if value is not None]
    query = [*_query(filters, Filters), ("limit", str(limit)), *query]
    return Call(method="GET", path=f"{_gallery(gallery)}/images", query=query, read=_json(read))


def crop(image_id: str, *, gallery: str = "default", max_side: int | None = None) -> Call[Crop]:
    """The stored crop as it was embedded; with ``max_side`` (16–2048 pixels) a JPEG of it to look at."""
    return _picture(f"{_image(gallery, image_id)}/crop", max_side)


# Galleries


def galleries() -> Call[list[GalleryReply]]:
    """Every gallery, by name."""
    return Call(method="GET", path="/v1/galleries", read=_listed(GalleryReply, "galleries"))


def gallery(name: str = "default") -> Call[GalleryReply]:
    """A gallery's properties, its size, and what finds its images."""
    return Call(method="GET", path=_gallery(name), read=_read(GalleryReply))


def facets(gallery: str = "default") -> Call[FacetsReply]:
    """By what a gallery's images can be filtered: cameras, viewpoints, attributes, from when to when."""
    return Call(method="GET", path=f"{_gallery(gallery)}/facets", read=_read(FacetsReply))


def create_gallery(
    name: str, *, kind: str | None = None, vectors: str | None = None, retention_days: float | None = None,
    keep_crops: bool | None = None,
) -> Call[GalleryReply]:  # fmt: skip
    """Create a gallery for the loaded model. The same again changes nothing; with other properties it is a Conflict."""
    wanted = {"kind": kind, "vectors": vectors, "retention_days": retention_days, "keep_crops": keep_crops}
    body = json.dumps({key: value for key, value in wanted.items() if value is not None}).encode()
    return Call(
        method="PUT", path=_gallery(name), content=body, content_type="application/json", read=_read(GalleryReply)
    )


def drop_gallery(name: str, *, confirm: str) -> Call[None]:
    """Drop a gallery with everything in it; ``confirm`` is its name once more."""
    return Call(method="DELETE", path=_gallery(name), query=[("confirm", confirm)], read=_nothing)


# Imports and migrations


def import_archive(archive: str | PathLike[str], *, gallery: str = "default") -> Call[ImportReply]:
    """Send a .zip or .tar, with a manifest.csv or without, to be imported in the background; streamed from the disk."""
    path = Path(archive)
    if not path.is_file():
        raise UnusableInput(f"there is no archive {str(path)!r}")
    part = ("archive", (path.name, path, "application/octet-stream"))  # opened when it is sent
    return Call(
        method="POST", path=f"{_gallery(gallery)}/imports", files=[part], read=_read(ImportReply),
        repetition="unless begun",
    )  # fmt: skip


def import_path(path: str, *, gallery: str = "default") -> Call[ImportReply]:
    """Import a folder or archive that lies below the service's import root."""
    return Call(
        method="POST", path=f"{_gallery(gallery)}/imports", content=json.dumps({"path": path}).encode(),
        content_type="application/json", read=_read(ImportReply), repetition="unless begun",
    )  # fmt: skip


def imports() -> Call[list[ImportReply]]:
    """Every import job that was not removed, newest first."""
    return Call(method="GET", path=_IMPORTS, read=_listed(ImportReply, "imports"))


def import_job(import_id: str) -> Call[ImportReply]:
    """How far an import is."""
    return Call(method="GET", path=f"{_IMPORTS}/{_segment(import_id)}", read=_read(ImportReply))


def import_failures(import_id: str) -> Call[list[dict[str, str]]]:
    """What failed in an import: rows of a manifest, ``import_failure`` says why."""

    def read(response: httpx.Response) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))

    return Call(method="GET", path=f"{_IMPORTS}/{_segment(import_id)}/failures", read=read)


def delete_import(import_id: str) -> Call[ImportReply | None]:
    """Cancel an import, which keeps what it has stored; one that has ended is removed from the list (None)."""

    def read(response: httpx.Response) -> ImportReply | None:
        return None if response.status_code == 204 else _read(ImportReply)(response)

    return Call(
        method="DELETE", path=f"{_IMPORTS}/{_segment(import_id)}", read=read, repetition="unless begun"
    )  # sent twice it would cancel, then remove


def migrate(gallery: str = "default") -> Call[MigrationReply]:
    """Move a gallery to the loaded model in the background; one that is under way is answered with."""
    return Call(method="POST", path=f"{_gallery(gallery)}/migrations", read=_read(MigrationReply))


def migrations(gallery: str = "default") -> Call[list[MigrationReply]]:
    """A gallery's migrations, latest first."""
    return Call(method="GET", path=f"{_gallery(gallery)}/migrations", read=_listed(MigrationReply, "migrations"))


def migration(migration_id: str, *, gallery: str = "default") -> Call[MigrationReply]:
    """How far a migration is."""
    path = f"{_gallery(gallery)}/migrations/{_segment(migration_id)}"
    return Call(method="GET", path=path, read=_read(MigrationReply))


def cancel_migration(migration_id: str, *, gallery: str = "default") -> Call[MigrationReply]:
    """Cancel a migration: the gallery stays with its model."""
    return replace(migration(migration_id, gallery=gallery), method="DELETE")


# Feedback


def give_feedback(
    image_id: str, *, same: bool, query_id: str | None = None, box: Box | None = None,
    query_image_id: str | None = None, distance: float | None = None, gallery: str = "default",
) -> Call[FeedbackReply]:  # fmt: skip
    """Say of a match whether it shows the vehicle that was searched for; again, of the same two, it is replaced.

    It was searched for with a kept picture (``query_id``), or the ``box`` of it, or with a stored image.
    """
    said = {
        "gallery": gallery, "image_id": image_id, "same": same, "query_id": query_id,
        "box": None if box is None else list(box), "query_image_id": query_image_id, "distance": distance,
    }  # fmt: skip
    body = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
    return Call(method="POST", path=_FEEDBACK, content=body, content_type="application/json", read=_read(FeedbackReply))


def feedback(
    *, gallery: str = "default", limit: int = 1000, cursor: str | None = None, query_id: str | None = None,
    query_image_id: str | None = None,
) -> Call[FeedbackPage]:  # fmt: skip
    """One page of what was said of a gallery's matches, or of those of one query, the latest first."""

    def read(document: Mapping[str, Any]) -> FeedbackPage:
        given = tuple(read_reply(FeedbackReply, one) for one in document["feedback"])
        return FeedbackPage(feedback=given, next=document["next"])

    options = {"cursor": cursor, "query_id": query_id, "query_image_id": query_image_id}
    query = [
        ("gallery", gallery),
        ("limit", str(limit)),
        *((name, text) for name, text in options.items() if text is not None),
    ]
    return Call(method="GET", path=_FEEDBACK, query=query, read=_json(read))


def delete_feedback(feedback_id: str) -> Call[None]:
    """Erase what was said once."""
    return Call(method="DELETE", path=f"{_FEEDBACK}/{_segment(feedback_id)}", read=_nothing)


def delete_all_feedback(gallery: str) -> Call[int]:
    """Erase all that was said of a gallery's matches; how much there was."""
    return Call(
        method="DELETE", path=_FEEDBACK, query=[("gallery", gallery)], repetition="unless begun",
        read=_json(lambda document: int(document["deleted"])),
    )  # fmt: skip


def export_feedback(*, gallery: str = "default") -> Call[bytes]:
    """A .zip of pictures and a manifest.csv that ``vehicle-model train`` reads once it is unpacked; all in memory."""
    return Call(
        method="GET", path=f"{_FEEDBACK}/export", query=[("gallery", gallery)], read=lambda response: response.content
    )


# Cameras and trails


class TrailOptions(TypedDict, total=False):
    """What a trail is made with."""

    query_ids: Sequence[str]  # kept pictures that distances are measured to, together
    boxes: Sequence[Box]  # the part of each of them that is meant, or none
    query_image_ids: Sequence[str]  # images of the gallery that distances are measured to, too
    max_speed_kmh: float  # what is quicker along a straight line is impossible; the service's default is 150
    title: str
    note: str
    asked_by: str


def cameras() -> Call[CamerasReply]:
    """What cameras are called and where they stand, of all galleries; and the plan that they stand on."""
    return Call(method="GET", path=_CAMERAS, read=_json(cameras_reply))


def set_cameras(cameras: Iterable[Camera]) -> Call[CamerasReply]:
    """Name and place cameras: these take the place of all that were there."""
    body = json.dumps({"cameras": [vars(camera) for camera in _each(cameras)]}).encode()
    return Call(method="PUT", path=_CAMERAS, content=body, content_type="application/json", read=_json(cameras_reply))


def plan(*, max_side: int | None = None) -> Call[Crop]:
    """The picture that cameras stand on; with ``max_side`` (16–2048 pixels) a JPEG of it to look at."""
    return _picture(_PLAN, max_side)


def set_plan(picture: Picture, *, width: float) -> Call[PlanReply]:
    """Set the picture that cameras stand on; it shows ``width`` metres from its left to its right side."""
    return _raw("PUT", _PLAN, picture_bytes(picture), query=[("width", str(width))], read=_read(PlanReply))


def delete_plan() -> Call[None]:
    """Remove the plan; cameras keep their places."""
    return Call(method="DELETE", path=_PLAN, read=_nothing)


def trail(image_ids: Iterable[str], *, gallery: str = "default", **options: Unpack[TrailOptions]) -> Call[TrailReply]:
    """Sightings in the order of time, and what lies between them: time, straight distance, speed."""
    return _trail(image_ids, gallery, "json", options, _read(TrailReply))


def trail_file(
    image_ids: Iterable[str], *, gallery: str = "default", kind: Literal["pdf", "zip", "csv"] = "pdf",
    **options: Unpack[TrailOptions],
) -> Call[bytes]:  # fmt: skip
    """A trail as the bytes of a file: a record to hand over, with pictures, a table with them (zip), or a table."""
    return _trail(image_ids, gallery, kind, options, lambda response: response.content)


# The service


def model() -> Call[ModelReply]:
    """The loaded model's contract, fingerprint and execution provider."""
    return Call(method="GET", path="/v1/model", read=_read(ModelReply))


def status() -> Call[StatusReply]:
    """Versions, model, galleries, jobs, queue and disk of the service, as they are now."""
    return Call(method="GET", path="/v1/status", read=_read(StatusReply))


def reload_model() -> Call[ReloadReply]:
    """Load the service's model file anew, where it was replaced; Conflict where its vectors fit no gallery."""
    return Call(method="POST", path="/v1/model/reload", read=_read(ReloadReply), repetition="unless begun")


def alive() -> Call[bool]:
    """Whether the process answers; Unreachable where nothing listens."""
    return _probe("/livez")


def ready() -> Call[bool]:
    """Whether the model answers and the service is not stopping; asked once, Unreachable where nothing listens."""
    return _probe("/readyz")


def metrics() -> Call[str]:
    """Figures in Prometheus' exposition format."""
    return Call(method="GET", path="/metrics", read=lambda response: response.text)


def audit(
    *, since: datetime | str | None = None, until: datetime | str | None = None, key: str | None = None,
    action: str | None = None, gallery: str | None = None, limit: int = 100, cursor: str | None = None,
) -> Call[AuditPage]:  # fmt: skip
    """Who searched, wrote or erased what, and when: entries of the audit log, latest first."""
    wanted = {"since": since, "until": until, "key": key, "action": action, "gallery": gallery, "cursor": cursor}
    query = [
        (name, time_text(value, name=name) if isinstance(value, datetime) else value)
        for name, value in wanted.items()
        if value is not None
    ]
    return Call(method="GET", path="/v1/audit", query=[*query, ("limit", str(limit))], read=_read(AuditPage))


def caller() -> Call[CallerReply]:
    """What the key that is sent may do; everything where none is asked for."""
    return Call(method="GET", path="/v1/caller", read=_read(CallerReply))


def access_keys() -> Call[list[KeyReply]]:
    """Every key that was made, oldest first."""
    return Call(method="GET", path="/v1/keys", read=_listed(KeyReply, "keys"))


def create_key(
    name: str, *, scopes: Names, galleries: Iterable[str] | None = None, rate: float | None = None,
    burst: int | None = None, expires_at: datetime | str | None = None,
) -> Call[KeyReply]:  # fmt: skip
    """Make a key; its ``token`` is in this reply alone. ``scopes``: read, write, admin; ``rate``: requests a second."""
    until = time_text(expires_at, name="expires_at") if isinstance(expires_at, datetime) else expires_at
    document = {
        "name": name, "scopes": [scopes] if isinstance(scopes, str) else list(scopes),
        "galleries": None if galleries is None else list(galleries), "rate": rate, "burst": burst, "expires_at": until,
    }  # fmt: skip
    return Call(
        method="POST", path="/v1/keys", content=json.dumps(document).encode(), content_type="application/json",
        read=_read(KeyReply), repetition="unless begun",
    )  # fmt: skip


def revoke_key(key_id: str) -> Call[KeyReply]:
    """End a key for good."""
    return Call(method="DELETE", path=f"/v1/keys/{_segment(key_id)}", read=_read(KeyReply))


def named(each: NewImage | Picture) -> NewImage:
    """The image with an id: one that is sent twice is then stored once."""
    new = each if isinstance(each, NewImage) else NewImage(picture=each)
    return new if new.image_id is not None else replace(new, image_id=str(uuid.uuid4()))


def _probe(path: str) -> Call[bool]:
    return Call(
        method="GET", path=path, read=lambda response: response.status_code == 200, repetition="never",
        accepted=frozenset({503}),
    )  # fmt: skip


def _raw(
    method: str, path: str, data: bytes, *, read: Callable[[httpx.Response], T], query: Sequence[tuple[str, str]] = ()
) -> Call[T]:
    return Call(method=method, path=path, query=query, content=data, content_type="application/octet-stream", read=read)


def _trail(
    image_ids: Iterable[str], gallery: str, kind: str, options: Mapping[str, Any], read: Callable[[httpx.Response], T]
) -> Call[T]:
    for name in options:
        if name not in TrailOptions.__annotations__:
            known = ", ".join(TrailOptions.__annotations__)
            raise TypeError(f"unexpected keyword argument {name!r}; known are {known}")
    wish = {"image_ids": list(_each(image_ids))} | {
        name: list(value) if name.endswith("_ids") or name == "boxes" else value for name, value in options.items()
    }
    return Call(
        method="POST", path=f"{_gallery(gallery)}/trail", query=[("format", kind)], content=json.dumps(wish).encode(),
        content_type="application/json", read=read,
    )  # fmt: skip


def _several(pictures: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """A list or tuple of pictures as it is, one picture as a list; a text is a path and no sequence."""
    if not isinstance(pictures, list | tuple):
        return [cast(Picture, pictures)]
    if not pictures:
        raise UnusableInput("the list of pictures is empty")
    return pictures


def _each(pictures: Iterable[T]) -> Iterable[T]:
    """Several; a text or bytes would be taken apart."""
    if isinstance(pictures, str | bytes | PathLike):
        raise UnusableInput("a list of pictures is expected, not one picture")
    return pictures


def _parts(pictures: Iterable[Picture]) -> list[tuple[str, tuple[str, Any, str]]]:
    return [
        ("image", (str(number), picture_bytes(picture), "application/octet-stream"))
        for number, picture in enumerate(pictures)
    ]


def _names(names: Names) -> Iterable[str]:
    return [names] if isinstance(names, str) else names


def _box(box: Box) -> str:
    return ",".join(str(side) for side in box)


def _query(options: Mapping[str, Any], known: type) -> list[tuple[str, str]]:
    """A query string's names and values; TypeError for a keyword that is not known, as Python's own."""
    query: list[tuple[str, str]] = []
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}; known are {', '.join(known.__annotations__)}")
        if value is None:
            continue
        if name == "attributes":
            query += [(f"attribute.{key}", _attribute_text(key, one)) for key, one in _attributes(value)]
        elif name == "include":
            query.append((name, value if isinstance(value, str) else ",".join(value)))
        elif isinstance(value, datetime):
            query.append((name, time_text(value, name=name)))
        else:
            several = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
            query += [(name, str(one)) for one in several]
    return query


def _attributes(wanted: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in wanted.items():
        for one in value if isinstance(value, Iterable) and not isinstance(value, str) else [value]:
            yield name, one


def _attribute_text(name: str, value: object) -> str:
    """Quotes around a text, so that "5" is not taken for a number."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableInput(f"attribute {name} = {value!r}: a text or a number is expected")
    return repr(value)


def _description(description: Mapping[str, Any]) -> dict[str, Any]:
    for name in description:
        if name not in Description.__annotations__:
            known = ", ".join(Description.__annotations__)
            raise TypeError(f"unexpected keyword argument {name!r}; known are {known}")
    return {
        name: time_text(value, name=name) if isinstance(value, datetime) else value
        for name, value in description.items()
    }


def _gallery(name: str) -> str:
    return f"/v1/galleries/{_segment(name)}"


def _image(gallery: str, image_id: str) -> str:
    return f"{_gallery(gallery)}/images/{_segment(image_id)}"


def _segment(name: str) -> str:
    """A name as a part of a path; dots alone would lead to another resource."""
    if name in ("", ".", ".."):
        raise UnusableInput(f"{name!r} names nothing")
    return quote(name, safe="")


def _json(read: Callable[[Any], T]) -> Callable[[httpx.Response], T]:
    return lambda response: read(response.json())


def _read(kind: type[T]) -> Callable[[httpx.Response], T]:
    return _json(lambda document: read_reply(kind, document))


def _listed(kind: type[T], name: str) -> Callable[[httpx.Response], list[T]]:
    return _json(lambda document: [read_reply(kind, one) for one in document[name]])


def _stored(document: Mapping[str, Any]) -> StoredImage:
    return read_reply(StoredImage, document)


def _picture(path: str, max_side: int | None) -> Call[Crop]:
    def read(response: httpx.Response) -> Crop:
        return Crop(
            data=response.content, media_type=response.headers["content-type"], etag=response.headers.get("etag")
        )

    query = [] if max_side is None else [("max_side", str(max_side))]
    return Call(method="GET", path=path, query=query, read=read)


def _nothing(_: httpx.Response) -> None:
    return None


def _or_problem(document: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T | Problem:
    return Problem.from_document(document["problem"]) if "problem" in document else read(document)
