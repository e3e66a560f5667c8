"""What collections are called, and what a gallery's says of it: all services read there what galleries there are."""

import hashlib
import json
import re
import secrets
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from index.errors import InvalidValue, StorageError
from index.gallery import GallerySpec

LAYOUT: Final = 1
PREFIX: Final = "vehicle_search"  # where nobody names another
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Names of galleries and prefixes have no capital letters, those of collections may have no hyphens.
_GALLERY, _UNIQUE, _CHANGES, _HYPHEN = "_G", "_U", "_C", "D"


@dataclass(frozen=True)
class GalleryDescription:
    """What a gallery was created with, and the secret of its cursors."""

    name: str
    spec: GallerySpec
    created_at: datetime
    secret: bytes

    @classmethod
    def new(cls, name: str, spec: GallerySpec) -> "GalleryDescription":
        """Of a gallery that is being created."""
        return cls(name, spec, datetime.now(UTC), secrets.token_bytes(16))

    @property
    def identity(self) -> str:
        """What it is called where other galleries had its name before: as a file may be, and the same for ever."""
        return f"{self.name}-{hashlib.sha256(self.secret).hexdigest()[:32]}"

    @property
    def text(self) -> str:
        """As the description of the collection has it."""
        said = {"layout": LAYOUT, "name": self.name, "spec": asdict(self.spec)}
        return json.dumps(said | {"created_at": self.created_at.isoformat(), "secret": self.secret.hex()})

    @classmethod
    def read(cls, text: str, collection: str) -> "GalleryDescription":
        """The way back; raises StorageError for what no release or a newer one wrote."""
        try:
            said = json.loads(text)
            if said["layout"] != LAYOUT:
                raise StorageError(f"collection {collection} has layout {said['layout']}, this release reads {LAYOUT}")
            spec = said["spec"] | {"viewpoints": tuple(said["spec"]["viewpoints"])}
            return cls(
                said["name"],
                GallerySpec(**spec),
                datetime.fromisoformat(said["created_at"]),
                bytes.fromhex(said["secret"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"collection {collection} does not say what gallery it is: {error}") from error


def check_prefix(prefix: str) -> str:
    """What all names begin with; raises InvalidValue."""
    if _PREFIX.fullmatch(prefix):
        return prefix
    raise InvalidValue(f"milvus_prefix must match {_PREFIX.pattern}, not {prefix[:60]!a}")


def changes_name(prefix: str) -> str:
    """The collection that counts changes."""
    return prefix + _CHANGES


def new_name(prefix: str, gallery: str) -> str:
    """A collection for a gallery, which no other ever had: who knows a dropped one does not write to the next."""
    return f"{prefix}{_GALLERY}{gallery.replace('-', _HYPHEN)}{_UNIQUE}{uuid.uuid4().hex}"


def gallery_of(collection: str, prefix: str) -> str | None:
    """The gallery that a collection is of; None where it is none of these."""
    begin = prefix + _GALLERY
    name, separator, _ = collection.removeprefix(begin).rpartition(_UNIQUE)
    return name.replace(_HYPHEN, "-") if collection.startswith(begin) and separator else None
