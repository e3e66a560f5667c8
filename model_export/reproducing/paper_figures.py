"""The paper's own figures, as far as they are known: a TOML file by data set and row."""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from index.errors import InvalidValue
from model_export.reproducing.tables import TABLES
from model_export.training.configuration import from_mapping, read_toml

_SETS = ("veri776", "vehicleid")


@dataclass(frozen=True, kw_only=True)
class PaperFigures:
    """Fractions in 0…1 and a count; None where unknown."""

    rank_1: float | None = None
    rank_5: float | None = None
    map: float | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        for name in ("rank_1", "rank_5", "map"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is a fraction in 0…1")


UNKNOWN = PaperFigures()


def read_paper_figures(path: Path | None = None) -> dict[str, dict[str, PaperFigures]]:
    """Figures by data set and row's name, from ``path`` or the file that comes with the project.

    Raises InvalidValue for a file that cannot be read, and for data sets, rows and keys that do not exist.
    """
    path = path or Path(str(importlib.resources.files("model_export"))) / "reproducing" / "paper_figures.toml"
    document = read_toml(path, what="--paper")
    names = {row.name for table in TABLES.values() for row in table.rows}
    figures: dict[str, dict[str, PaperFigures]] = {}
    for data_set, rows in document.items():
        if data_set not in _SETS or not isinstance(rows, Mapping):
            raise InvalidValue(f"--paper {path}: {data_set!r} is not one of {', '.join(_SETS)}")
        for row, values in rows.items():
            if row not in names:
                raise InvalidValue(f"--paper {path}: {row!r} is not one of the rows {', '.join(sorted(names))}")
            figures.setdefault(data_set, {})[row] = from_mapping(PaperFigures, dict(values))
    return figures
