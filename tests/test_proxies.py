"""The two losses of camera-aware proxies, against loops over the paper's sums."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_export.adapting.proxies import Proxies, proxies_of

TAU = 0.1


@pytest.fixture
def proxies() -> Proxies:
    """Clusters 0 (cameras 0, 1), 1 (camera 0), 2 (cameras 0, 1)."""
    torch.manual_seed(0)
    return Proxies(
        torch.randn(5, 8), torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 0, 0, 1]), temperature=TAU, hardest=2
    )


@pytest.fixture
def f() -> Tensor:
    torch.manual_seed(1)
    return F.normalize(torch.randn(3, 8)).requires_grad_(True)


def similarity(proxies: Proxies, f: Tensor) -> list[list[float]]:
    return [[math.exp(float(row @ m) / TAU) for m in proxies.vectors] for row in f.detach()]


def test_within_cameras_only_the_cameras_own_proxies_count(proxies: Proxies, f: Tensor) -> None:
    own = [0, 3, 1]
    s = similarity(proxies, f)
    rivals = {0: (0, 2, 3), 3: (0, 2, 3), 1: (1, 4)}
    expected = np.mean([-math.log(s[n][at] / sum(s[n][m] for m in rivals[at])) for n, at in enumerate(own)])
    loss = proxies.within_cameras(f, torch.tensor(own))
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(loss, f)[0]).all()


def test_across_cameras_a_cluster_is_drawn_together_and_off_its_hardest_rivals(proxies: Proxies, f: Tensor) -> None:
    own = [0, 3, 2]
    s = similarity(proxies, f)
    members = {0: (0, 1), 3: (3, 4), 2: (2,)}
    expected = []
    for n, at in enumerate(own):
        positives = members[at]
        rivals = sorted((s[n][m] for m in range(5) if m not in positives), reverse=True)[:2]
        total = sum(s[n][m] for m in positives) + sum(rivals)
        expected.append(-sum(math.log(s[n][m] / total) for m in positives) / len(positives))
    loss = proxies.across_cameras(f, torch.tensor(own))
    assert loss.item() == pytest.approx(float(np.mean(expected)), rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(loss, f)[0]).all()


def test_what_is_remembered_moves_towards_what_was_seen(proxies: Proxies, f: Tensor) -> None:
    before = proxies.vectors.clone()
    proxies.remember(f, torch.tensor([4, 4, 0]), momentum=0.2)
    once = F.normalize(0.2 * before[4] + 0.8 * f[0], dim=0)
    torch.testing.assert_close(proxies.vectors[4], F.normalize(0.2 * once + 0.8 * f[1], dim=0).detach())
    torch.testing.assert_close(proxies.vectors[1:4], before[1:4])


def test_every_picture_has_the_proxy_of_its_cluster_and_camera() -> None:
    vectors = np.eye(6, dtype=np.float32)
    clusters = np.array([1, 1, 1, -1, 0, -1])
    made, proxy = proxies_of(vectors, clusters, ["a", "a", "b", "a", "b", "b"], temperature=TAU, hardest=5)
    assert len(made.vectors) == 5
    assert proxy[0] == proxy[1]
    assert len(set(proxy.tolist())) == 5
    torch.testing.assert_close(made.vectors[proxy[0]], torch.tensor([1.0, 1, 0, 0, 0, 0]) / 2**0.5)
    assert made.cluster[proxy[2]] == made.cluster[proxy[0]]
    assert made.camera[proxy[2]] != made.camera[proxy[0]]
    assert len({int(made.cluster[proxy[n]]) for n in (0, 3, 4, 5)}) == 4


def test_autocast_rounds_no_similarity(proxies: Proxies, f: Tensor) -> None:
    own = torch.tensor([0, 3, 1])
    exact = proxies.within_cameras(f, own), proxies.across_cameras(f, own)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = proxies.within_cameras(f, own), proxies.across_cameras(f, own)
    assert rounded == exact
