"""Failures named on the terminal beside a bar of progress, but not for ever."""

import sys
from collections.abc import Iterable
from typing import Any, Final

from tqdm import tqdm

from index.bulk.import_plan import Failure
from index.text_table import printable

_TOLD: Final = 100


class ToldFailures:
    """Those of one run of ``command``; ``untold`` is how many were too many."""

    def __init__(self, command: str) -> None:
        self._command, self._count = command, 0

    def tell(self, failures: Iterable[Failure], bar: "tqdm[Any]") -> None:
        """Name failures, a line each."""
        for failure in failures:
            if self._count < _TOLD:
                line = printable(f"{failure.place}: {failure.reason}")
                bar.write(f"{self._command}: {line}", file=sys.stderr)
            self._count += 1

    @property
    def untold(self) -> int:
        return max(0, self._count - _TOLD)
