"""Batches ahead of their turn: in order, as errors where they belong, and really in the background."""

import threading
from pathlib import Path

import pytest
import torch

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.training.loader import Batch, Loader

ROW = ManifestRow(line=1, path=Path("x.jpg"), vehicle_id="v", camera_id="c")


def batch(number: int) -> Batch:
    return Batch(torch.zeros(1), torch.tensor([number]), [ROW])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_and_end(workers: int) -> None:
    loader = Loader(batch, range(20), workers=workers)
    assert [int(one.labels[0]) for one in loader] == list(range(20))
    loader.close()


def test_a_batch_is_made_before_it_is_asked_for() -> None:
    made = [threading.Event() for _ in range(10)]

    def make(number: int) -> Batch:
        made[number].set()
        return batch(number)

    loader = Loader(make, range(10), workers=1, ahead=2)
    next(loader)
    assert made[2].wait(10)
    loader.close()
    assert not made[5].is_set()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_its_batch_would_be(workers: int) -> None:
    def make(number: int) -> Batch:
        if number == 2:
            raise InvalidValue("broken picture")
        return batch(number)

    loader = Loader(make, range(5), workers=workers)
    assert [int(next(loader).labels[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(InvalidValue, match="broken picture"):
        next(loader)
    loader.close()
