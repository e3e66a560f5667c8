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


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A file with some bytes changed, written over, taken out, put in twice or cut off, or with another one inside."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 40))
        how = draw(st.sampled_from(["flip", "write", "extreme", "take out", "twice", "cut off", "splice"]))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "write":
            data[at : at + length] = draw(st.binary(min_size=1, max_size=length))
        elif how == "extreme":
            value = draw(st.sampled_from(_EXTREMES))
            data[at : at + len(value)] = value
        elif how == "take out":
            del data[at : at + length]
        elif how == "twice":
            data[at:at] = data[at : at + 8 * length]
        elif how == "cut off":
            del data[at:]
        else:
            data[at:] = draw(whole)[at:]
    return bytes(data)
