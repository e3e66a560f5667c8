"""Memory that is moved into huge pages and stays what it was."""

import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from index.machine.huge_pages import use_huge_pages

SIZE = 48 << 20


def huge(address: int) -> int:
    """Bytes in huge pages of the mapping that holds an address, by the kernel's own account."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if place := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(place[1], 16) <= address < int(place[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    return 0


def test_memory_is_moved_and_stays_what_it_was() -> None:
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_NOHUGEPAGE)  # so that it begins in small ones whatever the system's default
        numbers = np.frombuffer(memory, dtype=np.int64)
        expected = np.arange(len(numbers))
        numbers[:] = expected
        address = numbers.ctypes.data
        before = huge(address)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        moved = use_huge_pages(address, SIZE)
        after = huge(address)
        np.testing.assert_array_equal(numbers, expected)
        del numbers
    if not moved:
        pytest.skip("this system has no huge pages to give")
    assert before == 0
    assert after > SIZE // 2


def test_memory_that_is_not_there_is_no_error() -> None:
    with mmap.mmap(-1, SIZE) as memory:
        address = np.frombuffer(memory, dtype=np.uint8).ctypes.data
    assert not use_huge_pages(address, SIZE)


def test_little_memory_is_left_where_it_is() -> None:
    few = np.zeros(1000)
    assert not use_huge_pages(few.ctypes.data, few.nbytes)
