"""Every key of a configuration with its default and what it means, read from the dataclasses that define it.

A field's meaning is the comment at the end of its line, which is where its author keeps it true.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, is_dataclass

_FIELD = re.compile(r"^    (\w+): [^#]*?(?:#\s*(.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """One key; ``default`` is how it is written in TOML, empty where the key must be given."""

    name: str
    default: str
    meaning: str

    def __str__(self) -> str:
        default = f" = {self.default}" if self.default else ""
        return f"{self.name}{default}" + (f"  # {self.meaning}" if self.meaning else "")


def configuration_keys(kind: type, prefix: str = "") -> Iterator[Key]:
    """Keys of a configuration dataclass and of those inside it, in the order of definition."""
    meanings = dict(_FIELD.findall(inspect.getsource(kind)))
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner = next((part for part in (hint, *typing.get_args(hint)) if is_dataclass(part)), None)
        if isinstance(inner, type):
            several = "0." if typing.get_origin(hint) is tuple else ""
            yield from configuration_keys(inner, f"{prefix}{field.name}.{several}")
            continue
        yield Key(f"{prefix}{field.name}", _written(field), meanings.get(field.name, ""))


def _written(field: "dataclasses.Field[typing.Any]") -> str:
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is MISSING or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
