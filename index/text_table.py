"""Tables for a terminal, whatever somebody stored."""

from collections.abc import Sequence


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line of column names and one for each row, aligned; every cell is on its line."""
    cells = [columns, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    ]  # fmt: skip


def printable(text: str) -> str:
    """The text on one line: a terminal obeys some characters."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
