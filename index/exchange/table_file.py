"""A table as a Parquet file, whole or as one of many parts. A part says of itself what it is a part of."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from index.exchange.image_table import record_batch, table_schema
from index.gallery import GallerySpec
from index.storage.image_rows import WholeRow

GROUP: Final = 4096  # rows of a row group: 8 MB of 512-d vectors

_TEXTS: Final = ("vehicle_id", "camera_id", "viewpoint", "embedding_space")  # columns in which values recur
_EMBEDDING: Final = "embedding.list.element"  # the column as Parquet names it
_SAID: Final = "vehicle-search part"


def table_writer(file: Path, spec: GallerySpec) -> Any:
    """A ``pyarrow.parquet.ParquetWriter`` of a table of images; it flushes nothing to the disk."""
    schema = table_schema(spec)
    return pq.ParquetWriter(file, schema, **_how_written(schema))


def write_part(file: Path, rows: Sequence[WholeRow], spec: GallerySpec, said: Mapping[str, Any]) -> None:
    """Write rows, maybe none, and what the part says of itself, as JSON; durable on return. Raises OSError."""
    with table_writer(file, spec) as writer:
        if rows:
            writer.write_batch(record_batch(rows, spec), row_group_size=GROUP)
        writer.add_key_value_metadata({_SAID: json.dumps(said)})
    flush(file)


def read_said(file: Path) -> dict[str, Any] | None:
    """What a part says of itself; None where the file is none, or is not whole. Raises FileNotFoundError."""
    try:
        with file.open("rb") as opened:
            said = json.loads((pq.ParquetFile(opened).metadata.metadata or {})[_SAID.encode()])
    except (pa.ArrowException, KeyError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def crops_of(file: Path) -> set[str]:
    """The names of the crops in a table. Raises OSError."""
    paths = pq.read_table(file, columns=["crop"], partitioning=None)["crop"].to_pylist()
    return {path.rpartition("/")[2] for path in paths if path is not None}


def flush(file: Path) -> Path:
    """Make what was written to a file durable. Raises OSError."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    return file


def _how_written(schema: Any) -> dict[str, Any]:
    """Texts are compressed; noise, which vectors are to a compressor, is not."""
    kinds = dict.fromkeys(schema.names, "ZSTD") | {_EMBEDDING: "NONE"}
    del kinds["embedding"]
    return {"compression": kinds, "use_dictionary": list(_TEXTS), "write_page_checksum": True, "store_schema": True}
