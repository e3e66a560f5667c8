"""What is collected about a data set."""

from model_export.data_sets.data_set import Finding
from model_export.data_sets.findings import Findings


def test_kinds_are_counted_and_fatal_ones_come_first() -> None:
    findings = Findings()
    findings.note("a", "one", skipped=2)
    findings.note("b", "two")
    findings.note_each("a", map(str, range(9)), skipped=1)
    findings.note("b", "three", fatal=True)
    assert findings.report() == (
        Finding(what="b", count=2, examples=("two", "three"), fatal=True),
        Finding(what="a", count=10, examples=("one", "0", "1", "2", "3"), skipped=11),
    )


def test_nothing_noted_is_nothing_found() -> None:
    findings = Findings()
    findings.note_each("a", [])
    assert findings.report() == ()
