"""Bytes that are nearly right, and how many of them a fuzz test looks at."""

import os
from datetime import timedelta
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ: Final = int(os.environ.get("FUZZ", "1"))  # times as many examples
_LONGEST = timedelta(seconds=20)  # that one example may take: a hang is a finding
_EXTREMES = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0", b"\xff" * 2, bytes(2)]


def examples(count: int) -> settings:
    """Of a fuzz test: ``count`` where nothing else is said."""
    return settings(
        max_examples=count * FUZZ, deadline=_LONGEST,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "write", "extreme", "take out", "twice", "cut off", "splice"]),
        st.integers(0, 1 << 24), st.binary(min_size=1, max_size=40), st.sampled_from(_EXTREMES),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def edited(whole: bytes, edits: list[tuple[str, int, bytes, bytes]], other: bytes) -> bytes:
    """A file with some bytes changed, written over, taken out, put in twice or cut off, or going on as another one."""
    data = bytearray(whole)
    for how, place, written, extreme in edits:
        at = place % max(1, len(data))
        if how == "flip" and data:
            data[at] ^= 1 << len(written) % 8
        elif how == "write":
            data[at : at + len(written)] = written
        elif how == "extreme":
            data[at : at + len(extreme)] = extreme
        elif how == "take out":
            del data[at : at + len(written)]
        elif how == "twice":
            data[at:at] = data[at : at + 8 * len(written)]
        elif how == "cut off":
            del data[at:]
        elif how == "splice":
            data[at:] = other[at:]
    return bytes(data)


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files that ``edited`` makes of others."""
    return st.builds(edited, whole, EDITS, whole)
