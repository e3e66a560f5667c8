"""Lines of the small text files in which data sets keep their lists and labels, whatever wrote them.

Files of one set come from MATLAB, Windows and Linux by turns: a byte-order mark, CRLF, back-slashes in paths and
Chinese encodings are read and reported, not refused.
"""

import codecs
from dataclasses import dataclass
from pathlib import Path

from index.errors import InvalidValue
from model_export.data_sets.findings import Findings

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class LabelLine:
    """One line that is not blank: its number in the file, from 1, and its words."""

    number: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The first word without folders: the picture that the line is about."""
        return self.words[0].rpartition("/")[2]


def read_text(path: Path, findings: Findings) -> str:
    """The text of a file: UTF-8 or, where it is not, GB18030 (which holds GB2312); notes what is odd about it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror or error}") from error
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            findings.note("files that begin with a byte-order mark", path.name)
            return data[len(mark) :].decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        findings.note("files that are not UTF-8; read as GB18030", path.name)
        return data.decode("gb18030", errors="replace")


def read_label_lines(path: Path, findings: Findings) -> list[LabelLine]:
    """The lines of a list or label file, split at white space, back-slashes turned into slashes."""
    text = read_text(path, findings)
    if "\r" in text:
        findings.note("files with Windows line ends (CRLF)", path.name)
    if "\\" in text:
        findings.note("files with back-slashes in paths; read as slashes", path.name)
        text = text.replace("\\", "/")
    lines = [LabelLine(number, tuple(line.split())) for number, line in enumerate(text.splitlines(), start=1)]
    return [line for line in lines if line.words]


def read_names(path: Path, findings: Findings) -> dict[str, str]:
    """Number → name from a file of lines such as ``1 yellow`` or ``yellow 1``; a name may have several words.

    Which end holds the numbers is decided for the file: the one with more different numbers, the last one in doubt.
    """
    lines = read_label_lines(path, findings)
    firsts = {line.words[0] for line in lines if line.words[0].isdecimal()}
    lasts = {line.words[-1] for line in lines if line.words[-1].isdecimal()}
    names: dict[str, str] = {}
    for line in lines:
        number, name = line.words[-1], line.words[:-1]
        if len(firsts) > len(lasts):
            number, name = line.words[0], line.words[1:]
        if number.isdecimal() and name:
            names[number] = " ".join(name)
        else:
            findings.note(f"lines of {path.name} that do not parse", f"line {line.number}")
    return names
