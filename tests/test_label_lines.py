"""Small text files, whoever wrote them."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.findings import Findings
from model_export.data_sets.label_lines import read_label_lines, read_names


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ("a/b.jpg 车\n\nc.jpg 2\n".encode(), 0),
        ("a/b.jpg 车\n\nc.jpg 2".encode("gb2312"), 1),
        (b"\xef\xbb\xbf" + "a/b.jpg 车\r\n\r\nc.jpg 2\r\n".encode(), 2),
        ("\ufeffa\\b.jpg 车\r\n\r\nc.jpg\t2 ".encode("utf-16-le"), 3),
    ],
)
def test_lines_are_the_same_and_oddities_are_told(tmp_path: Path, data: bytes, kinds: int) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    findings = Findings()
    lines = read_label_lines(tmp_path / "list.txt", findings)
    assert [(line.number, line.words, line.name) for line in lines] == [
        (1, ("a/b.jpg", "车"), "b.jpg"), (3, ("c.jpg", "2"), "c.jpg"),
    ]  # fmt: skip
    assert len(findings.report()) == kinds
    assert {finding.examples for finding in findings.report()} <= {("list.txt",)}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"list\.txt cannot be read: No such file"):
        read_label_lines(tmp_path / "list.txt", Findings())


def test_names_by_number_and_lines_without_one(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("1 light grey\n2 red\noops\n3\n")
    findings = Findings()
    assert read_names(tmp_path / "names.txt", findings) == {"1": "light grey", "2": "red"}
    assert findings.report()[0].examples == ("line 3", "line 4")
