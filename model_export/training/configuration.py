"""Configurations: TOML files and command-line overrides → frozen dataclasses, and back to plain mappings.

An unknown key, a value of the wrong type and a value that a dataclass refuses are all told with the key's full name.
"""

import dataclasses
import difflib
import importlib.resources
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from index.errors import InvalidValue

Config = TypeVar("Config")

SHIPPED = Path(str(importlib.resources.files("model_export"))) / "configurations"  # those that come with the project


def read_configuration(kind: type[Config], path: Path, overrides: Sequence[str] = ()) -> Config:
    """``kind`` from a TOML file; ``overrides`` are ``key=value`` or ``part.key=value`` with a TOML value.

    Relative paths in the file are relative to the working directory. Raises InvalidValue.
    """
    document = read_toml(path, what="configuration")
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise InvalidValue(f"--set {override!r} is not KEY=VALUE")
        try:
            _put(document, key.strip(), _value(value.strip()))
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            raise InvalidValue(f"--set {override!r}: there is no key {key.strip()}") from error
    return from_mapping(kind, document)


def read_toml(path: Path, *, what: str) -> dict[str, Any]:
    """The table in a file; raises InvalidValue, calling the file ``what`` and its path."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue(f"{what} {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{what} {path} is not TOML: {error}") from error


def from_mapping(kind: type[Config], document: dict[str, Any]) -> Config:
    """``kind`` from a plain mapping, checked."""
    try:
        config = _adapter(kind).validate_python(document)
    except ValidationError as error:
        raise InvalidValue(f"configuration key {_problem(kind, error)}"[:400]) from error
    _require_numbers(document, as_mapping(config), ())
    return config


def as_mapping(config: object) -> dict[str, Any]:
    """A plain mapping of a configuration, as kept in checkpoints and contracts."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")  # type: ignore[no-any-return]


def _require_numbers(said: object, read: object, key: tuple[str, ...]) -> None:
    """Refuse true and false where a number is wanted, which pydantic reads as 1 and 0."""
    if isinstance(said, bool) and not isinstance(read, bool):
        raise InvalidValue(f"configuration key {'.'.join(key)}: a number is wanted, not {str(said).lower()}")
    if isinstance(said, dict) and isinstance(read, dict):
        for name in said.keys() & read.keys():
            _require_numbers(said[name], read[name], (*key, str(name)))
    elif isinstance(said, list | tuple) and isinstance(read, list):
        for number, (one, other) in enumerate(zip(said, read, strict=False)):
            _require_numbers(one, other, (*key, str(number)))


def _problem(kind: type, error: ValidationError) -> str:
    first = error.errors()[0]
    *parts, last = (str(part) for part in first["loc"] or ("(whole)",))
    key = ".".join((*parts, last))
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(last, sorted(_keys(kind)), n=1)
        return f"{key} is not known" + (f"; {near[0]} is" if near else "")
    return f"{key}: {first['msg'].removeprefix('Value error, ')}, not {first['input']!r}"


def _keys(kind: type) -> set[str]:
    """Names of the fields of a dataclass and of those inside it."""
    keys: set[str] = set()
    if dataclasses.is_dataclass(kind):
        for name, hint in typing.get_type_hints(kind).items():
            keys.add(name)
            for part in (hint, *typing.get_args(hint)):
                keys |= _keys(part) if isinstance(part, type) else set()
    return keys


def _adapter(kind: type[Config]) -> TypeAdapter[Config]:
    _forbid_unknown(kind)
    return TypeAdapter(kind)


def _forbid_unknown(kind: type) -> None:
    """Make pydantic refuse keys that a dataclass, or one inside it, does not have."""
    if dataclasses.is_dataclass(kind):
        kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=False)  # type: ignore[attr-defined]
        for hint in typing.get_type_hints(kind).values():
            for part in (hint, *typing.get_args(hint)):
                if isinstance(part, type):
                    _forbid_unknown(part)


def _put(document: dict[str, Any], key: str, value: object) -> None:
    *parts, last = key.split(".")
    place: Any = document
    for part in parts:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string
