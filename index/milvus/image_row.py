"""An image as a row of a collection: its fields, and the way back.

A row is never changed. Writing an image again adds a row; what is current of an image is the row with the greatest
``written``, and of those the one with the greatest ``row_id``. A picture that is written takes a new ``written``; a row
with other metadata keeps that of the row it was made of, so that it never hides a picture that somebody else writes
meanwhile. ``parent`` is the row in whose place it came.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.gallery import Attribute, Metadata, NewImage, StoredImage
from index.metadata import MAX_ATTRIBUTES, MAX_LABEL
from index.storage.stored_time import microseconds, moment

NEVER: Final = -(2**62)  # a captured_at that is not known; no datetime is as early
KEY: Final = ("row_id", "image_id", "written")
ALL: Final = (
    *KEY, "parent", "vehicle_id", "camera_id", "captured_at", "ingested_at", "attributes", "tags",
    "crop_name", "viewpoint", "probabilities",
)  # fmt: skip
WHOLE: Final = (*ALL, "embedding")
TOLD: Final = (*KEY, "vehicle_id", "camera_id", "captured_at", "ingested_at", "attributes", "viewpoint")  # for facets
_UTF8 = 4  # bytes of a character, at most
_PIECE = 16_000  # characters of the attributes' text in one element, which may have 65,535 bytes
_PIECES = 64  # of 64 attributes, each with 1152 characters that JSON may write as 6


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """A row. ``fields`` are as they are stored;."""

    row_id: int
    image_id: str
    written: int
    fields: Mapping[str, Any]

    @property
    def age(self) -> tuple[int, int]:
        """What rows of one image are compared by: the greatest is the current one."""
        return self.written, self.row_id

    @property
    def vehicle_id(self) -> str | None:
        """As a client said it."""
        return self.fields["vehicle_id"] or None

    @property
    def camera_id(self) -> str | None:
        """As a client said it."""
        return self.fields["camera_id"] or None

    @property
    def captured_at(self) -> int | None:
        """Microseconds since 1970, as a client said it."""
        captured_at = int(self.fields["captured_at"])
        return None if captured_at == NEVER else captured_at

    @property
    def attributes(self) -> dict[str, Attribute]:
        """As a client said them."""
        text = "".join(self.fields["attributes"])
        return json.loads(text) if text else {}

    @property
    def parent(self) -> int:
        """The row that was current before; 0 where there was none."""
        return int(self.fields["parent"])

    @property
    def ingested_at(self) -> int:
        """Microseconds since 1970."""
        return int(self.fields["ingested_at"])

    @property
    def crop_name(self) -> str | None:
        """Content name of its crop."""
        return self.fields["crop_name"] or None

    @property
    def vector(self) -> NDArray[np.float32]:
        """Float32 (D,)."""
        return np.asarray(self.fields["embedding"], dtype=np.float32)

    def image(self, viewpoints: Iterable[str]) -> StoredImage:
        """What a gallery says of it; ``viewpoints`` are the model's names."""
        return StoredImage(
            image_id=self.image_id,
            metadata=Metadata(
                vehicle_id=self.vehicle_id,
                camera_id=self.camera_id,
                captured_at=None if self.captured_at is None else moment(self.captured_at),
                attributes=self.attributes,
            ),
            ingested_at=moment(self.ingested_at),
            viewpoint=dict(zip(viewpoints, (float(each) for each in self.fields["probabilities"]), strict=False)),
            crop_name=self.crop_name,
        )

    def changed(self, row_id: int, metadata: Metadata) -> dict[str, Any]:
        """The fields of a row with other metadata that is made of this one, which was read WHOLE."""
        return dict(self.fields) | {"row_id": row_id, "parent": self.row_id, **_said(metadata)}

    def moved(
        self, vector: NDArray[np.float32], seen: NDArray[np.float32] | None, viewpoints: tuple[str, ...]
    ) -> dict[str, Any]:
        """The same row, read with ALL fields, as another model sees it: ``vector`` (D,), ``seen`` (V,) or None."""
        return dict(self.fields) | _seen(vector, seen, viewpoints)


def row_of(fields: Mapping[str, Any]) -> ImageRow:
    """A row as the server gave it."""
    return ImageRow(
        row_id=int(fields["row_id"]), image_id=fields["image_id"], written=int(fields["written"]), fields=fields
    )


def fields_of(
    image: NewImage, row_id: int, *, parent: int, crop_name: str | None, ingested_at: int, viewpoints: tuple[str, ...]
) -> dict[str, Any]:
    """The fields of a new image; ``ingested_at`` in microseconds since 1970."""
    return {
        "row_id": row_id,
        "image_id": image.image_id,
        "written": row_id,
        "parent": parent,
        "ingested_at": ingested_at,
        "crop_name": crop_name or "",
        **_seen(image.embedding, image.viewpoint, viewpoints),
        **_said(image.metadata),
    }


def tag(name: str, value: Attribute) -> int:
    """What stands for an attribute in filters: equal values of one type, and a number whatever its type, have one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps([name, type(value).__name__, value if isinstance(value, str) else repr(value)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1  # fits an int64


def schema_of(description: str, dim: int) -> Any:
    """The fields of these rows as a schema of pymilvus."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("row_id", DataType.INT64, is_primary=True)
    schema.add_field("image_id", DataType.VARCHAR, max_length=128)
    schema.add_field("written", DataType.INT64)
    schema.add_field("parent", DataType.INT64)
    schema.add_field("vehicle_id", DataType.VARCHAR, max_length=MAX_LABEL * _UTF8)
    schema.add_field("camera_id", DataType.VARCHAR, max_length=MAX_LABEL * _UTF8)
    schema.add_field("captured_at", DataType.INT64)
    schema.add_field("ingested_at", DataType.INT64)
    schema.add_field(
        "attributes", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=65_535, max_capacity=_PIECES
    )
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MAX_ATTRIBUTES)
    schema.add_field("crop_name", DataType.VARCHAR, max_length=128)
    schema.add_field("viewpoint", DataType.VARCHAR, max_length=65_535)
    schema.add_field("probabilities", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=4096)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def _seen(vector: NDArray[np.float32], seen: NDArray[np.float32] | None, viewpoints: tuple[str, ...]) -> dict[str, Any]:
    return {
        "viewpoint": "" if seen is None else viewpoints[int(np.argmax(seen))],
        "probabilities": [] if seen is None else seen.tolist(),
        "embedding": vector.astype(np.float32, copy=False),
    }


def _said(metadata: Metadata) -> dict[str, Any]:
    text = json.dumps(dict(metadata.attributes), ensure_ascii=False) if metadata.attributes else ""
    return {
        "vehicle_id": metadata.vehicle_id or "",
        "camera_id": metadata.camera_id or "",
        "captured_at": NEVER if metadata.captured_at is None else microseconds(metadata.captured_at),
        "attributes": [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)],
        "tags": [tag(name, value) for name, value in metadata.attributes.items()],
    }
