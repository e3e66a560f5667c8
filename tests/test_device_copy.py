"""Rows in segments on a device, and the memory that they take."""

import numpy as np
import pytest

from index.errors import NotEnoughMemory
from index.searching.device_copy import DeviceCopy, copy_bytes, nearest, segment_rows
from tests.host_device import HostDevice

D = 32
ROWS = np.random.default_rng(0).normal(size=(1000, D)).astype(np.float32)


def test_a_segment_is_no_larger_than_what_can_be_copied_in_a_moment() -> None:
    assert segment_rows(512, "fp32") == 262_144
    assert segment_rows(512, "fp16") == 524_288
    assert segment_rows(1, "fp16") == 1 << 20
    assert segment_rows(10**7, "fp32") == 256


def test_the_memory_is_that_of_the_rows_and_one_segment_to_grow() -> None:
    assert copy_bytes(0, 512, "fp32") == 0
    assert copy_bytes(1000, 512, "fp32") == 2 * 1000 * 2052
    assert copy_bytes(1_000_000, 512, "fp32") == 1_262_144 * 2052
    assert copy_bytes(1_000_000, 512, "fp16") == 1_524_288 * 1028


@pytest.mark.parametrize("lot", [1, 7, 256, 300, 1000])
def test_rows_are_found_wherever_they_are(lot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.searching.device_copy._LARGEST", 256)
    device = HostDevice()
    copy = DeviceCopy(device, D, "fp32", "x")
    rows = 40 if lot == 1 else 1000
    copy.require_room(rows)
    for start in range(0, rows, lot):
        copy.add(ROWS[start : min(start + lot, rows)])
    assert copy.rows == rows
    exact = ((ROWS[:rows].astype(float) - ROWS[3].astype(float)) ** 2).sum(axis=1)
    for passing in (np.ones(rows, bool), np.arange(rows) % 3 == 1, np.arange(rows) >= rows - 5, np.zeros(rows, bool)):
        bits = None if passing.all() else np.packbits(passing, bitorder="little")
        answer = copy.search(ROWS[3:4], 20, bits)
        assert answer is not None
        (squares, places), covered = answer
        assert covered == rows
        expected = np.flatnonzero(passing)[np.argsort(exact[passing], kind="stable")[:20]]
        np.testing.assert_array_equal(places[0], expected)
        np.testing.assert_allclose(squares[0], exact[expected], atol=1e-3)
    copy.close()
    assert copy.search(ROWS[3:4], 20, None) is None
    assert device.taken == 0


def test_queries_go_in_lots_that_the_scratch_memory_holds() -> None:
    small, large = HostDevice(scratch=3 * 8 * 1000), HostDevice()
    found = []
    for device in (small, large):
        copy = DeviceCopy(device, D, "fp32", "x")
        copy.add(ROWS)
        answer = copy.search(ROWS[:50], 5, None)
        assert answer is not None
        found.append(answer[0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-3)


def test_memory_is_taken_before_it_is_used_and_never_twice() -> None:
    device = HostDevice(cap=10_000_000, memory=8_000_000)
    one, two = (DeviceCopy(device, D, "fp32", name) for name in ("one", "two"))
    one.require_room(10_000)
    one.require_room(5_000)
    assert device.taken == copy_bytes(10_000, D, "fp32") == 2_640_000
    with pytest.raises(
        NotEnoughMemory, match=r"two, 30,000 rows, needs 8 MB .* \(10 MB\) 3 MB are taken and 5 MB are free"
    ):
        two.require_room(30_000)
    one.close()
    one.close()
    assert device.taken == 0


def test_the_nearest_of_several_parts() -> None:
    one = np.array([[1, 3, 5.0]], np.float32), np.array([[10, 30, 50]])
    two = np.array([[2, 3.0]], np.float32), np.array([[20, 31]])
    squares, places = nearest([one, two], 1, 4)
    assert (squares.tolist(), places.tolist()) == ([[1, 2, 3, 3]], [[10, 20, 30, 31]])
    assert nearest([one], 1, 2)[1].tolist() == [[10, 30]]
    assert nearest([], 3, 2)[1].shape == (3, 0)
