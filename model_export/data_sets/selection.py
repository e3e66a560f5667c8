"""Rows of a manifest: which are kept back, and which vehicles triplets can be made of."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from index.errors import InvalidValue
from index.manifest import ManifestRow, read_manifest


@dataclass(frozen=True)
class Selection:
    """Which rows are kept back: ``column=value[,value…]``, or ``N%`` of the vehicles, drawn by the seed."""

    column: str = ""
    values: tuple[str, ...] = ()
    percent: float = 0.0
    called: str = "hold_out"  # the setting, for messages

    @classmethod
    def parse(cls, text: str, *, called: str = "hold_out") -> Self:
        """Read a command line's or configuration's form; the empty string keeps nothing back."""
        if not text:
            return cls()
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
            if not 0 < float(match[1]) < 100:
                raise InvalidValue(f"{called} {text!r}: the share must lie between 0% and 100%")
            return cls(percent=float(match[1]), called=called)
        column, sign, values = text.partition("=")
        if not sign or not column or not values:
            raise InvalidValue(f"{called} {text!r} is neither COLUMN=VALUE[,VALUE] nor a share such as 25%")
        return cls(column=column, values=tuple(values.split(",")), called=called)

    def split(self, rows: Sequence[ManifestRow], *, seed: int) -> tuple[list[ManifestRow], list[ManifestRow]]:
        """(kept for training, held out). A vehicle, or where none is named a scene, never lies on both sides."""
        if self.percent:
            groups = sorted({_group(row) for row in rows})
            count = max(1, round(len(groups) * self.percent / 100))
            held = set(np.random.default_rng(seed).permutation(np.array(groups))[:count].tolist())
        elif self.column:
            held = {_group(row) for row in self._matching(rows)}
        else:
            held = set()
        return (
            [row for row in rows if _group(row) not in held],
            [row for row in rows if _group(row) in held],
        )

    def chosen(self, rows: Sequence[ManifestRow], *, seed: int) -> list[ManifestRow]:
        """The rows that are meant, for measuring: those with the value themselves, not all of their vehicles."""
        return self._matching(rows) if self.column else self.split(rows, seed=seed)[1]

    def _matching(self, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
        found = [row for row in rows if str(_cell(row, self.column)) in self.values]
        if not found:
            raise InvalidValue(f"{self.called} {self.column}={','.join(self.values)} matches no row of the manifest")
        return found


def read_rows(manifest: Path, *needed: str) -> list[ManifestRow]:
    """All rows of a manifest; raises InvalidValue for an empty one, or where a ``needed`` cell is empty."""
    rows = list(read_manifest(manifest, required=("path", *needed)))
    if not rows:
        raise InvalidValue(f"{manifest} has a header but no rows")
    for row in rows:
        for column in needed:
            if _cell(row, column) is None:
                raise InvalidValue(f"{manifest} line {row.line}, column {column}: is empty; training needs it")
    return rows


def data_set_name(manifest: Path) -> str:
    """What a manifest's data set is called in reports and contracts: its folder."""
    return manifest.absolute().parent.name


def identities(rows: Sequence[ManifestRow], *, at_least: int = 2) -> list[str]:
    """Vehicle ids with at least so many pictures, sorted: what a triplet can be made of."""
    counts = Counter(row.vehicle_id or "" for row in rows)
    return sorted(vehicle for vehicle, count in counts.items() if count >= at_least)


def _group(row: ManifestRow) -> str:
    return row.vehicle_id or str(row.attributes.get("scene") or row.path)


def _cell(row: ManifestRow, column: str) -> object:
    if column in ("vehicle_id", "camera_id", "viewpoint"):
        return getattr(row, column)
    return row.attributes.get(column)
