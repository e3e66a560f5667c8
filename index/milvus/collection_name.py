"""What collections are called, and what a gallery's says of it: all services read there what galleries there are."""

import hashlib
import json
import re
import secrets
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from index.errors import InvalidValue, StorageError
from index.gallery import GallerySpec

LAYOUT: Final = 1
PREFIX: Final = "vehicle_search"  # where nobody names another
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Names of galleries and prefixes have no capital letters, those of collections may have no hyphens.
_GALLERY, _UNIQUE, _MOVE, _TURN, _CHANGES, _MIGRATIONS, _HYPHEN = "_G", "_U", "_V", "T", "_C", "_M", "D"
_REST = re.compile(
    rf"(?P<gallery>[a-z0-9_{_HYPHEN}]+){_UNIQUE}(?P<unique>[0-9a-f]{{32}})"
    rf"({_MOVE}(?P<generation>[0-9]+)(?P<state>[A-Z])(?P<migration>[0-9a-f]+){_TURN}(?P<turn>[0-9]+))?"
)

State = Literal["serving", "making", "waiting", "running", "closing", "failed", "cancelled"]
_STATES: Final[dict[str, State]] = {
    "S": "serving", "B": "making", "W": "waiting", "R": "running", "N": "closing", "F": "failed", "X": "cancelled"
}  # fmt: skip
_LETTERS: Final = {state: letter for letter, state in _STATES.items()}


@dataclass(frozen=True)
class CollectionName:
    """What a collection's name says of it, so that one look at all names says where every gallery is.

    ``unique`` is drawn when a gallery is created and stays when it is moved to another model, which makes a collection
    of the next ``generation``. ``turn`` counts who carried the migration on. A name is changed in one step, and only by
    one of several who try: that is what migrations are decided by.
    """

    prefix: str
    gallery: str
    unique: str
    generation: int = 0
    state: State = "serving"
    migration: str = ""
    turn: int = 0

    @classmethod
    def new(cls, prefix: str, gallery: str) -> "CollectionName":
        """For a gallery that is being created: who knows a dropped one does not write to the next."""
        return cls(prefix, gallery, uuid.uuid4().hex)

    @classmethod
    def read(cls, text: str, prefix: str) -> "CollectionName | None":
        """The way back; None for a collection that is no gallery's of this prefix."""
        begin = prefix + _GALLERY
        found = _REST.fullmatch(text.removeprefix(begin)) if text.startswith(begin) else None
        if found is None:
            return None
        own = cls(prefix, found["gallery"].replace(_HYPHEN, "-"), found["unique"])
        if found["state"] is None:
            return own
        state = _STATES.get(found["state"])
        return None if state is None else replace(
            own, generation=int(found["generation"]), state=state, migration=found["migration"], turn=int(found["turn"])
        )  # fmt: skip

    @property
    def gallery_key(self) -> str:
        """What the gallery's crops, changes and migrations are kept under, wherever its rows are."""
        return f"{self.prefix}{_GALLERY}{self.gallery.replace('-', _HYPHEN)}{_UNIQUE}{self.unique}"

    @property
    def text(self) -> str:
        """The name."""
        if not self.generation:
            return self.gallery_key
        move = f"{_MOVE}{self.generation}{_LETTERS[self.state]}{self.migration}{_TURN}{self.turn}"
        return self.gallery_key + move


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


def migrations_name(prefix: str) -> str:
    """The collection that remembers migrations."""
    return prefix + _MIGRATIONS
