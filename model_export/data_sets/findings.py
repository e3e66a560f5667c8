"""What was odd about a data set, collected while it is read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from model_export.data_sets.data_set import Finding

_EXAMPLES = 5  # places kept of each kind: enough to find the rest, few enough for one line


@dataclass
class _Kind:
    fatal: bool
    count: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)


class Findings:
    """Counts oddities by kind. ``report`` gives them with those that would falsify a result first."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def note(self, what: str, place: object = "", *, skipped: int = 0, fatal: bool = False) -> None:
        """Count one more ``what`` at ``place``; ``skipped`` pictures are left out because of it."""
        kind = self._kinds.setdefault(what, _Kind(fatal))
        kind.fatal |= fatal
        kind.count += 1
        kind.skipped += skipped
        if len(kind.examples) < _EXAMPLES and str(place):
            kind.examples.append(str(place))

    def note_each(self, what: str, places: Iterable[object], *, skipped: int = 0, fatal: bool = False) -> None:
        """Count one at each of the places, in their order; ``skipped`` pictures at each."""
        for place in places:
            self.note(what, place, skipped=skipped, fatal=fatal)

    def report(self) -> tuple[Finding, ...]:
        """All kinds, fatal ones first, otherwise in the order in which they were met."""
        found = [
            Finding(
                what=what, count=kind.count, examples=tuple(kind.examples), skipped=kind.skipped, fatal=kind.fatal
            )
            for what, kind in self._kinds.items()
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda finding: not finding.fatal))
