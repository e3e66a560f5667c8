"""What is known of cameras as a text with a checksum of itself, which every home of cameras keeps."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from index.camera import Cameras, Plan, check_cameras, check_plan_width
from index.errors import InvalidValue
from index.manifest import parse_time

NO_PLAN: Final = "there is no plan; PUT /v1/cameras/plan?width=METRES takes a picture of one"


def note_text(known: Cameras) -> str:
    """The note, JSON of several lines."""
    document = {
        "cameras": [camera.document() for camera in known.cameras],
        "plan": None if known.plan is None else {**vars(known.plan), "pixels": list(known.plan.pixels)},
        "updated_at": (known.updated_at or datetime.now(UTC)).isoformat(),
    }
    return json.dumps({**document, "checksum": _checksum(document)}, indent=1) + "\n"


def read_note(note: bytes | str) -> Cameras:
    """What a note says; raises ValueError where it is not what was written."""
    try:
        document: dict[str, Any] = json.loads(note)
        checksum = document.pop("checksum")
        if checksum != _checksum(document):
            raise ValueError("its checksum is another")
        plan = document["plan"]
        return Cameras(
            cameras=check_cameras(document["cameras"]),
            plan=None if plan is None else _plan(plan),
            updated_at=parse_time(document["updated_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidValue) as error:
        raise ValueError(repr(error)) from error


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _plan(document: dict[str, Any]) -> Plan:
    width, height = document["pixels"]
    return Plan(name=str(document["name"]), pixels=(int(width), int(height)), width=check_plan_width(document["width"]))
