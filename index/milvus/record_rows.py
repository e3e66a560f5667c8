"""Small rows that belong to galleries and have no vector: what services count and remember beside the images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from index.milvus.milvus_server import MilvusServer
from index.milvus.row_condition import one_of

_NOTHING: Final = "nothing"  # a collection must have a vector


@dataclass(frozen=True)
class RecordRows:
    """A collection ``name`` of rows with ``numbers`` (int64) and ``texts`` (their longest, bytes), by gallery."""

    server: MilvusServer
    name: str
    numbers: Sequence[str] = ()
    texts: Mapping[str, int] | None = None

    def create(self) -> None:
        """Make the collection where it is missing."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row_id", DataType.INT64, is_primary=True)
        schema.add_field("gallery", DataType.VARCHAR, max_length=255)
        for field in self.numbers:
            schema.add_field(field, DataType.INT64)
        for field, longest in (self.texts or {}).items():
            schema.add_field(field, DataType.VARCHAR, max_length=longest)
        schema.add_field(_NOTHING, DataType.FLOAT_VECTOR, dim=2)
        self.server.create(self.name, schema, _NOTHING, {"index_type": "FLAT"})

    def exists(self) -> bool:
        """Whether it is there and can be asked."""
        return self.server.is_loaded(self.name)

    def of(self, gallery: str) -> list[dict[str, Any]]:
        """The rows of a gallery, as of now."""
        fields = ["row_id", *self.numbers, *(self.texts or {})]
        return self.server.query(self.name, one_of("gallery", [gallery]), fields)

    def add(self, row_id: int, gallery: str, **said: int | str) -> None:
        """Write one."""
        self.server.insert(self.name, [{"row_id": row_id, "gallery": gallery, _NOTHING: [0.0, 0.0]} | said])

    def delete(self, row_ids: Iterable[int]) -> None:
        """Erase some."""
        self.server.delete(self.name, list(row_ids))

    def forget(self, gallery: str) -> None:
        """Erase those of a gallery that is gone."""
        self.delete(row["row_id"] for row in self.of(gallery))
