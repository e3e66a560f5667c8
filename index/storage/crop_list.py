"""Which crops a gallery's database names: in the list ``crops`` and, once more, in the rows of its images.

A file may be removed only where neither names it: one flipped bit in either leaves the other.
"""

from pathlib import Path
from typing import Final

import apsw

from index.errors import StorageError

_LISTED: Final = "SELECT CAST(name AS BLOB) FROM crops"  # bytes: a row can be judged whose text is none any more
_BORNE: Final = "SELECT CAST(crop AS BLOB) FROM images NOT INDEXED WHERE crop IS NOT NULL"
_IS_NAMED: Final = "SELECT 1 FROM crops WHERE name = :name UNION ALL SELECT 1 FROM images WHERE crop = :name LIMIT 1"


def crop_names(connection: apsw.Connection) -> set[str]:
    """Names that either has."""
    found = connection.execute(f"{_LISTED} WHERE name IS NOT NULL UNION {_BORNE}")
    return {_text(name) for (name,) in found}


def is_crop(connection: apsw.Connection, name: str) -> bool:
    """Whether either names a crop."""
    return connection.execute(_IS_NAMED, {"name": name}).fetchone() is not None


def loose_crops(connection: apsw.Connection) -> list[str | None]:
    """Crops that are listed and that no image has; None where a name is gone."""
    found = connection.execute(f"{_LISTED} EXCEPT {_BORNE}")
    return [None if name is None else _text(name) for (name,) in found]


def unlisted_crops(connection: apsw.Connection) -> list[str]:
    """Crops of images that are not listed."""
    return [_text(name) for (name,) in connection.execute(f"{_BORNE} EXCEPT {_LISTED}")]


def require_agreeing(connection: apsw.Connection, file: Path) -> None:
    """Raise StorageError where the list and the images do not name the same crops."""
    unlike = [*unlisted_crops(connection), *loose_crops(connection)]
    if unlike:
        example = unlike[0] or "one without a name"
        raise StorageError(
            f"{file} lists other crops than its images have ({len(unlike):,}, such as {example}): nothing was removed; "
            "`vehicle-index verify` tells what is damaged, `vehicle-index repair` mends it"
        )


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
