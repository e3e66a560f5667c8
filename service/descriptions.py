"""What the API says about itself in OpenAPI: bodies, parameters, answers and problems."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import Path

from index.bulk.import_job import STATES
from index.gallery import BUILT_KINDS, KINDS, VECTORS, MigrationState
from index.metadata import IMAGE_ID, MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT, MAX_ATTRIBUTES, MAX_LABEL
from service.inference_protocol import HEADER_LENGTH
from service.parameters import ATTRIBUTE, LONGEST_TIMEOUT_MS, TIMEOUT_HEADER, Parameter
from service.problems import (
    MEDIA_TYPE,
    RESPONSES,
    NotReady,
    RateExceeded,
    ScopeMissing,
    Unauthenticated,
    problem_of,
)

GalleryName = Annotated[str, Path(description="Name of the gallery.", examples=["default"])]
ImportId = Annotated[str, Path(description="Id of the import job.")]
ImageId = Annotated[str, Path(description="Id of the image.", examples=["v0015_03"])]

_JSON = "application/json"
_BINARY = {"type": "string", "format": "binary"}
_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif")
_IMAGES = {"type": "array", "items": _BINARY, "description": "one part 'image' a picture"}
_EXAMPLE_METADATA = '[{"image_id": "cam1-000001", "vehicle_id": "v17", "camera_id": "c001", "captured_at": "2026-05-04T10:11:12Z", "attributes": {"colour": "red"}}]'  # noqa: E501

_ATTRIBUTE_HELP = (
    "Only images whose attribute NAME has this value (write the attribute's name for NAME). A value written like a "
    'JSON number means the number; "quotes" make it a string. Repeated: any of them.'
)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and, where it helps, what to do"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}}},
        },
    },
}
_VIEWPOINT = {
    "type": "object",
    "additionalProperties": {"type": "number"},
    "examples": [{"front": 0.01, "rear": 0.97, "side": 0.02}],
}
_NULLABLE_TEXT = {"type": ["string", "null"]}
_IMAGE_FIELDS: dict[str, Any] = {
    "image_id": {"type": "string"},
    "vehicle_id": _NULLABLE_TEXT,
    "camera_id": _NULLABLE_TEXT,
    "captured_at": {"type": ["string", "null"], "format": "date-time"},
    "viewpoint": _VIEWPOINT,
    "attributes": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
    "crop": {**_NULLABLE_TEXT, "description": "path of the stored crop"},
}
_IMAGE = {"type": "object", "properties": {**_IMAGE_FIELDS, "ingested_at": {"type": "string", "format": "date-time"}}}
_MATCH = {
    "type": "object",
    "properties": {
        "rank": {"type": "integer", "minimum": 1},
        "distance": {"type": "number", "description": "Euclidean"},
        **_IMAGE_FIELDS,
        "embedding": {"type": "array", "items": {"type": "number"}, "description": "with include=embedding"},
    },
}
_MATCHES = {"type": "array", "items": _MATCH}
_TIMING = {"type": "object", "additionalProperties": {"type": "number"}}
_MAP = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_KIND = {
    "type": "string",
    "enum": list(KINDS),
    "default": KINDS[0],
    "description": "flat looks at every image; ivf and hnsw are quick and miss about one near image in a hundred; "
    "auto is flat while that is quick, then hnsw. Filters that few images pass are exact with each",
}
_VECTORS = {
    "type": "string",
    "enum": list(VECTORS),
    "default": VECTORS[0],
    "description": "how the index keeps vectors in memory; distances are exact with each",
}
_GALLERY = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "images": {"type": "integer"},
        "embedding_space": {"type": "string"},
        "embedding_dim": {"type": "integer"},
        "viewpoints": {"type": "array", "items": {"type": "string"}},
        "kind": _KIND,
        "vectors": _VECTORS,
        "index": {
            "type": "object",
            "description": "what finds the images now",
            "properties": {
                "kind": {"type": "string", "enum": list(BUILT_KINDS)},
                "vectors": {"type": "string", "enum": list(VECTORS)},
                "device": {"type": "string", "enum": ["cpu", "cuda"], "description": "where it looks for them"},
                "images": {"type": "integer", "description": "that it answers for"},
                "waiting": {"type": "integer", "description": "further images, looked at one by one until taken in"},
                "building": {
                    "type": ["string", "null"],
                    "enum": [*BUILT_KINDS, None],
                    "description": "the kind that is being built beside it",
                },
                "problem": {
                    "type": ["string", "null"],
                    "description": "why the last such work was given up, or the GPU does not answer",
                },
            },
        },
        "retention_days": {"type": ["number", "null"]},
        "keep_crops": {"type": "boolean"},
        "last_change": {"type": "integer"},
        "created_at": {"type": "string", "format": "date-time"},
        "disk_bytes": {"type": "integer"},
        "problem": {"type": ["string", "null"], "description": "why it cannot be used; other fields lack then"},
    },
}


_VECTOR = {"type": "array", "items": {"type": "number"}}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_TIME = {"type": "string", "format": "date-time"}
_NULLABLE_TIME = {"type": ["string", "null"], "format": "date-time"}
_INGESTED = {"type": "string", "enum": ["created", "updated", "failed"]}

SEARCH_ANSWER = _object(
    gallery=_TEXT, model={**_TEXT, "description": "fingerprint of the file"}, queries=_COUNT, viewpoint=_VIEWPOINT,
    matches=_MATCHES, embedding=_VECTOR, attention=_object(**{"global": _MAP, "local": _MAP}), timing_ms=_TIMING,
)  # fmt: skip
BATCH_ANSWER = _object(
    gallery=_TEXT, model=_TEXT, timing_ms=_TIMING,
    results=_list({"oneOf": [_object(viewpoint=_VIEWPOINT, matches=_MATCHES), _object(problem=_PROBLEM)]}),
)  # fmt: skip
EMBEDDINGS_ANSWER = _object(
    model=_TEXT, results=_list(_object(embedding=_VECTOR, viewpoint=_VIEWPOINT, problem=_PROBLEM))
)
INGEST_ANSWER = _object(
    created=_COUNT, updated=_COUNT, failed=_COUNT,
    results=_list(_object(image_id=_NULLABLE_TEXT, status=_INGESTED, problem=_PROBLEM)),
)  # fmt: skip
IMAGE_ANSWER = _IMAGE
PAGE_ANSWER = _object(images={"type": "array", "items": _IMAGE}, next=_NULLABLE_TEXT)
DELETED_ANSWER = _object(deleted={"type": "integer"})
GALLERY_ANSWER = _GALLERY
GALLERIES_ANSWER = _object(galleries={"type": "array", "items": _GALLERY})
_MODEL: dict[str, Any] = {
    "fingerprint": {"type": "string"}, "provider": {"type": "string"}, "contract": {"type": "object"}
}  # fmt: skip
MODEL_ANSWER = _object(
    **_MODEL,
    previous={
        "type": ["object", "null"], "properties": _MODEL,
        "description": "the model of galleries that have not moved yet, where previous_model names one",
    },
)  # fmt: skip
_BRIEF_MODEL = _object(name=_TEXT, fingerprint=_TEXT, provider=_TEXT)
RELOAD_ANSWER = _object(
    changed={"type": "boolean", "description": "false: the file is what was loaded already"},
    old={**_BRIEF_MODEL, "description": "the model that answered"},
    new={**_BRIEF_MODEL, "description": "the model that answers now"},
    seconds={"type": "number", "description": "that it took"},
)  # fmt: skip
_BYTES = {"type": ["integer", "null"]}
_STATUS_MODEL: dict[str, Any] = {
    "name": _TEXT, "fingerprint": _TEXT, "provider": _TEXT, "precision": _TEXT, "embedding_space": _TEXT,
}  # fmt: skip
_WORK = _object(waiting=_COUNT, running=_COUNT)
STATUS_ANSWER = _object(
    started_at={"type": "string", "format": "date-time"}, uptime_seconds={"type": "number"},
    read_only={"type": "boolean"}, draining={"type": "boolean", "description": "stopping: no more work is taken"},
    versions={"type": "object", "additionalProperties": _TEXT, "description": "of the service and its libraries"},
    model=_object(**_STATUS_MODEL), previous={"type": ["object", "null"], "properties": _STATUS_MODEL},
    galleries=_list(
        _object(
            name=_TEXT, images=_COUNT, kind=_TEXT, embedding_space=_TEXT,
            problem={**_NULLABLE_TEXT, "description": "why it is damaged; of one that cannot be used no more is told"},
            index_problem={**_NULLABLE_TEXT, "description": "why searches are slower than they should be"},
            wal_bytes={**_COUNT, "description": "written and not yet brought into the database"},
            migration={
                "type": ["object", "null"], "description": "the open move to another model",
                "properties": {"id": _TEXT, "state": _TEXT, "done": _COUNT, "total": _COUNT, "to_space": _TEXT},
            },
        )
    ),
    imports={"type": "object", "additionalProperties": _COUNT, "description": "how many jobs are in which state"},
    queue=_object(
        taken={**_COUNT, "description": "requests waiting or at work"}, limit=_COUNT,
        work=_object(single=_WORK, batch=_WORK, spare=_WORK),
    ),
    disk=_object(
        folder={**_NULLABLE_TEXT, "description": "the data folder; told to keys with the scope admin"},
        free_bytes=_BYTES, total_bytes=_BYTES,
    ),
)  # fmt: skip
_MIGRATION = _object(
    id=_TEXT, gallery=_TEXT,
    state={
        "type": "string", "enum": list(get_args(MigrationState)),
        "description": "switched: the new vectors answer, the old ones are being removed; failed: some images cannot "
        "be embedded anew and the gallery stays as it was, begin again when they are mended or erased",
    },
    done={"type": "integer", "description": "images that have a vector of the new space"},
    total={"type": "integer", "description": "images of the gallery"},
    model=_object(name=_TEXT, fingerprint=_TEXT), from_space=_TEXT, to_space=_TEXT,
    begun_at={"type": "string", "format": "date-time"}, ended_at={"type": ["string", "null"], "format": "date-time"},
    problem={**_NULLABLE_TEXT, "description": "why it does not go on at the moment"},
    failures={"type": "integer", "description": "images that cannot be embedded anew"},
    failed=_list(_object(image_id=_TEXT, detail=_TEXT)),
)  # fmt: skip
MIGRATION_ANSWER = _MIGRATION
MIGRATIONS_ANSWER = _object(migrations=_list(_MIGRATION))
NOTHING: dict[str, Any] = {"type": "object", "additionalProperties": False}
_IMPORT = _object(
    id=_TEXT, gallery=_TEXT, state={**_TEXT, "enum": list(STATES)},
    source={
        "type": "object", "description": "archive: the name that it was sent with; or path, below import_root",
        "properties": {"archive": _NULLABLE_TEXT, "path": _TEXT},
    },
    created_at=_TIME, started_at=_NULLABLE_TIME, finished_at=_NULLABLE_TIME,
    total={"type": ["integer", "null"], "description": "images and rows; null until everything was looked at"},
    done={**_COUNT, "description": "all that follow"}, created=_COUNT, updated=_COUNT,
    unchanged={**_COUNT, "description": "stored already, with the same picture and metadata"}, failed=_COUNT,
    images_per_second={"type": ["number", "null"]},
    failures={**_TEXT, "description": "path of what failed, as a manifest.csv"},
    problem={**_NULLABLE_TEXT, "description": "why the job failed, or waits"},
)  # fmt: skip
IMPORT_ANSWER = _IMPORT
IMPORTS_ANSWER = _object(imports=_list(_IMPORT))

AUDIT_ANSWER = _object(
    entries=_list(
        {
            "type": "object",
            "properties": {
                "time": _TIME, "action": _TEXT, "key": {**_TEXT, "description": "id of the caller's key, or keyless"},
                "address": _NULLABLE_TEXT, "gallery": _NULLABLE_TEXT, "image_id": _TEXT,
                "filters": {"type": "object", "description": "the query string", "additionalProperties": _list(_TEXT)},
                "pictures": {**_list(_TEXT), "description": "SHA-256 of each that was searched for"},
                "matches": {**_COUNT, "description": "that were answered"},
                "count": {**_COUNT, "description": "images that were stored or erased; entries that are missing"},
                "images": {**_list(_TEXT), "description": "ids that were stored, the first 256"},
                "status": _COUNT, "request_id": _TEXT,
            },
            "additionalProperties": True,
        }
    ),
    next=_NULLABLE_TEXT,
)  # fmt: skip

_OCTETS = "application/octet-stream"
_INFERENCE_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_TENSOR: dict[str, Any] = {"name": _TEXT, "datatype": _TEXT, "shape": _list(_COUNT)}
_TENSOR_DATA = {
    **_TENSOR, "data": {"type": "array", "description": "numbers in a row or nested; or binary_data_size"},
    "parameters": _object(binary_data_size=_COUNT),
}  # fmt: skip
SERVER_ANSWER = _object(name=_TEXT, version=_TEXT, extensions=_list(_TEXT))
LIVE_ANSWER = _object(live={"type": "boolean"})
READY_ANSWER = _object(ready={"type": "boolean"})
MODEL_READY_ANSWER = _object(name=_TEXT, ready={"type": "boolean"})
TENSORS_ANSWER = _object(
    name=_TEXT, platform=_TEXT, inputs=_list(_object(**_TENSOR)), outputs=_list(_object(**_TENSOR))
)
INFERENCE_ANSWER = _object(model_name=_TEXT, id=_TEXT, outputs=_list(_object(**_TENSOR_DATA)))
INFERENCE = {
    kind: {"schema": schema}
    for kind, schema in (
        (
            _JSON,
            _object(
                id=_TEXT, inputs=_list(_object(**_TENSOR_DATA)),
                outputs=_list(_object(name=_TEXT, parameters=_object(binary_data={"type": "boolean"}))),
                parameters=_object(binary_data_output={"type": "boolean"}),
            ),
        ),
        (_OCTETS, {**_BINARY, "description": f"that JSON, its length in the header {HEADER_LENGTH}, then the tensor"}),
    )
}  # fmt: skip

_RAW = {kind: {"schema": _BINARY} for kind in _PICTURE_TYPES}
_LABEL = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_LABEL}
_DESCRIPTION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "image_id": {
            "type": ["string", "null"], "pattern": f"^{IMAGE_ID}$",
            "description": "yours, or left away for one of ours; written again it replaces the image",
        },
        "vehicle_id": _LABEL,
        "camera_id": _LABEL,
        "captured_at": {"type": ["string", "null"], "format": "date-time", "description": "with an offset"},
        "attributes": {
            "type": ["object", "null"], "maxProperties": MAX_ATTRIBUTES,
            "propertyNames": {"minLength": 1, "maxLength": MAX_ATTRIBUTE_NAME},
            "additionalProperties": {
                "type": ["string", "number"], "maxLength": MAX_ATTRIBUTE_TEXT,
                "description": "a string or a finite number; a whole number of at most 64 bits",
            },
        },
        "box": {
            "type": ["array", "null"], "items": {"type": "integer", "minimum": 0}, "minItems": 4, "maxItems": 4,
            "description": "the vehicle in the upright picture: x, y, width, height in pixels",
        },
    },
}  # fmt: skip
_METADATA_ONE = {
    "type": "string", "description": "JSON object", "contentMediaType": _JSON, "contentSchema": _DESCRIPTION,
}  # fmt: skip
_METADATA_ALL = {
    "type": "string", "description": "JSON array, one object an image, in order", "contentMediaType": _JSON,
    "contentSchema": {"type": "array", "items": _DESCRIPTION}, "examples": [_EXAMPLE_METADATA],
}  # fmt: skip


def _form(required: Sequence[str], **parts: object) -> dict[str, Any]:
    return {"multipart/form-data": {"schema": {"type": "object", "required": list(required), "properties": parts}}}


PICTURE_OR_PARTS = {**_form(["image"], image=_IMAGES), **_RAW}
PARTS = _form(["image"], image=_IMAGES)
PARTS_AND_METADATA = _form(["image"], image=_IMAGES, metadata=_METADATA_ALL)
PICTURE_OR_PART_AND_METADATA = {**_RAW, **_form(["image"], image=_BINARY, metadata=_METADATA_ONE)}
IMPORT = {
    **_form(["archive"], archive=_BINARY),
    _JSON: {
        "schema": {
            "type": "object", "additionalProperties": False, "required": ["path"],
            "properties": {"path": {"type": "string", "description": "below the setting import_root"}},
        },
        "example": {"path": "2026-05-04/crops.zip"},
    },
}  # fmt: skip
MERGE_PATCH = {
    kind: {"schema": {"type": "object"}, "example": {"vehicle_id": "v17", "attributes": {"colour": None}}}
    for kind in ("application/merge-patch+json", "application/json")
}
GALLERY_SPEC = {
    "application/json": {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "kind": _KIND,
                "vectors": _VECTORS,
                "retention_days": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "keep_crops": {"type": "boolean"},
            },
        },
        "example": {"retention_days": 30},
    }
}


_TIMEOUT = {
    "name": TIMEOUT_HEADER, "in": "header", "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT_MS},
    "description": "Milliseconds from the request's arrival within which the answer is of use; past them it is told "
    "503, and what is not begun is not done. At most the setting request_seconds.",
}  # fmt: skip


def request(
    content: dict[str, Any] | None, parameters: Sequence[Parameter], *, attributes: bool = False, required: bool = True,
    timed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A route's ``openapi_extra``: its body and its parameters; ``timed``: it has a deadline (``turn_of``)."""
    documents = [parameter.document() for parameter in parameters]
    if attributes:
        documents.append(
            {
                "name": ATTRIBUTE + "NAME", "in": "query", "required": False, "schema": {"type": "string"},
                "description": _ATTRIBUTE_HELP,
            }
        )  # fmt: skip
    if timed:
        documents.append(_TIMEOUT)
    extra: dict[str, Any] = {"parameters": documents} if documents else {}
    if content is not None:
        extra["requestBody"] = {"required": required, "content": content}
    return extra


def problems(*statuses: int, key: bool = True) -> dict[int | str, dict[str, Any]]:
    """Responses that are problem documents; with those of a route that asks for a ``key``, where it does."""
    everywhere = _WITH_KEY if key else (403,)
    return {
        status: _problem(status) for status in sorted({*everywhere, *statuses, *([408] if 400 in statuses else [])})
    }


_WITH_KEY = (401, 403, 429, 503)
_EXAMPLES = {
    error["status"]: error
    for error in (
        problem_of(Unauthenticated("this service asks for a key: send the header Authorization: Bearer TOKEN")),
        problem_of(ScopeMissing("key 3f0c6e1d2a3b (camera-7) has the scopes write; this route asks for read")),
        problem_of(RateExceeded("key 3f0c6e1d2a3b (camera-7) may send 5 requests a second, 5 at once")),
        problem_of(NotReady("the service is stopping")),
    )
}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "Bearer, and what is wrong (RFC 6750)"}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}},
}


def _problem(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _PROBLEM}
    if status in _EXAMPLES:
        content["example"] = _EXAMPLES[status]
    response = {"description": RESPONSES[status], "content": {MEDIA_TYPE: content}}
    return response if status not in _HEADERS else {**response, "headers": _HEADERS[status]}


def responses(schema: dict[str, Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answer of a route and its problems."""
    return {200: {"description": "OK", "content": {"application/json": {"schema": schema}}}, **problems(*statuses)}


def inference_responses(
    schema: dict[str, Any], *statuses: int, binary: bool = False, key: bool = True
) -> dict[int | str, dict[str, Any]]:
    """The answer of a route of the inference protocol and its errors; ``binary``: tensors may follow the JSON."""
    answer: dict[str, Any] = {"description": "OK", "content": {_JSON: {"schema": schema}}}
    if binary:
        answer["content"][_OCTETS] = {"schema": _BINARY}
        answer["headers"] = {
            HEADER_LENGTH: {"description": "bytes of JSON, where tensors follow", "schema": {"type": "integer"}}
        }
    errors = {
        status: {**problem, "content": {_JSON: {"schema": _INFERENCE_ERROR, **_inference_example(status)}}}
        for status, problem in problems(*statuses, key=key).items()
    }
    return {200: answer, **errors}


def _inference_example(status: int | str) -> dict[str, Any]:
    example = _EXAMPLES.get(status)
    return {} if example is None else {"example": {"error": example["detail"]}}
