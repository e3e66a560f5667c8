"""JSON in and out: strict reading of what clients send, and the documents that they get."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from index.access_key import AccessKey
from index.contract import MatchProbability
from index.errors import InvalidValue
from index.gallery import Facets, GalleryInfo, Match, StoredImage
from service.wire.problems import MalformedRequest

_MOST_DIGITS: Final = 400  # of an integer: past what a double holds
_LEAVES: Final = frozenset({str, int, float, bool, type(None)})
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def read_json(data: bytes, *, what: str, pointer: str = "", short: bool = False) -> object:
    """Parse UTF-8 JSON; raises MalformedRequest for anything else, NaN and deep nesting included.

    An object with one key twice is JSON, but means nothing: InvalidValue at ``pointer``. ``short``: whole numbers of
    thousands of digits are refused as no JSON, and millions of others are read three times as quickly.
    """
    document = read_json_lenient(data, what=what, short=short)
    require_distinct_keys(document, pointer=pointer)
    return document


def read_json_lenient(data: bytes, *, what: str, short: bool = False) -> object:
    """As :func:`read_json`, but repeated keys are left for :func:`require_distinct_keys` to find, part by part."""
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=None if short else _integer,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedRequest(f"{what} is not JSON: {reason[:200]!a}") from error


def require_distinct_keys(document: object, *, pointer: str) -> None:
    """Raise InvalidValue at ``pointer`` where an object in ``document`` had one key twice."""
    parts = [document]
    while parts:
        part = parts.pop()
        if isinstance(part, _Ambiguous):
            raise InvalidValue(f"the key {part.key[:60]!a} stands twice in one object", pointer=pointer)
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        parts += () if _LEAVES.issuperset(map(type, inner)) else inner  # a tensor has millions of numbers


def properties_of(document: object, known: Sequence[str], *, what: str) -> dict[str, Any]:
    """The properties in the JSON object that describes ``what``; InvalidValue where it is none or has another one."""
    if not isinstance(document, dict):
        raise InvalidValue(f"the properties of {what} must be a JSON object", pointer="")
    for name in document:
        if name not in known:
            raise InvalidValue(
                f"{name[:60]!a} is not a property; known are {', '.join(known)}",
                pointer=f"/{name[:60].replace('~', '~0').replace('/', '~1')}" if name.isascii() else "",
            )
    return document


def answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as the whole answer."""
    return encoded_answer(encode(document), status=status, headers=headers)


def encoded_answer(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document that is encoded already, as the whole answer."""
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def encode(document: object) -> bytes:
    """RFC 8259 JSON in ASCII; ValueError for NaN and infinities."""
    return _ENCODER.encode(document).encode("ascii")


def encode_elements(documents: Iterable[object], *, together: int) -> Iterator[bytes]:
    """The elements of a JSON array without its brackets, so many documents at a time."""
    documents, comma = iter(documents), b""
    while group := list(islice(documents, together)):
        yield comma + encode(group)[1:-1]
        comma = b","


def viewpoint_document(names: Sequence[str], row: NDArray[np.float32] | None) -> dict[str, float]:
    """Names and probabilities (V,); empty where the model has one viewpoint."""
    return {} if row is None else {name: round(float(p), 4) for name, p in zip(names, row, strict=True)}


def image_document(image: StoredImage, gallery: str) -> dict[str, Any]:
    """An image as clients see it."""
    return {
        "image_id": image.image_id,
        **_described(image),
        "ingested_at": time_text(image.ingested_at),
        "crop": _crop_path(image, gallery),
    }


def match_document(match: Match, gallery: str, meaning: MatchProbability | None) -> dict[str, Any]:
    """A match as clients see it, with the stored vector where it came with it, and what the distance means."""
    image = match.image
    return {
        "rank": match.rank,
        "image_id": image.image_id,
        "distance": match.distance,
        **({} if meaning is None else {"probability": meaning.of(match.distance)}),
        **_described(image),
        "crop": _crop_path(image, gallery),
        **({} if match.embedding is None else {"embedding": match.embedding.tolist()}),
    }


def gallery_document(info: GalleryInfo) -> dict[str, Any]:
    """A gallery as clients see it."""
    return {
        "name": info.name,
        "images": info.images,
        "embedding_space": info.spec.embedding_space,
        "embedding_dim": info.spec.embedding_dim,
        "viewpoints": list(info.spec.viewpoints),
        "kind": info.spec.kind,
        "vectors": info.spec.vectors,
        "index": {
            "kind": info.index.kind,
            "vectors": info.index.vectors,
            "device": info.index.device,
            "images": info.index.rows,
            "waiting": info.index.waiting,
            "building": info.index.building,
            "problem": info.index.problem,
        },
        "retention_days": info.spec.retention_days,
        "keep_crops": info.spec.keep_crops,
        "last_change": info.last_change,
        "created_at": time_text(info.created_at),
        "disk_bytes": info.disk_bytes,
        "problem": None,
    }


def facets_document(facets: Facets) -> dict[str, Any]:
    """By what a gallery can be filtered, as clients see it."""
    return {
        "images": facets.images,
        "last_change": facets.last_change,
        "vehicles": facets.vehicles,
        "cameras": [{"camera_id": camera, "images": images} for camera, images in facets.cameras],
        "viewpoints": [{"viewpoint": name, "images": images} for name, images in facets.viewpoints],
        "attributes": [
            {
                "name": each.name,
                "images": each.images,
                "values": [{"value": value, "images": images} for value, images in each.values],
            }
            for each in facets.attributes
        ],
        "first_captured_at": facets.first_captured_at and time_text(facets.first_captured_at),
        "last_captured_at": facets.last_captured_at and time_text(facets.last_captured_at),
    }


def key_document(key: AccessKey, now: datetime) -> dict[str, Any]:
    """A key as those see it who may look after keys; never the token."""
    return {
        "id": key.key_id,
        "name": key.name,
        "state": key.ended(now) or "works",
        "scopes": sorted(key.scopes),
        "galleries": None if key.galleries is None else sorted(key.galleries),
        "rate": key.rate,
        "burst": None if key.rate is None else key.burst,
        "created_at": time_text(key.created_at),
        "expires_at": None if key.expires_at is None else time_text(key.expires_at),
        "revoked_at": None if key.revoked_at is None else time_text(key.revoked_at),
    }


def time_text(time: datetime) -> str:
    """RFC 3339 in UTC; fractions of a second only where there are any."""
    return time.isoformat().replace("+00:00", "Z")


def _described(image: StoredImage) -> dict[str, Any]:
    metadata = image.metadata
    return {
        "vehicle_id": metadata.vehicle_id,
        "camera_id": metadata.camera_id,
        "captured_at": time_text(metadata.captured_at) if metadata.captured_at else None,
        "viewpoint": {name: round(p, 4) for name, p in image.viewpoint.items()},
        "attributes": dict(metadata.attributes),
    }


def _crop_path(image: StoredImage, gallery: str) -> str | None:
    return f"/v1/galleries/{gallery}/images/{quote(image.image_id)}/crop" if image.crop_name else None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class _Ambiguous(dict[str, object]):
    """An object in which ``key`` stood twice."""

    key: str


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    ambiguous = _Ambiguous(document)
    ambiguous.key = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return ambiguous


def _integer(text: str) -> int:
    """Digits beyond any number that is taken are not counted out: Python refuses thousands of them as not JSON."""
    return int(text) if len(text) <= _MOST_DIGITS else int(text[:_MOST_DIGITS])
