"""A checksum in every row, so that a flipped bit is seen wherever it is.

SQLite notices damage to the shape of its pages, not to what lies in them: a bit of a vector may flip and every answer
still comes. Text counts as its UTF-8 bytes, so that a row can be judged whose text is none any more.
"""

import struct
import zlib
from typing import Final

import apsw

OF_IMAGE: Final = (  # SQL, for a row of ``images``
    "row_checksum(CAST(image_id AS BLOB), CAST(vehicle_id AS BLOB), CAST(camera_id AS BLOB), captured_at, ingested_at,"
    " CAST(crop AS BLOB), CAST(attributes AS BLOB))"
)
OF_EMBEDDING: Final = "row_checksum(row_id, space_id, CAST(viewpoint AS BLOB), probabilities, vector)"

_KIND_AND_NUMBER = struct.Struct("<cq").pack


def row_checksum(*values: object) -> int:
    """CRC-32 of a row's values (str, bytes, int, None), each with its kind and length: none runs into the next."""
    return zlib.crc32(b"".join([_encoded(value) for value in values]))


def teach(connection: apsw.Connection) -> None:
    """Let SQL statements of this connection call ``row_checksum``."""
    connection.create_scalar_function("row_checksum", row_checksum, deterministic=True)


def _encoded(value: object) -> bytes:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return _KIND_AND_NUMBER(b"b", len(value)) + value
    if value is None:
        return b"n"
    if isinstance(value, int):
        return _KIND_AND_NUMBER(b"i", value)
    raise TypeError(f"no row holds a {type(value).__name__}")
