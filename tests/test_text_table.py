"""Tables on a terminal."""

from index.text_table import printable, table_lines


def test_columns_are_aligned_and_end_with_their_text() -> None:
    lines = table_lines(("a", "long name"), [("1", "x"), ("three", "")])
    assert lines == ["a      long name", "1      x", "three"]


def test_a_terminal_obeys_nothing_that_was_stored() -> None:
    assert printable("v\n\x1b[2Jü×") == "v\\n\\x1b[2Jü×"
    assert table_lines(("a",), [("x\ny",)]) == ["a", "x\\ny"]
