"""Cursors come back only to whoever gave them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InvalidValue
from index.storage.page_cursor import read_cursor, write_cursor

SECRET = b"0123456789abcdef"


@given(st.text(alphabet="abcXYZ019._:-", min_size=1, max_size=128))
def test_a_cursor_comes_back(image_id: str) -> None:
    cursor = write_cursor(image_id, SECRET)
    assert read_cursor(cursor, SECRET) == image_id
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_cursor(text, SECRET)
    (str(refused.value) + refused.value.pointer).encode()


def test_a_changed_cursor_and_another_secret_are_refused() -> None:
    cursor = write_cursor("x1", SECRET)
    other = "C" if cursor[0] == "B" else "B"
    for changed in (cursor[:-1], cursor + "A", cursor + "=", other + cursor[1:], write_cursor("", SECRET)[:-1]):
        with pytest.raises(InvalidValue):
            read_cursor(changed, SECRET)
    with pytest.raises(InvalidValue):
        read_cursor(cursor, b"fedcba9876543210")
