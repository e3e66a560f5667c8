"""What the API says about itself in OpenAPI: bodies, parameters, answers and problems.

A schema with a title is a component of that name; ``service.openapi.examples`` has an example of each that is a whole
body.
"""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import Path

from index.access_key import MAX_NAME, MOST_AT_ONCE, QUICKEST, SCOPES, SLOWEST
from index.bulk.import_job import STATES
from index.camera import MAX_CAMERAS, POSITIONS
from index.gallery import BUILT_KINDS, KINDS, MOST_ATTRIBUTES, MOST_CAMERAS, MOST_VALUES, VECTORS, MigrationState
from index.metadata import GALLERY_NAME, IMAGE_ID, MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT, MAX_ATTRIBUTES, MAX_LABEL
from index.storage.kept_query import QUERY_ID
from service.openapi import examples
from service.trails.trail_wish import FASTEST, MAX_ASKER, MAX_NOTE, MAX_SPEED, MAX_TITLE, MOST_SIGHTINGS
from service.wire.inference_protocol import HEADER_LENGTH, MAX_ID
from service.wire.parameters import (
    ATTRIBUTE,
    ATTRIBUTE_VALUE,
    LONGEST_TIMEOUT_MS,
    MAX_COMBINED,
    MAX_SIDE,
    STORABLE,
    TIMEOUT_HEADER,
    Parameter,
)
from service.wire.problems import MEDIA_TYPE, RESPONSES

GalleryName = Annotated[
    str,
    Path(
        description="Name of the gallery.",
        examples=[examples.GALLERY],
        json_schema_extra={"pattern": f"^{GALLERY_NAME}$"},
    ),
]
ImportId = Annotated[str, Path(description="Id of the import job.", examples=[examples.IMPORT])]
ImageId = Annotated[
    str,
    Path(description="Id of the image.", examples=[examples.IMAGE], json_schema_extra={"pattern": f"^{IMAGE_ID}$"}),
]
QueryId = Annotated[
    str,
    Path(
        description="Id of the kept picture.", examples=[examples.QUERY], json_schema_extra={"pattern": f"^{QUERY_ID}$"}
    ),
]

_JSON = "application/json"
MAX_RETENTION_DAYS = 36_500

_BINARY = {"type": "string", "format": "binary"}
_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif")
_IMAGES = {"type": "array", "items": _BINARY, "minItems": 1, "description": "one part 'image' a picture"}
_EXAMPLE_METADATA = '[{"image_id": "cam1-000001", "vehicle_id": "v17", "camera_id": "c001", "captured_at": "2026-05-04T10:11:12Z", "attributes": {"colour": "red"}}]'  # noqa: E501

_ATTRIBUTE_HELP = (
    "Only images whose attribute NAME has this value (write the attribute's name for NAME). A value written like a "
    'JSON number means the number; "quotes" make it a string. Repeated: any of them.'
)
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_TIME = {"type": "string", "format": "date-time"}
_NULLABLE_TEXT = {"type": ["string", "null"]}
_NULLABLE_TIME = {"type": ["string", "null"], "format": "date-time"}
_PIXELS = {"type": "integer", "maximum": 2**31 - 1}
_BOX = {
    "type": "array", "prefixItems": [{**_PIXELS, "minimum": 0}] * 2 + [{**_PIXELS, "minimum": 1}] * 2,
    "items": {"type": "integer"}, "minItems": 4, "maxItems": 4,
    "description": "the vehicle in the upright picture: x, y, width, height in pixels",
}  # fmt: skip


def _object(*title: str, optional: Sequence[str] = (), **properties: object) -> dict[str, Any]:
    """An object that has all of these properties but for the optional ones, and the title where one is given."""
    required = [name for name in properties if name not in optional]
    return {
        **({"title": title[0]} if title else {}), "type": "object", "properties": properties, "required": required,
    }  # fmt: skip


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_VECTOR = _list(_NUMBER)
_PROBLEM = _object(
    "Problem", optional=["errors"],
    type={**_TEXT, "format": "uri", "description": "what programs tell problems apart by"}, title=_TEXT,
    status={"type": "integer", "minimum": 400, "maximum": 599},
    detail={**_TEXT, "description": "what is wrong and, where it helps, what to do"},
    errors={
        **_list(_object(pointer={**_TEXT, "description": "RFC 6901: what of the request is at fault"}, detail=_TEXT)),
        "description": "where the request is at fault",
    },
)  # fmt: skip
_VIEWPOINT = {
    "title": "Viewpoint", "type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
    "description": "probability of each viewpoint; empty where the model has one",
}  # fmt: skip
_IMAGE_FIELDS: dict[str, Any] = {
    "image_id": _TEXT,
    "vehicle_id": _NULLABLE_TEXT,
    "camera_id": _NULLABLE_TEXT,
    "captured_at": _NULLABLE_TIME,
    "viewpoint": _VIEWPOINT,
    "attributes": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
    "crop": {**_NULLABLE_TEXT, "description": "path of the stored crop; null where the gallery keeps none"},
}
_STORED_FIELDS = {**_IMAGE_FIELDS, "ingested_at": _TIME}
_IMAGE = _object("Image", **_STORED_FIELDS)
_MATCH = _object(
    "Match", optional=["probability", "embedding"],
    rank={"type": "integer", "minimum": 1}, distance={"type": "number", "minimum": 0, "description": "Euclidean"},
    probability={
        "type": "number", "minimum": 0, "maximum": 1,
        "description": "that it shows the query's vehicle, by its distance, where the model's contract says how; as "
        "often right as among the matches that this was learnt of",
    },
    **_IMAGE_FIELDS, embedding={**_VECTOR, "description": "with include=embedding"},
)  # fmt: skip
_MAP = _list(_list(_NUMBER))
_ATTENTION = {
    **_object("Attention", **dict[str, Any]({"global": _MAP, "local": _MAP})),
    "description": "with include=attention",
}
_FOUND: dict[str, Any] = {
    "viewpoint": _VIEWPOINT, "matches": _list(_MATCH),
    "embedding": {**_VECTOR, "description": "of the query, with include=embedding"}, "attention": _ATTENTION,
}  # fmt: skip
_TIMING = {
    **_object(decode=_NUMBER, queue=_NUMBER, embed=_NUMBER, search=_NUMBER, total=_NUMBER),
    "description": "milliseconds",
}
_FINGERPRINT = {**_TEXT, "description": "SHA-256 of the model's file"}
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
    **_object(
        "Gallery",
        name=_TEXT, images=_COUNT, embedding_space=_TEXT, embedding_dim={"type": "integer", "minimum": 1},
        viewpoints=_list(_TEXT), kind=_KIND, vectors=_VECTORS,
        index={
            **_object(
                kind={"type": "string", "enum": list(BUILT_KINDS)}, vectors={"type": "string", "enum": list(VECTORS)},
                device={"type": "string", "enum": ["cpu", "cuda"], "description": "where it looks for them"},
                images={**_COUNT, "description": "that it answers for"},
                waiting={**_COUNT, "description": "further images, looked at one by one until taken in"},
                building={
                    "type": ["string", "null"], "enum": [*BUILT_KINDS, None],
                    "description": "the kind that is being built beside it",
                },
                problem={
                    **_NULLABLE_TEXT, "description": "why the last such work was given up, or the GPU does not answer",
                },
            ),
            "description": "what finds the images now",
        },
        retention_days={"type": ["number", "null"]}, keep_crops=_FLAG, last_change=_COUNT, created_at=_TIME,
        disk_bytes=_COUNT, problem={"type": "null"},
    ),
}  # fmt: skip
_DAMAGED_GALLERY = _object("DamagedGallery", name=_TEXT, problem={**_TEXT, "description": "why it cannot be used"})

SEARCH_ANSWER = _object(
    "SearchAnswer", optional=["embedding", "attention"],
    gallery=_TEXT, model=_FINGERPRINT, queries={"type": "integer", "minimum": 1}, **_FOUND, timing_ms=_TIMING,
)  # fmt: skip
BATCH_ANSWER = _object(
    "BatchAnswer",
    gallery=_TEXT, model=_FINGERPRINT, timing_ms=_TIMING,
    results=_list({"oneOf": [_object(optional=["embedding", "attention"], **_FOUND), _object(problem=_PROBLEM)]}),
)  # fmt: skip
EMBEDDINGS_ANSWER = _object(
    "EmbeddingsAnswer",
    model=_FINGERPRINT,
    results=_list({"oneOf": [_object(embedding=_VECTOR, viewpoint=_VIEWPOINT), _object(problem=_PROBLEM)]}),
)
INGEST_ANSWER = _object(
    "IngestAnswer", created=_COUNT, updated=_COUNT, failed=_COUNT,
    results=_list(
        {
            "oneOf": [
                _object(image_id=_TEXT, status={"type": "string", "enum": ["created", "updated"]}),
                _object(image_id=_NULLABLE_TEXT, status={"const": "failed"}, problem=_PROBLEM),
            ]
        }
    ),
)  # fmt: skip
IMAGE_ANSWER = _IMAGE
PUT_ANSWER = _object("StoredImage", **_STORED_FIELDS, status={"type": "string", "enum": ["created", "updated"]})
PAGE_ANSWER = _object(
    "ImagePage", optional=["total"],
    images=_list(_IMAGE), next={**_NULLABLE_TEXT, "description": "cursor of the next page"},
    total={**_COUNT, "description": "images that pass the filters, with total=true"},
)  # fmt: skip
DELETED_ANSWER = _object("Deleted", deleted=_COUNT)
UPDATED_ANSWER = _object("Updated", updated={**_COUNT, "description": "images that pass the filters"})
FACETS_ANSWER = _object(
    "Facets", images=_COUNT, last_change={**_COUNT, "description": "of the gallery, as of which it is so"},
    vehicles={**_COUNT, "description": "different values of vehicle_id"},
    cameras={
        **_list(_object(camera_id=_TEXT, images=_COUNT)), "description": f"most images first, {MOST_CAMERAS:,} at most",
    },
    viewpoints={**_list(_object(viewpoint=_TEXT, images=_COUNT)), "description": "most images first"},
    attributes={
        **_list(
            _object(
                name=_TEXT, images={**_COUNT, "description": "that have it"},
                values={
                    **_list(_object(value={"type": ["string", "number"]}, images=_COUNT)),
                    "description": f"the {MOST_VALUES} most frequent",
                },
            )
        ),
        "description": f"most images first, {MOST_ATTRIBUTES} names at most",
    },
    first_captured_at=_NULLABLE_TIME, last_captured_at=_NULLABLE_TIME,
)  # fmt: skip
GALLERY_ANSWER = _GALLERY
GALLERIES_ANSWER = _object("Galleries", galleries=_list({"oneOf": [_GALLERY, _DAMAGED_GALLERY]}))
_SIZE = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}
_CONTRACT = {
    **_object(
        "Contract", optional=["probability"], contract_version={"const": 1}, name=_TEXT, backbone=_TEXT,
        input_size={**_SIZE, "description": "height and width in pixels"},
        resize=_object(size=_SIZE, crop=_SIZE, filter=_TEXT, aspect=_TEXT),
        embedding_dim={"type": "integer", "minimum": 1},
        viewpoints=_list(_TEXT), distance={"const": "l2"}, normalized=_FLAG, precision=_TEXT,
        routing_threshold={"type": ["number", "null"]}, embedding_space=_TEXT, trained_on=_list(_TEXT),
        viewpoint_labels_from=_TEXT, metrics={"type": "object"}, created_at=_TEXT, git_revision=_TEXT,
        training={"type": "object"},
        probability=_object(
            form=_TEXT, parameters={"type": "object"}, ranks=_COUNT, prior=_NUMBER, data_set=_TEXT,
            figures={"type": "object"},
        ),
    ),
    "description": "what the model's file says of itself",
}  # fmt: skip
_LOADED: dict[str, Any] = {"fingerprint": _FINGERPRINT, "provider": _TEXT, "contract": _CONTRACT}
MODEL_ANSWER = _object(
    "Model", **_LOADED,
    previous={
        "oneOf": [{"type": "null"}, _object(**_LOADED)],
        "description": "the model of galleries that have not moved yet, where previous_model names one",
    },
)  # fmt: skip
_SPACE = {"type": ["integer", "null"], "minimum": 0}
_STATUS_MODEL = _object(name=_TEXT, fingerprint=_TEXT, provider=_TEXT, precision=_TEXT, embedding_space=_TEXT)
_QUANTILE = {"type": ["number", "null"], "minimum": 0, "description": "null where there was no picture"}
_WORK = _object(waiting=_COUNT, running=_COUNT)
STATUS_ANSWER = _object(
    "Status", started_at=_TIME, uptime_seconds=_NUMBER,
    read_only=_FLAG, draining={**_FLAG, "description": "stopping: no more work is taken"},
    keys={**_FLAG, "description": "whether a key is asked for"},
    audit={**_FLAG, "description": "whether requests are written to the audit log"},
    versions={"type": "object", "additionalProperties": _TEXT, "description": "of the service and its libraries"},
    model=_STATUS_MODEL, previous={"oneOf": [{"type": "null"}, _STATUS_MODEL]},
    galleries=_list(
        _object(
            optional=["images", "kind", "embedding_space", "index_problem", "wal_bytes", "migration"],
            name=_TEXT, images=_COUNT, kind=_TEXT, embedding_space=_TEXT,
            problem={**_NULLABLE_TEXT, "description": "why it is damaged; of one that cannot be used no more is told"},
            index_problem={**_NULLABLE_TEXT, "description": "why searches are slower than they should be"},
            wal_bytes={**_COUNT, "description": "written and not yet brought into the database"},
            migration={
                "oneOf": [
                    {"type": "null"}, _object(id=_TEXT, state=_TEXT, done=_COUNT, total=_COUNT, to_space=_TEXT),
                ],
                "description": "the open move to another model",
            },
        )
    ),
    imports={"type": "object", "additionalProperties": _COUNT, "description": "how many jobs are in which state"},
    queue=_object(
        taken={**_COUNT, "description": "requests waiting or at work"}, limit=_COUNT,
        workers={"type": "integer", "minimum": 1, "description": "pictures worked on at a time"},
        work=_object(single=_WORK, batch=_WORK, spare=_WORK),
    ),
    stages={
        "type": "object", "description": "times of pictures in the last recent_seconds, by stage",
        "additionalProperties": _object(
            "StageTimes", pictures={**_COUNT, "description": "that these are times of, the last 2,000 at most"},
            p50_seconds=_QUANTILE, p99_seconds=_QUANTILE,
        ),
    },
    recent_seconds=_NUMBER,
    disk=_object(
        folder={**_NULLABLE_TEXT, "description": "the data folder; told to keys with the scope admin"},
        free_bytes=_SPACE, total_bytes=_SPACE,
    ),
)  # fmt: skip
_BRIEF_MODEL = _object(name=_TEXT, fingerprint=_TEXT, provider=_TEXT)
RELOAD_ANSWER = _object(
    "Reload",
    changed={**_FLAG, "description": "false: the file is what was loaded already"},
    old={**_BRIEF_MODEL, "description": "the model that answered"},
    new={**_BRIEF_MODEL, "description": "the model that answers now"},
    seconds={**_NUMBER, "description": "that it took"},
)  # fmt: skip
_MIGRATION = _object(
    "Migration", id=_TEXT, gallery=_TEXT,
    state={
        "type": "string", "enum": list(get_args(MigrationState)),
        "description": "switched: the new vectors answer, the old ones are being removed; failed: some images cannot "
        "be embedded anew and the gallery stays as it was, begin again when they are mended or erased",
    },
    done={**_COUNT, "description": "images that have a vector of the new space"},
    total={**_COUNT, "description": "images of the gallery"},
    model=_object(name=_TEXT, fingerprint=_TEXT), from_space=_TEXT, to_space=_TEXT,
    begun_at=_TIME, ended_at=_NULLABLE_TIME,
    problem={**_NULLABLE_TEXT, "description": "why it does not go on at the moment"},
    failures={**_COUNT, "description": "images that cannot be embedded anew"},
    failed=_list(_object(image_id=_TEXT, detail=_TEXT)),
)  # fmt: skip
MIGRATION_ANSWER = _MIGRATION
MIGRATIONS_ANSWER = _object("Migrations", migrations=_list(_MIGRATION))
NOTHING: dict[str, Any] = {"title": "Nothing", "type": "object", "additionalProperties": False}
_IMPORT = _object(
    "Import", id=_TEXT, gallery=_TEXT, state={**_TEXT, "enum": list(STATES)},
    source={
        "oneOf": [_object(archive=_NULLABLE_TEXT), _object(path=_TEXT)],
        "description": "archive: the name that it was sent with; or path, below import_root",
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
IMPORTS_ANSWER = _object("Imports", imports=_list(_IMPORT))

QUERY_ANSWER = _object(
    "Query", query_id={**_TEXT, "pattern": f"^{QUERY_ID}$"}, width={"type": "integer", "minimum": 1},
    height={"type": "integer", "minimum": 1}, kept_until=_TIME,
)  # fmt: skip
FeedbackId = Annotated[str, Path(description="Id of the feedback.", examples=[examples.FEEDBACK])]
_GIVEN: dict[str, Any] = {
    "gallery": {**_TEXT, "pattern": f"^{GALLERY_NAME}$"},
    "image_id": {**_TEXT, "pattern": f"^{IMAGE_ID}$", "description": "of the match"},
    "same": {**_FLAG, "description": "whether both show one vehicle"},
    "query_id": {
        "type": ["string", "null"], "pattern": f"^{QUERY_ID}$",
        "description": "the kept picture that was searched with; this or query_image_id",
    },
    "box": {
        **_BOX, "type": ["array", "null"],
        "description": "the part of that picture: x, y, width, height in pixels; null: all of it",
    },
    "query_image_id": {
        **_NULLABLE_TEXT, "pattern": f"^{IMAGE_ID}$", "description": "the stored image that was searched with",
    },
    "distance": {"type": ["number", "null"], "minimum": 0, "description": "that was shown"},
}  # fmt: skip
_SIDES = {"type": ["array", "null"], "items": _COUNT, "minItems": 4, "maxItems": 4}
FEEDBACK_ANSWER = _object("Feedback", feedback_id=_TEXT, **{**_GIVEN, "box": _SIDES}, given_at=_TIME)
FEEDBACK_PAGE_ANSWER = _object(
    "FeedbackPage", feedback=_list(FEEDBACK_ANSWER), next={**_NULLABLE_TEXT, "description": "cursor of what is older"}
)
NEW_FEEDBACK = {
    _JSON: {
        "schema": {
            **_object("NewFeedback", optional=["query_id", "box", "query_image_id", "distance"], **_GIVEN),
            "additionalProperties": False,
        },
    }
}  # fmt: skip
FEEDBACK_ARCHIVE: dict[str, Any] = {
    "description": "A .zip", "content": {"application/zip": {"schema": _BINARY}},
    "headers": {"Content-Disposition": {"description": "a name for the file", "required": True, "schema": _TEXT}},
}  # fmt: skip

_AUDITED: dict[str, Any] = {
    "time": _TIME, "action": _TEXT, "key": {**_TEXT, "description": "id of the caller's key, or keyless"},
    "address": _NULLABLE_TEXT, "gallery": _NULLABLE_TEXT, "image_id": _TEXT, "model": _TEXT,
    "filters": {"type": "object", "description": "the query string", "additionalProperties": _list(_TEXT)},
    "pictures": {**_list(_TEXT), "description": "SHA-256 of each that was searched for"},
    "matches": {**_COUNT, "description": "that were answered"},
    "count": {**_COUNT, "description": "images that were stored, changed or erased; crops; entries that are missing"},
    "images": {**_list(_TEXT), "description": "ids that were stored, the first 256"},
    "import_id": _TEXT, "migration_id": _TEXT, "source": {"type": "object"}, "status": _COUNT, "request_id": _TEXT,
    "query_id": _TEXT,
}  # fmt: skip
AUDIT_ANSWER = _object(
    "AuditPage",
    entries=_list(
        {
            **_object("AuditEntry", optional=[name for name in _AUDITED if name not in ("time", "action")], **_AUDITED),
            "additionalProperties": True,
        }
    ),
    next={**_NULLABLE_TEXT, "description": "cursor of what is older"},
)
MOST_KEY_GALLERIES = 1000
_SCOPES = _list({"type": "string", "enum": list(SCOPES)})
_KEY_GALLERIES = {"type": ["array", "null"], "items": _TEXT, "description": "that it is for; null: all"}
_RATE = {"type": ["number", "null"], "description": "requests a second that it may send; null: any"}
_BURST = {"type": ["integer", "null"], "description": "requests that may come at once before rate holds them"}
_KEY: dict[str, Any] = {
    "id": {**_TEXT, "description": "the part of its token between vsk_ and the next _"}, "name": _TEXT,
    "state": {"type": "string", "enum": ["works", "expired", "revoked"]}, "scopes": _SCOPES,
    "galleries": _KEY_GALLERIES, "rate": _RATE, "burst": _BURST, "created_at": _TIME, "expires_at": _NULLABLE_TIME,
    "revoked_at": _NULLABLE_TIME,
}  # fmt: skip
_KEY_WARNING = {
    **_NULLABLE_TEXT,
    "description": "what changes for everybody: that requests need a key now, or that none administers",
}
KEYS_ANSWER = _object("Keys", keys=_list(_object("Key", **_KEY)))
MADE_KEY_ANSWER = _object("MadeKey", **_KEY, token={**_TEXT, "description": "told this once"}, warning=_KEY_WARNING)
REVOKED_KEY_ANSWER = _object("RevokedKey", **_KEY, warning=_KEY_WARNING)
CALLER_ANSWER = _object(
    "Caller", key_id={**_NULLABLE_TEXT, "description": "null where no key is asked for"}, name=_NULLABLE_TEXT,
    scopes={**_SCOPES, "description": "what it may do, with what admin includes"}, galleries=_KEY_GALLERIES,
    expires_at=_NULLABLE_TIME, read_only={**_FLAG, "description": "the service only reads, whoever asks"},
)  # fmt: skip
NEW_KEY = {
    _JSON: {
        "schema": {
            "title": "NewKey", "type": "object", "additionalProperties": False, "required": ["name", "scopes"],
            "properties": {
                "name": {
                    **_TEXT, "minLength": 1, "maxLength": MAX_NAME, "description": "who will use it, for people",
                },
                "scopes": {**_SCOPES, "minItems": 1, "description": "admin includes the other two"},
                "galleries": {
                    "type": ["array", "null"], "items": {**_TEXT, "pattern": f"^{GALLERY_NAME}$"}, "minItems": 1,
                    "maxItems": MOST_KEY_GALLERIES, "description": "only these; null or left away: all",
                },
                "rate": {**_RATE, "minimum": SLOWEST, "maximum": QUICKEST},
                "burst": {
                    "type": ["integer", "null"], "minimum": 1, "maximum": MOST_AT_ONCE,
                    "description": "requests that may come at once; goes with rate, by default those of a second",
                },
                "expires_at": {**_NULLABLE_TIME, "description": "with an offset; null or left away: never"},
            },
        }
    }
}  # fmt: skip

_NUMBER_OR_NULL = {"type": ["number", "null"]}
_POSITIONS = ("degrees, WGS 84", "degrees, WGS 84", "metres from the plan's left", "metres down from the plan's top")
_CAMERA = _object(
    "Camera", camera_id=_TEXT, name=_NULLABLE_TEXT,
    **dict[str, Any](zip(POSITIONS, ({**_NUMBER_OR_NULL, "description": what} for what in _POSITIONS), strict=True)),
)  # fmt: skip
PLAN_ANSWER = _object(
    "Plan", picture={**_TEXT, "description": "its path"}, sha256={**_TEXT, "description": "of the picture"},
    pixels={**_SIZE, "description": "width and height"}, width={**_NUMBER, "description": "metres that it shows"},
    height={**_NUMBER, "description": "metres"},
)  # fmt: skip
CAMERAS_ANSWER = _object(
    "Cameras", cameras=_list(_CAMERA), plan={"oneOf": [{"type": "null"}, PLAN_ANSWER]},
    map_tiles={**_NULLABLE_TEXT, "description": "address of a map's pictures, from the setting of this name"},
    updated_at=_NULLABLE_TIME,
)  # fmt: skip
_SHA256 = {**_NULLABLE_TEXT, "description": "of the stored crop; null where none is kept"}
_SIGHTING = _object(
    "Sighting", number={**_COUNT, "description": "from 1; legs name sightings by it"}, **_STORED_FIELDS,
    distance={**_NUMBER_OR_NULL, "description": "to the queries; null where nothing was looked for"}, sha256=_SHA256,
    camera={"oneOf": [{"type": "null"}, _CAMERA], "description": "what is known of the camera"},
)  # fmt: skip
TRAIL_ANSWER = _object(
    "Trail", gallery=_TEXT, title=_NULLABLE_TEXT, note=_NULLABLE_TEXT, asked_by=_NULLABLE_TEXT,
    key={"oneOf": [{"type": "null"}, _object(key_id=_TEXT, name=_TEXT)], "description": "of who asked"},
    made_at=_TIME, request_id=_TEXT, model=_FINGERPRINT, model_name=_TEXT, embedding_space=_TEXT, max_speed_kmh=_NUMBER,
    queries=_list(
        _object(
            query_id=_NULLABLE_TEXT, image_id=_NULLABLE_TEXT,
            box={"type": ["array", "null"], "items": {"type": "integer"}, "description": "x, y, width, height"},
            sha256={**_NULLABLE_TEXT, "description": "of the picture as it was sent, or of the image's stored crop"},
        )
    ),
    sightings={**_list(_SIGHTING), "description": "in the order of their times"},
    untimed={**_list(_SIGHTING), "description": "those without a time"},
    legs=_list(
        {
            **_object(**dict[str, Any]({
                "from": _COUNT, "to": _COUNT, "seconds": _NUMBER,
                "metres": {**_NUMBER_OR_NULL, "description": "in a straight line; null where positions are missing"},
                "kmh": {**_NUMBER_OR_NULL, "description": "that it takes at least"}, "impossible": _FLAG,
                "reason": {**_NULLABLE_TEXT, "description": "why it is impossible"},
            })),
            "description": "from one sighting with a time to the next",
        }
    ),
    missing={**_list(_TEXT), "description": "ids that the gallery has no image of"},
)  # fmt: skip
ALIVE_ANSWER = _object("Alive", status={"const": "alive"})
_BY_GALLERY = {"type": "object", "additionalProperties": _TEXT}
READINESS_ANSWER = _object(
    "Readiness", status={"type": "string", "enum": ["ready", "degraded"]},
    damaged={**_BY_GALLERY, "description": "galleries that answer 503, and why"},
    problems={**_BY_GALLERY, "description": "galleries that answer slower than they should, and why"},
)  # fmt: skip

_OCTETS = "application/octet-stream"
_INFERENCE_ERROR = _object("InferenceError", error=_TEXT)
_TENSOR: dict[str, Any] = {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})}
_TENSOR_DATA = {
    **_TENSOR, "data": {"type": "array", "description": "numbers in a row or nested; or binary_data_size"},
    "parameters": _object(binary_data_size=_COUNT),
}  # fmt: skip
SERVER_ANSWER = _object("Server", name=_TEXT, version=_TEXT, extensions=_list(_TEXT))
LIVE_ANSWER = _object("Live", live=_FLAG)
READY_ANSWER = _object("Ready", ready=_FLAG)
MODEL_READY_ANSWER = _object("ModelReady", name=_TEXT, ready=_FLAG)
TENSORS_ANSWER = _object(
    "Tensors",
    name=_TEXT, platform=_TEXT, inputs=_list(_object(**_TENSOR)), outputs=_list(_object(**_TENSOR)),
)  # fmt: skip
INFERENCE_ANSWER = _object(
    "InferenceAnswer", optional=["id"], model_name=_TEXT, id=_TEXT,
    outputs=_list(_object(optional=["data", "parameters"], **_TENSOR_DATA)),
)  # fmt: skip
_BYTES = {**_BINARY, "description": f"that JSON, its length in the header {HEADER_LENGTH}, then the tensor"}


def _strict(part: Any) -> Any:
    """A schema whose objects take nothing that it does not name."""
    if isinstance(part, list):
        return [_strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {name: _strict(each) for name, each in part.items()}
    return {**inner, "additionalProperties": False} if part.get("type") == "object" else inner


INFERENCE = {
    _JSON: {
        "schema": _strict(_object(
            "InferenceRequest", optional=["id", "outputs", "parameters"],
            id={**_TEXT, "maxLength": MAX_ID}, inputs={
                **_list(_object(optional=["data", "parameters"], **_TENSOR_DATA)), "minItems": 1, "maxItems": 1,
            },
            outputs=_list(
                _object(
                    optional=["parameters"], name=_TEXT, parameters=_object(optional=["binary_data"], binary_data=_FLAG)
                )
            ),
            parameters=_object(optional=["binary_data_output"], binary_data_output=_FLAG),
        ))
    },
    _OCTETS: {"schema": _BYTES},
}  # fmt: skip

_RAW = {kind: {"schema": _BINARY} for kind in _PICTURE_TYPES}
_LABEL = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_LABEL, "pattern": STORABLE}
_ATTRIBUTE_NAME = {"minLength": 1, "maxLength": MAX_ATTRIBUTE_NAME, "pattern": STORABLE}
_TIME_OR_NULL = {**_NULLABLE_TIME, "description": "with an offset"}


def _attributes(*more: str) -> dict[str, Any]:
    return {
        "type": ["object", "null"], "maxProperties": MAX_ATTRIBUTES, "propertyNames": _ATTRIBUTE_NAME,
        "additionalProperties": {
            "type": ["string", "number", *more], "maxLength": MAX_ATTRIBUTE_TEXT, "pattern": STORABLE,
            "description": "a string or a finite number; a whole number of at most 64 bits",
        },
    }  # fmt: skip


_DESCRIPTION = {
    "title": "ImageDescription", "type": "object", "additionalProperties": False,
    "properties": {
        "image_id": {
            "type": ["string", "null"], "pattern": f"^{IMAGE_ID}$",
            "description": "yours, or left away for one of ours; written again it replaces the image",
        },
        "vehicle_id": _LABEL, "camera_id": _LABEL, "captured_at": _TIME_OR_NULL, "attributes": _attributes(),
        "box": {**_BOX, "type": ["array", "null"]},
    },
}  # fmt: skip
_METADATA_ONE = {
    "type": "string", "description": "JSON object", "contentMediaType": _JSON, "contentSchema": _DESCRIPTION,
    "examples": ['{"vehicle_id": "v17", "camera_id": "c001", "attributes": {"colour": "red"}}'],
}  # fmt: skip
_METADATA_ALL = {
    "type": "string", "description": "JSON array, one object an image, in order", "contentMediaType": _JSON,
    "contentSchema": {"type": "array", "items": _DESCRIPTION}, "examples": [_EXAMPLE_METADATA],
}  # fmt: skip


def _form(required: Sequence[str], **parts: object) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "required": list(required), "properties": parts}
    return {"multipart/form-data": {"schema": schema}}


PICTURE_OR_PARTS = {**_form(["image"], image=_IMAGES), **_RAW}
PICTURE_OR_PART = {**_RAW, **_form(["image"], image=_BINARY)}
PARTS_AND_METADATA = {**_form(["image"], image=_IMAGES, metadata=_METADATA_ALL), **_RAW}
PICTURE_OR_PART_AND_METADATA = {**_RAW, **_form(["image"], image=_BINARY, metadata=_METADATA_ONE)}
IMPORT = {
    **_form(["archive"], archive=_BINARY),
    _JSON: {
        "schema": {
            "title": "ImportPath", "type": "object", "additionalProperties": False, "required": ["path"],
            "properties": {
                "path": {**_TEXT, "minLength": 1, "maxLength": 4096, "description": "below the setting import_root"}
            },
        },
    },
}  # fmt: skip
MERGE_PATCH = {
    kind: {
        "schema": {
            "title": "MergePatch", "type": "object", "additionalProperties": False,
            "properties": {
                "vehicle_id": _LABEL, "camera_id": _LABEL, "captured_at": _TIME_OR_NULL,
                "attributes": _attributes("null"),
            },
        }
    }
    for kind in ("application/merge-patch+json", _JSON)
}  # fmt: skip
GALLERY_SPEC = {
    _JSON: {
        "schema": {
            "title": "GalleryProperties",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "kind": _KIND,
                "vectors": _VECTORS,
                "retention_days": {
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "maximum": MAX_RETENTION_DAYS,
                    "description": "images that came longer ago are in no answer, and erased; null: kept for ever",
                },
                "keep_crops": {
                    "type": "boolean",
                    "default": True,
                    "description": "false: only vectors are stored; there are no pictures to look at, and no other "
                    "model can take the gallery over",
                },
            },
        },
    }
}
CAMERAS = {
    _JSON: {
        "schema": {
            "title": "CameraList", "type": "object", "additionalProperties": False, "required": ["cameras"],
            "properties": {
                "cameras": {
                    "type": "array", "maxItems": MAX_CAMERAS,
                    "items": {
                        "type": "object", "additionalProperties": False, "required": ["camera_id"],
                        "properties": {
                            "camera_id": {**_LABEL, "type": "string"}, "name": _LABEL,
                            **{
                                name: {"type": ["number", "null"], "minimum": low, "maximum": high, "description": what}
                                for (name, (low, high)), what in zip(POSITIONS.items(), _POSITIONS, strict=True)
                            },
                        },
                    },
                }
            },
        }
    }
}  # fmt: skip
_IMAGE_IDS = {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": f"^{IMAGE_ID}$"}}
TRAIL = {
    _JSON: {
        "schema": {
            "title": "TrailRequest", "type": "object", "additionalProperties": False, "required": ["image_ids"],
            "properties": {
                "image_ids": {
                    **_IMAGE_IDS, "minItems": 1, "maxItems": MOST_SIGHTINGS, "description": "sightings, in any order",
                },
                "query_ids": {
                    "type": "array", "maxItems": MAX_COMBINED, "items": {"type": "string", "pattern": f"^{QUERY_ID}$"},
                    "description": "kept pictures that distances are measured to; several: to their mean",
                },
                "boxes": {
                    "type": "array", "maxItems": MAX_COMBINED, "items": _BOX,
                    "description": "the part of each kept picture that is meant, in their order; or none",
                },
                "query_image_ids": {
                    "type": "array", "maxItems": MAX_COMBINED,
                    "items": {"type": "string", "pattern": f"^{IMAGE_ID}$"},
                    "description": "images of the gallery that distances are measured to, too",
                },
                "max_speed_kmh": {
                    "type": ["number", "null"], "exclusiveMinimum": 0, "maximum": FASTEST, "default": MAX_SPEED,
                    "description": "what is quicker along a straight line is impossible",
                },
                **{
                    name: {"type": ["string", "null"], "maxLength": most, "pattern": STORABLE, "description": what}
                    for name, most, what in (
                        ("title", MAX_TITLE, "of the record"), ("note", MAX_NOTE, "for whoever reads it"),
                        ("asked_by", MAX_ASKER, "who asks; the key is noted anyway"),
                    )
                },
            },
        }
    }
}  # fmt: skip
NO_PROPERTIES = {_JSON: {"schema": NOTHING}}
_IF_NONE_MATCH = {
    "name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "An ETag, or several with commas: where one is the picture's it is not sent again.",
}  # fmt: skip
_PICTURE_HEADERS = {
    "ETag": {"description": "names the content", "required": True, "schema": _TEXT},
    "Cache-Control": {
        "description": "how long it may be shown without asking again; with max_side, longer", "required": True,
        "schema": _TEXT,
    },
}  # fmt: skip


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
                "name": ATTRIBUTE + "NAME", "in": "query", "required": False, "description": _ATTRIBUTE_HELP,
                "schema": {"type": "string", "pattern": ATTRIBUTE_VALUE}, "example": "red",
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
    late = [408] if 400 in statuses else []
    return {status: _problem(status) for status in sorted({*everywhere, *statuses, *late, 431})}


_WITH_KEY = (401, 403, 429, 503)


def _problem(status: int) -> dict[str, Any]:
    return {"description": RESPONSES[status], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}


def header(name: str, description: str, *, kind: str = "string", required: bool = True) -> dict[str, Any]:
    """A header of an answer."""
    return {name: {"description": description, "required": required, "schema": {"type": kind}}}


def answered(
    schema: dict[str, Any], *, media_type: str = _JSON, description: str = "OK", headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One answer that is no problem."""
    response: dict[str, Any] = {"description": description, "content": {media_type: {"schema": schema}}}
    return response if headers is None else {**response, "headers": headers}


def created(schema: dict[str, Any], *, located: bool = True) -> dict[int | str, dict[str, Any]]:
    """The answer to what is new from now on; ``located``: Location says where it is."""
    headers = header("Location", "path of what was created") if located else None
    return {201: answered(schema, description="Created", headers=headers)}


def accepted(schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    """The answer to what goes on afterwards: Location says where it can be watched."""
    return {202: answered(schema, description=description, headers=header("Location", "path of what was begun"))}


def picture_request() -> dict[str, Any]:
    """The ``openapi_extra`` of a route that answers with a stored picture."""
    return {"parameters": [MAX_SIDE.document(), _IF_NONE_MATCH]}


def picture_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers to who asks for a stored picture."""
    content = {kind: {"schema": _BINARY} for kind in ("image/jpeg", "image/png")}
    return {
        200: {"description": "The picture", "content": content, "headers": _PICTURE_HEADERS},
        304: {"description": "It is the one that the client has", "headers": _PICTURE_HEADERS},
        **problems(*statuses),
    }


def responses(schema: dict[str, Any], *statuses: int, created: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answer of a route and its problems; ``created``: it answers with 201 where there was none before."""
    new: dict[int | str, dict[str, Any]] = {201: answered(schema, description="Created")} if created else {}
    return {200: answered(schema), **new, **problems(*statuses)}


def inference_responses(
    schema: dict[str, Any], *statuses: int, binary: bool = False, key: bool = True
) -> dict[int | str, dict[str, Any]]:
    """The answer of a route of the inference protocol and its errors; ``binary``: tensors may follow the JSON."""
    answer = answered(schema)
    if binary:
        answer["content"][_OCTETS] = {"schema": _BINARY}
        answer["headers"] = header(HEADER_LENGTH, "bytes of JSON, where tensors follow", kind="integer", required=False)
    error = {_JSON: {"schema": _INFERENCE_ERROR}}
    return {
        200: answer,
        **{
            status: problem if status == 431 else {**problem, "content": error}  # said before there is a path
            for status, problem in problems(*statuses, key=key).items()
        },
    }


FAILURES = answered(
    {"title": "Failures", **_TEXT}, media_type="text/csv", description="A manifest.csv",
    headers=header("Content-Disposition", "a name for the file"),
)  # fmt: skip
_FILE_NAME = header("Content-Disposition", "a name for the file", required=False)
TRAIL_RESPONSE: dict[str, Any] = {
    "description": "The trail, in the format that was asked for", "headers": _FILE_NAME,
    "content": {
        _JSON: {"schema": TRAIL_ANSWER}, "text/csv": {"schema": {"title": "TrailTable", **_TEXT}},
        "application/zip": {"schema": _BINARY}, "application/pdf": {"schema": _BINARY},
    },
}  # fmt: skip
FIGURES = answered({"title": "Figures", **_TEXT}, media_type="text/plain", description="Exposition format")
