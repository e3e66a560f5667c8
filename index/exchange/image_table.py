"""Images as a table: which columns there are, and rows to columns and back. Needs pyarrow.

==============  ===========================  =======================================================================
column          type                         meaning
==============  ===========================  =======================================================================
image_id        string
vehicle_id      string, may be null
camera_id       string, may be null
captured_at     timestamp (µs, UTC) or null
ingested_at     timestamp (µs, UTC)          when the image came to the gallery: the clock of its retention
attributes      string                       a JSON object: a number stays a number, 1 is not 1.0
viewpoint       string, may be null          the most probable one
probabilities   struct of float32, or null   one field for each viewpoint that the model knows
embedding       list of float32, of size D   what distances are measured between
embedding_space string                       only embeddings of one space may be compared
crop            string, may be null          path of the picture below the export: ``crops/ab/abcd….jpg``
==============  ===========================  =======================================================================
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.errors import InvalidValue
from index.gallery import GallerySpec, Metadata, StoredImage
from index.metadata import check_metadata
from index.storage.image_rows import WholeRow
from index.storage.stored_time import microseconds, moment

_TIME = pa.timestamp("us", tz="UTC")
_CROP = re.compile(r"crops/([0-9a-f]{2})/(\1[0-9a-f]{62}\.(?:jpg|png))")


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row that was read: the image as a gallery would give it back, its vector float32 (D,), and p float32 (V,)."""

    image: StoredImage
    embedding: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None


def table_schema(spec: GallerySpec) -> Any:
    """The table's columns for a gallery of this spec, a ``pyarrow.Schema``."""
    probabilities = pa.struct([pa.field(name, pa.float32(), nullable=False) for name in spec.viewpoints])
    number = pa.field("element", pa.float32(), nullable=False)
    return pa.schema([
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("vehicle_id", pa.string()),
        pa.field("camera_id", pa.string()),
        pa.field("captured_at", _TIME),
        pa.field("ingested_at", _TIME, nullable=False),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("viewpoint", pa.string()),
        pa.field("probabilities", probabilities),
        pa.field("embedding", pa.list_(number, spec.embedding_dim), nullable=False),
        pa.field("embedding_space", pa.string(), nullable=False),
        pa.field("crop", pa.string()),
    ])  # fmt: skip


def record_batch(rows: Sequence[WholeRow], spec: GallerySpec) -> Any:
    """Rows as one ``pyarrow.RecordBatch``."""
    schema = table_schema(spec)
    images = [row.image for row in rows]
    said = [image.metadata for image in images]
    vectors = np.concatenate([row.vector for row in rows]).astype(np.float32, copy=False)  # (n * D,)
    return pa.record_batch([
        pa.array([image.image_id for image in images], pa.string()),
        pa.array([each.vehicle_id for each in said], pa.string()),
        pa.array([each.camera_id for each in said], pa.string()),
        pa.array([_micros(each.captured_at) for each in said], _TIME),
        pa.array([_micros(image.ingested_at) for image in images], _TIME),
        pa.array([json.dumps(dict(each.attributes), ensure_ascii=False) for each in said], pa.string()),
        pa.array([max(p, key=lambda name: p[name]) if (p := image.viewpoint) else None for image in images]),
        _structs([image.viewpoint for image in images], schema.field("probabilities").type),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=schema.field("embedding").type),
        pa.array([spec.embedding_space] * len(rows), pa.string()),
        pa.array([None if image.crop_name is None else crop_path(image.crop_name) for image in images], pa.string()),
    ], schema=schema)  # fmt: skip


def table_rows(batch: Any, spec: GallerySpec) -> Iterator[TableRow]:
    """The rows of a ``pyarrow.RecordBatch`` of ``table_schema``; raises InvalidValue naming the image and its value."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    texts = {name: column.to_pylist() for name, column in columns.items() if pa.types.is_string(column.type)}
    captured, ingested = (columns[name].cast(pa.int64()).to_pylist() for name in ("captured_at", "ingested_at"))
    vectors = columns["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(-1, spec.embedding_dim)  # (n, D)
    known = columns["probabilities"].is_valid().to_pylist()
    probabilities = np.stack(
        [part.to_numpy(zero_copy_only=False) for part in columns["probabilities"].flatten()], axis=1
    )  # (n, V)
    for n, image_id in enumerate(texts["image_id"]):
        if texts["embedding_space"][n] != spec.embedding_space:
            raise InvalidValue(f"the image {image_id!a} is of the embedding space {texts['embedding_space'][n]!a}")
        document = {name: texts[name][n] for name in ("image_id", "vehicle_id", "camera_id")}
        p = probabilities[n].astype(np.float32) if known[n] else None
        image = StoredImage(
            image_id=image_id,
            metadata=_metadata(document, texts["attributes"][n], captured[n]),
            ingested_at=_moment(image_id, "ingested_at", ingested[n]),
            viewpoint={} if p is None else dict(zip(spec.viewpoints, p.tolist(), strict=True)),
            crop_name=_crop_name(image_id, texts["crop"][n]),
        )
        yield TableRow(image=image, embedding=vectors[n].astype(np.float32), probabilities=p)


def crop_path(name: str) -> str:
    """Where the crop of this content name lies below an export."""
    return f"crops/{name[:2]}/{name}"


def _structs(found: Sequence[Any], kind: Any) -> Any:
    """Probabilities by name as structs, null where there are none."""
    names = [kind.field(n).name for n in range(kind.num_fields)]
    numbers = np.array([[p[name] for name in names] if p else [0.0] * len(names) for p in found], dtype=np.float32)
    return pa.StructArray.from_arrays(
        [pa.array(np.ascontiguousarray(column)) for column in numbers.T], fields=list(kind),
        mask=pa.array([not p for p in found]),
    )  # fmt: skip


def _metadata(document: dict[str, object], attributes: str, captured: int | None) -> Metadata:
    image_id = document["image_id"]
    try:
        read = check_metadata({**document, "attributes": json.loads(attributes)}).metadata
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"the image {image_id!a} has attributes that are not JSON: {error}") from error
    except InvalidValue as error:
        raise InvalidValue(f"the image {image_id!a}: {error}") from error
    return Metadata(
        vehicle_id=read.vehicle_id, camera_id=read.camera_id, attributes=read.attributes,
        captured_at=None if captured is None else _moment(image_id, "captured_at", captured),
    )  # fmt: skip


def _moment(image_id: object, name: str, value: int) -> datetime:
    try:
        return moment(value)
    except OverflowError as error:
        raise InvalidValue(f"the image {image_id!a} has a {name} that is no time: {value} µs after 1970") from error


def _crop_name(image_id: str, path: str | None) -> str | None:
    if path is None:
        return None
    if _CROP.fullmatch(path) is None:
        raise InvalidValue(f"the image {image_id!a} names a crop {path!a}, which is no place of an export")
    return PurePosixPath(path).name


def _micros(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)
