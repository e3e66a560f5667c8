"""Losses against naive loops."""

import math
from collections.abc import Callable

import pytest
import torch

from model_export.network.losses import circle_loss, identity_loss, pairwise_distances, triplet_loss


def _naive(f: torch.Tensor, labels: list[int], margin: float | None) -> float:
    terms = []
    for anchor, own in enumerate(labels):
        distances = [float((f[anchor] - other).norm()) for other in f]
        positives = [d for n, d in enumerate(distances) if labels[n] == own and n != anchor]
        negatives = [d for n, d in enumerate(distances) if labels[n] != own]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            terms.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("margin", [0.5, 0.0, None])
def test_triplet_loss_is_the_naive_loop(margin: float | None) -> None:
    f = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    labels = [0, 0, 1, 1, 1, 2, 2, 3, 3]
    loss = float(triplet_loss(f, torch.tensor(labels), margin=margin))
    assert loss == pytest.approx(_naive(f, labels, margin), abs=1e-5)


def test_anchors_without_a_pair_are_left_out() -> None:
    f = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    loss = float(triplet_loss(f, torch.tensor([0, 0, 1, 2]), margin=0.5))
    assert loss == pytest.approx(_naive(f, [0, 0, 1, 2], 0.5), abs=1e-5)
    assert float(triplet_loss(f, torch.tensor([0, 1, 2, 3]), margin=0.5)) == 0.0
    assert float(triplet_loss(f, torch.tensor([0, 0, 0, 0]), margin=0.5)) == 0.0


def test_identical_pictures_have_a_finite_gradient() -> None:
    f = torch.ones(4, 3, requires_grad=True)
    triplet_loss(f, torch.tensor([0, 0, 1, 1]), margin=0.5).backward()  # type: ignore[no-untyped-call]
    assert f.grad is not None
    assert bool(torch.isfinite(f.grad).all())


def test_distances_are_unsquared() -> None:
    distances = pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    assert float(distances[0, 1]) == pytest.approx(5.0)


@pytest.mark.parametrize("loss", [lambda f, y: triplet_loss(f, y, margin=None), circle_loss])
def test_small_distances_count_also_where_autocast_would_round_them(loss: Callable[..., torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    f = 30 + 0.05 * torch.randn(8, 256, generator=generator)  # all nearly alike: in bf16 no digit is left
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    exact = loss(f.double().float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(f, labels), exact, rtol=1e-5, atol=1e-6)


def test_identity_loss_is_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    expected = -(logits.log_softmax(1)[0, 0] + logits.log_softmax(1)[1, 2]) / 2
    assert float(identity_loss(logits, torch.tensor([0, 2]))) == pytest.approx(float(expected))
    assert float(identity_loss(logits, torch.tensor([0, 2]), smoothing=0.1)) != pytest.approx(float(expected))
