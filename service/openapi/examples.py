"""An example of every body that the API takes or gives, by the title of its schema, and of every problem."""

from collections.abc import Mapping
from typing import Any, Final

from index.errors import (
    FeedbackNotFound,
    GalleryConflict,
    GalleryNotFound,
    ImageNotFound,
    InvalidValue,
    KeyNotFound,
    MigrationNotFound,
    PlanNotFound,
    QueryNotFound,
    StorageFull,
    UndecodablePicture,
    VehicleSearchError,
)
from service.wire.problems import (
    BodyTooSlow,
    ImportNotFound,
    ModelNotFound,
    NotReady,
    RateExceeded,
    RequestTooLarge,
    ScopeMissing,
    Unauthenticated,
    UnsupportedBody,
    plain_problem,
    problem_of,
)

GALLERY: Final = "default"
IMAGE: Final = "v0015_03"
IMPORT: Final = "4be0643f1d98573b97cdca98a65347dd"
KEY: Final = "3f0c6e1d2a3b"
MIGRATION: Final = "5f0c6e1d2a3b"
FEEDBACK: Final = f"{GALLERY}.0f1c2d3e4b5a6978"
MODEL: Final = "default-mvan"
QUERY: Final = "0d3f6a9c5b1e42c7a8f09b6d4e2c1a35"

_FINGERPRINT = "9f2c5d0f7a1e4b6c8d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c"
_OTHER = "3b7a1c9e5d2f4860a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718"
_SPACE = "default-mvan-2026-05-04"
_CROP = f"/v1/galleries/{GALLERY}/images/{IMAGE}/crop"
_REAR = {"front": 0.01, "rear": 0.97, "side": 0.02}
_IMAGE: Mapping[str, Any] = {
    "image_id": IMAGE, "vehicle_id": "v17", "camera_id": "c002", "captured_at": "2026-05-04T10:11:12Z",
    "viewpoint": {"front": 0.9, "rear": 0.05, "side": 0.05}, "attributes": {"colour": "red", "lane": 2},
    "ingested_at": "2026-05-04T10:11:14.123456Z", "crop": _CROP,
}  # fmt: skip
_MATCH = {
    "rank": 1, "distance": 0.4127, "probability": 0.908,
    **{name: value for name, value in _IMAGE.items() if name != "ingested_at"},
}  # fmt: skip
_TIMES = {"decode": 1.1, "queue": 0.2, "embed": 31.0, "search": 0.6, "total": 33.4}
_BAD_PICTURE = problem_of(UndecodablePicture("the picture cannot be decoded: it ends early"), pointer="/image/1")
_GALLERY = {
    "name": GALLERY, "images": 1_000_000, "embedding_space": _SPACE, "embedding_dim": 512,
    "viewpoints": ["front", "rear", "side"], "kind": "auto", "vectors": "fp16",
    "index": {
        "kind": "hnsw", "vectors": "fp16", "device": "cpu", "images": 999_000, "waiting": 1000, "building": None,
        "problem": None,
    },
    "retention_days": 30.0, "keep_crops": True, "last_change": 1_000_412, "created_at": "2026-05-04T10:11:12Z",
    "disk_bytes": 5_368_709_120, "problem": None,
}  # fmt: skip
_DAMAGED = {"name": "yard", "problem": "data/galleries/yard/gallery.sqlite is damaged; try `vehicle-index repair`"}
_CONTRACT = {
    "contract_version": 1, "name": MODEL, "backbone": "efficientnet_lite0", "input_size": [224, 224],
    "resize": {"size": [224, 224], "crop": [224, 224], "filter": "bilinear", "aspect": "stretch"},
    "embedding_dim": 512, "viewpoints": ["front", "rear", "side"], "distance": "l2", "normalized": True,
    "precision": "int8", "routing_threshold": None, "embedding_space": _SPACE, "trained_on": ["renders"],
    "viewpoint_labels_from": "renders", "metrics": {}, "created_at": "2026-05-04T10:11:12Z", "git_revision": "unknown",
    "training": {},
    "probability": {
        "form": "logistic", "parameters": {"intercept": 8.96, "slope": 14.2}, "ranks": 10, "prior": 0.1,
        "data_set": "road-vehicles (30%)", "figures": {"matches": 2620, "vehicles": 131},
    },
}  # fmt: skip
_LOADED = {"fingerprint": _FINGERPRINT, "provider": "CPUExecutionProvider", "contract": _CONTRACT}
_BRIEF = {"name": MODEL, "fingerprint": _FINGERPRINT, "provider": "CPUExecutionProvider"}
_MIGRATION = {
    "id": MIGRATION, "gallery": GALLERY, "state": "running", "done": 1200, "total": 30_000,
    "model": {"name": MODEL, "fingerprint": _FINGERPRINT}, "from_space": "default-mvan-2025", "to_space": _SPACE,
    "begun_at": "2026-05-04T10:11:12Z", "ended_at": None, "problem": None, "failures": 1,
    "failed": [{"image_id": "v0001_01", "detail": "its crop is missing on the disk"}],
}  # fmt: skip
_IMPORT = {
    "id": IMPORT, "gallery": GALLERY, "state": "running", "source": {"archive": "crops.zip"},
    "created_at": "2026-05-04T10:11:12Z", "started_at": "2026-05-04T10:11:13Z", "finished_at": None, "total": 30_000,
    "done": 1200, "created": 1100, "updated": 50, "unchanged": 48, "failed": 2, "images_per_second": 181.5,
    "failures": f"/v1/imports/{IMPORT}/failures", "problem": None,
}  # fmt: skip
_GIVEN = {
    "gallery": GALLERY, "image_id": IMAGE, "same": True, "query_id": QUERY, "box": [120, 80, 300, 220],
    "distance": 0.4127,
}  # fmt: skip
_FEEDBACK = {"feedback_id": FEEDBACK, **_GIVEN, "query_image_id": None, "given_at": "2026-05-04T10:11:12.345678Z"}
_TENSOR = {"name": "embedding", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -0.5, 0.5, -0.5]}
_STAGE_TIMES = {"pictures": 40, "p50_seconds": 0.0312, "p99_seconds": 0.0471}
_KEY = {
    "id": KEY, "name": "camera-7", "state": "works", "scopes": ["read", "write"], "galleries": [GALLERY], "rate": 5.0,
    "burst": 5, "created_at": "2026-05-04T10:11:12.123456Z", "expires_at": "2027-01-01T00:00:00Z", "revoked_at": None,
}  # fmt: skip
_PLAN = {
    "picture": "/v1/cameras/plan", "sha256": _OTHER, "pixels": [1600, 1200], "width": 120.0, "height": 90.0,
}  # fmt: skip
_CAMERA = {"camera_id": "c002", "name": "North gate", "latitude": 48.1374, "longitude": 11.5755, "x": None, "y": None}
_CAMERAS = [
    {"camera_id": "c001", "name": "South gate", "latitude": 48.1301, "longitude": 11.5701, "x": None, "y": None},
    _CAMERA,
]  # fmt: skip
_SIGHTING = {"number": 2, **_IMAGE, "distance": 0.4127, "sha256": _OTHER, "camera": _CAMERA}
_TRAIL = {
    "gallery": GALLERY, "title": "Red car, 4 May", "note": None, "asked_by": "Officer M. Łukasik",
    "key": {"key_id": "3f0c6e1d2a3b", "name": "traffic desk"}, "made_at": "2026-05-04T12:00:00.123456Z",
    "request_id": "7b0f3c1e9a4d4c7e8f1a2b3c4d5e6f70", "model": _FINGERPRINT, "model_name": MODEL,
    "embedding_space": _SPACE, "max_speed_kmh": 150.0,
    "queries": [{"query_id": QUERY, "image_id": None, "box": [10, 20, 200, 150], "sha256": _OTHER}],
    "sightings": [
        {
            **_SIGHTING, "number": 1, "image_id": "v0015_02", "camera_id": "c001", "camera": _CAMERAS[0],
            "captured_at": "2026-05-04T10:10:52Z",
        },
        _SIGHTING,
    ],
    "untimed": [], "missing": [],
    "legs": [
        {
            "from": 1, "to": 2, "seconds": 20.0, "metres": 905.1, "kmh": 162.9, "impossible": True,
            "reason": "905 m in 20 s would be 163 km/h, more than 150 km/h",
        }
    ],
}  # fmt: skip
_PATCH = {"vehicle_id": "v17", "attributes": {"colour": None}}

BODIES: Final[Mapping[str, Any]] = {
    "SearchAnswer": {
        "gallery": GALLERY, "model": _FINGERPRINT, "queries": 1, "viewpoint": _REAR, "matches": [_MATCH],
        "timing_ms": _TIMES,
    },
    "BatchAnswer": {
        "gallery": GALLERY, "model": _FINGERPRINT, "timing_ms": _TIMES,
        "results": [{"viewpoint": _REAR, "matches": [_MATCH]}, {"problem": _BAD_PICTURE}],
    },
    "EmbeddingsAnswer": {
        "model": _FINGERPRINT,
        "results": [{"embedding": _TENSOR["data"], "viewpoint": _REAR}, {"problem": _BAD_PICTURE}],
    },
    "IngestAnswer": {
        "created": 1, "updated": 0, "failed": 1,
        "results": [
            {"image_id": IMAGE, "status": "created"}, {"image_id": None, "status": "failed", "problem": _BAD_PICTURE},
        ],
    },
    "Image": _IMAGE,
    "StoredImage": {**_IMAGE, "status": "created"},
    "ImagePage": {"images": [_IMAGE], "next": "djAwMTVfMDM.5d41402abc4b2a76"},
    "Deleted": {"deleted": 12},
    "Query": {"query_id": QUERY, "width": 1280, "height": 960, "kept_until": "2026-05-11T10:11:12Z"},
    "Updated": {"updated": 12},
    "Facets": {
        "images": 30_000, "last_change": 30_412, "vehicles": 812, "cameras": [{"camera_id": "c002", "images": 18_400}],
        "viewpoints": [{"viewpoint": "rear", "images": 12_000}],
        "attributes": [{"name": "colour", "images": 30_000, "values": [{"value": "red", "images": 4100}]}],
        "first_captured_at": "2026-05-04T10:11:12Z", "last_captured_at": "2026-05-09T20:01:02Z",
    },
    "Gallery": _GALLERY,
    "Galleries": {"galleries": [_GALLERY, _DAMAGED]},
    "Model": {**_LOADED, "previous": None},
    "Status": {
        "started_at": "2026-05-04T10:11:12Z", "uptime_seconds": 86_400.0, "read_only": False, "draining": False,
        "keys": True, "audit": False,
        "versions": {"vehicle-search": "0.1.0", "onnxruntime": "1.24.0"},
        "model": {**_BRIEF, "precision": "int8", "embedding_space": _SPACE}, "previous": None,
        "galleries": [
            {
                "name": GALLERY, "problem": None, "images": 1_000_000, "kind": "auto", "embedding_space": _SPACE,
                "index_problem": None, "wal_bytes": 4_153_012, "migration": None,
            },
            _DAMAGED,
        ],
        "imports": {"queued": 0, "running": 1, "done": 12, "failed": 0, "cancelled": 0},
        "queue": {
            "taken": 3, "limit": 66, "workers": 2,
            "work": {
                "single": {"waiting": 1, "running": 2}, "batch": {"waiting": 0, "running": 0},
                "spare": {"waiting": 0, "running": 0},
            },
        },
        "stages": dict.fromkeys(("queue", "decode", "embed", "search", "store"), _STAGE_TIMES), "recent_seconds": 300,
        "disk": {"folder": "/srv/vehicle-search/data", "free_bytes": 512_000_000_000, "total_bytes": 1_000_000_000_000},
    },
    "Migration": _MIGRATION,
    "Migrations": {"migrations": [_MIGRATION]},
    "Import": _IMPORT,
    "Imports": {"imports": [_IMPORT]},
    "NewFeedback": _GIVEN,
    "Feedback": _FEEDBACK,
    "FeedbackPage": {"feedback": [_FEEDBACK], "next": "Nw.5d41402abc4b2a76"},
    "AuditPage": {
        "entries": [
            {
                "time": "2026-05-04T10:11:12.345678Z", "action": "search", "key": "3f0c6e1d2a3b", "address": "10.0.0.5",
                "gallery": GALLERY, "filters": {"camera_id": ["c002"]}, "pictures": [_OTHER], "matches": 10,
                "status": 200, "request_id": "7b0f3c1e9a4d4c7e8f1a2b3c4d5e6f70",
            }
        ],
        "next": "20260504T000000000000Z-4096",
    },
    "Reload": {"changed": True, "old": {**_BRIEF, "fingerprint": _OTHER}, "new": _BRIEF, "seconds": 0.412},
    "Caller": {
        "key_id": KEY, "name": "camera-7", "scopes": ["read", "write"], "galleries": [GALLERY],
        "expires_at": "2027-01-01T00:00:00Z", "read_only": False,
    },
    "Keys": {"keys": [_KEY]},
    "MadeKey": {
        **_KEY, "token": f"vsk_{KEY}_{_OTHER}", "warning": "this is the first key: every request needs one from now on",
    },
    "RevokedKey": {**_KEY, "state": "revoked", "revoked_at": "2026-06-01T08:00:00Z", "warning": None},
    "NewKey": {
        "name": "camera-7", "scopes": ["read", "write"], "galleries": [GALLERY], "rate": 5,
        "expires_at": "2027-01-01T00:00:00Z",
    },
    "Alive": {"status": "alive"},
    "Readiness": {"status": "degraded", "damaged": {_DAMAGED["name"]: _DAMAGED["problem"]}, "problems": {}},
    "Failures": "path,image_id,import_failure\nv0001_01.jpg,v0001_01,the picture cannot be decoded: it ends early\n",
    "Figures": 'vehicle_search_requests_total{method="GET",route="/livez",status="200"} 1.0\n',
    "Server": {"name": "vehicle-search", "version": "0.1.0", "extensions": ["binary_tensor_data"]},
    "Live": {"live": True},
    "Ready": {"ready": True},
    "ModelReady": {"name": MODEL, "ready": True},
    "Tensors": {
        "name": MODEL, "platform": "onnxruntime_onnx",
        "inputs": [{"name": "crops", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 512]}],
    },
    "InferenceAnswer": {"model_name": MODEL, "id": "mine", "outputs": [_TENSOR]},
    "InferenceRequest": {
        "id": "mine",
        "inputs": [
            {
                "name": "crops", "datatype": "UINT8", "shape": [1, 224, 224, 3],
                "parameters": {"binary_data_size": 150_528},
            }
        ],
        "outputs": [{"name": "embedding", "parameters": {"binary_data": False}}],
    },
    "CameraList": {"cameras": [{key: value for key, value in each.items() if value is not None} for each in _CAMERAS]},
    "Cameras": {"cameras": _CAMERAS, "plan": _PLAN, "map_tiles": None, "updated_at": "2026-05-04T10:11:12Z"},
    "Plan": _PLAN,
    "TrailRequest": {
        "image_ids": ["v0015_02", IMAGE], "query_ids": [QUERY], "boxes": [[10, 20, 200, 150]], "max_speed_kmh": 150,
        "title": "Red car, 4 May", "asked_by": "Officer M. Łukasik",
    },
    "Trail": _TRAIL,
    "TrailTable": "number,image_id,captured_at,camera_id\r\n1,v0015_02,2026-05-04T10:10:52Z,c001\r\n",
    "GalleryProperties": {"kind": "auto", "retention_days": 30},
    "MergePatch": _PATCH,
    "ImportPath": {"path": "2026-05-04/crops.zip"},
    "Nothing": {},
}  # fmt: skip

_NOT_FOUND: Mapping[str, VehicleSearchError] = {
    "{model}": ModelNotFound(f"no model 'huge' is loaded; there is {MODEL}"),
    "{import_id}": ImportNotFound(f"there is no import {IMPORT!a}"),
    "{key_id}": KeyNotFound(f"there is no key {KEY!a}; `vehicle-search keys list` names all"),
    "{migration_id}": MigrationNotFound(f"gallery {GALLERY} knows no migration {MIGRATION!a}"),
    "/cameras/plan": PlanNotFound("there is no plan; PUT /v1/cameras/plan?width=METRES takes a picture of one"),
    "{query_id}": QueryNotFound(f"there is no query picture {QUERY!a}: they are kept for 168 hours (query_hours)"),
    "{feedback_id}": FeedbackNotFound(f"there is no feedback {FEEDBACK!a}"),
    "/v1/feedback": GalleryNotFound("there is no gallery yard; PUT /v1/galleries/yard creates it"),
    "{image_id}": ImageNotFound(f"gallery {GALLERY} has no image {IMAGE}"),
    "{gallery}": GalleryNotFound("there is no gallery yard; PUT /v1/galleries/yard creates it"),
}
_PROBLEMS = {
    document["status"]: document
    for document in (
        problem_of(UndecodablePicture("the picture cannot be decoded: it ends early"), pointer="/image"),
        problem_of(Unauthenticated("this service asks for a key: send the header Authorization: Bearer TOKEN")),
        problem_of(ScopeMissing("key 3f0c6e1d2a3b (camera-7) has the scopes write; this route asks for read")),
        problem_of(BodyTooSlow("the body did not arrive within 30 s, the limit set by body_seconds")),
        problem_of(GalleryConflict("gallery yard exists with retention_days 30, not null")),
        problem_of(RequestTooLarge("the body is larger than 134,217,728 bytes, the limit set by max_body_bytes")),
        problem_of(UnsupportedBody("content encoding 'gzip': send the body as it is")),
        problem_of(InvalidValue("unknown parameter 'camera'; this route knows none", pointer="/query/camera")),
        problem_of(RateExceeded("key 3f0c6e1d2a3b (camera-7) may send 5 requests a second, 5 at once")),
        plain_problem(431, "request line and header fields are larger than 65,536 bytes"),
        problem_of(NotReady("the service is stopping")),
        problem_of(StorageFull("no space left on the device; nothing was stored")),
    )
}


def problem_example(status: int, path: str) -> dict[str, Any]:
    """The problem document of a status as the route with this path template may answer it."""
    if status == 404:
        return problem_of(next(error for part, error in _NOT_FOUND.items() if part in path))
    return _PROBLEMS[status]
