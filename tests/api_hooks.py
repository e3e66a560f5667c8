"""What schemathesis cannot know of the service from its OpenAPI file: bytes that are pictures, and what goes together.

Loaded by ``schemathesis run`` (SCHEMATHESIS_HOOKS). Only requests that are to be accepted are changed, and only where what
is right depends on something else that is sent or stored; those that are to be refused go out as they were drawn.
"""

import io
import json
import os
import zipfile
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary

from service.openapi.examples import IMAGE
from tests.pictures import encoded, jpeg, photograph, png

VIEWPOINTS = ("front", "rear", "side")
MODEL, SIZE = "tiny", 64  # the tiny model's name, and the side of its crops
IMPORT_PATH = "2026-05-04/crops.zip"  # the example of the OpenAPI file; below the import root of the run
OWN_KEY = os.environ.get("OWN_KEY")  # the id of the key that requests are sent with

_PICTURES = [jpeg(0), png(1), *(encoded(photograph(2), kind) for kind in ("WEBP", "BMP", "GIF"))]
_MOST_COMBINED = 8
_CROPS = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)


def archive() -> bytes:
    """An archive with one picture."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.jpg", jpeg(0))
    return file.getvalue()


schemathesis.openapi.format("binary", st.sampled_from(_PICTURES))
for kind in ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"):
    schemathesis.openapi.media_type(kind, st.sampled_from(_PICTURES))


@schemathesis.deserializer("text/csv")  # type: ignore[untyped-decorator]
def read_csv(_: Any, response: Any) -> str:
    """A table is a text."""
    return str(response.text)


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(_: Any, case: Any, **__: Any) -> None:
    """Make what is to be accepted acceptable as a whole; the key of the run is not revoked."""
    if OWN_KEY is not None and (case.path_parameters or {}).get("key_id") == OWN_KEY:
        case.path_parameters["key_id"] = "none"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    name, query = case.operation.definition.raw["operationId"], case.query
    if "model" in (case.path_parameters or {}):
        case.path_parameters["model"] = MODEL
    if query or name in ("delete_images", "delete_gallery"):
        _settle_query(name, case, query)
    if name == "search_kept":
        _settle_queries(case)
    body = case.body
    if name == "infer":
        _settle_inference(case)
    elif isinstance(body, dict) and name == "create_key":
        _settle_key(body)
    elif isinstance(body, dict) and name == "trail":
        body.pop("query_ids", None)  # only the service can give one
        body.pop("boxes", None)
    elif isinstance(body, dict) and name == "post_feedback":
        body.update(image_id=IMAGE, query_image_id="b")  # which queries are kept only the service knows
        body.pop("query_id", None)
        body.pop("box", None)
    elif isinstance(body, dict) and name == "put_cameras":
        _settle_cameras(body)
    elif isinstance(body, dict) and "archive" in body:
        body["archive"] = Binary(archive())
    elif isinstance(body, dict) and name == "post_import":
        body["path"] = IMPORT_PATH
    elif isinstance(body, dict) and "image" in body:
        _settle_parts(name, case, body)
    case._record_starting_state()  # else a picture, which is no text, would make it one that is to be refused


def _settle_query(name: str, case: Any, query: dict[str, Any]) -> None:
    query.pop("cursor", None)  # only the service can give one
    if "viewpoint" in query:
        query["viewpoint"] = [VIEWPOINTS[len(str(each)) % 3] for each in query["viewpoint"]]
    if "box" in query:
        query["box"] = "0,0,8,8"  # inside of every picture
    if "confirm" in query:
        query["confirm"] = case.path_parameters["gallery"]
    if name == "delete_images":
        if query.keys() == {"all"} or not query:
            case.query = {"vehicle_id": ["none"]}  # without a filter it would erase what others need
        query.pop("all", None)


def _settle_key(body: dict[str, Any]) -> None:
    """What a key is called can be printed, it ends later than now, and a burst goes with a rate."""
    body["name"] = "".join(each for each in body["name"] if each.isalnum())[:80] or "key"
    if body.get("expires_at") is not None:
        body["expires_at"] = "2999-01-01T00:00:00Z"
    if body.get("rate") is None:
        body.pop("burst", None)


def _settle_cameras(body: dict[str, Any]) -> None:
    """Each once, with a position of one kind at most."""
    for number, camera in enumerate(body["cameras"]):
        camera["camera_id"] = f"c{number}"
        for name in ("latitude", "longitude") if number % 2 else ("x", "y"):
            camera.pop(name, None)
        rest = ("x", "y") if number % 2 else ("latitude", "longitude")
        if any(camera.get(name) is None for name in rest):
            for name in rest:
                camera.pop(name, None)


def _settle_queries(case: Any) -> None:
    """One to eight, with a box for each that has one; which are kept only links know."""
    query = dict(case.query or {})
    drawn = query.pop("query_id", [])
    kept = ([drawn] if isinstance(drawn, str) else list(drawn))[:_MOST_COMBINED]
    images = [IMAGE] * min(len(query.pop("image_id", [])), _MOST_COMBINED - len(kept))
    boxes = ["0,0,8,8"] * len(kept) if query.pop("box", None) else []
    named = {"query_id": kept, "image_id": images if kept or images else [IMAGE], "box": boxes}
    case.query = {**query, **{name: each for name, each in named.items() if each}}


def _settle_parts(name: str, case: Any, body: dict[str, Any]) -> None:
    several = isinstance(body["image"], list)
    if name == "search":
        body["image"] = body["image"][:_MOST_COMBINED]
        if len(body["image"]) > 1:
            case.query = {**(case.query or {}), "combine": "mean"}
            case.query.pop("box", None)
    if name == "keep_query":
        body["image"] = body["image"][:1]
    if "metadata" in body:
        one = {"vehicle_id": "v17", "attributes": {"colour": "red"}}
        body["metadata"] = json.dumps([one] * len(body["image"]) if several else one)


def _settle_inference(case: Any) -> None:
    """A tensor of the model's size; whose parameters and outputs are as they were drawn, where they can be."""
    tensor: dict[str, Any] = {"name": "crops", "datatype": "UINT8", "shape": list(_CROPS.shape)}
    if case.media_type == "application/octet-stream":
        tensor["parameters"] = {"binary_data_size": _CROPS.size}
        head = json.dumps({"inputs": [tensor]}).encode()
        case.headers = {**(case.headers or {}), "Inference-Header-Content-Length": str(len(head))}
        case.body = Binary(head + _CROPS.tobytes())
        return
    drawn = case.body if isinstance(case.body, dict) else {}
    kept = {key: drawn[key] for key in ("id", "parameters") if key in drawn}
    case.headers = {key: value for key, value in (case.headers or {}).items() if not key.startswith("Inference")}
    case.body = {**kept, "inputs": [{**tensor, "data": _CROPS.ravel().tolist()}]}
