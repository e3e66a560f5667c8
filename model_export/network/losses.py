"""The two losses of MVAN's training, equation numbers as in ``mvan``.

(7)  L_id  = cross entropy of the identity head                      (Szegedy et al. 2016 for the smoothing)
(8)  L_tri = max(0, α + d⁺ − d⁻), d the unsquared L2 distance        (Hermans et al. 2017, batch hard)
(9)  L     = L_id + λ L_tri
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_EPS = 1e-12  # under the root: its gradient at distance zero is finite


def pairwise_distances(f: Tensor) -> Tensor:
    """Unsquared Euclidean distances of the rows of ``f`` float (N, D) → (N, N), differentiable everywhere."""
    with torch.autocast(f.device.type, enabled=False):  # which would multiply in bf16, where small distances vanish
        f = f.float()
        squares = (f * f).sum(1)  # (N,)
        squared = squares[:, None] + squares[None, :] - 2 * f @ f.T  # (N, N)
        return (squared.clamp_min(0) + _EPS).sqrt()


def identity_loss(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Equation (7): ``logits`` (N, C), ``labels`` int64 (N,) → scalar."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def triplet_loss(f: Tensor, labels: Tensor, *, margin: float | None) -> Tensor:
    """Equation (8), batch hard: for each anchor its farthest positive and its nearest negative.

    ``f`` (N, D), ``labels`` int64 (N,) → scalar. ``margin`` None is the soft margin, log(1 + exp(d⁺ − d⁻)). Anchors
    without a positive or without a negative in the batch are left out; a batch without any triplet gives 0.
    """
    distances = pairwise_distances(f)  # (N, N)
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=f.device)
    positive = distances.masked_fill(~same | itself, -torch.inf).amax(1)  # (N,)
    negative = distances.masked_fill(same, torch.inf).amin(1)  # (N,)
    usable = torch.isfinite(positive) & torch.isfinite(negative)
    if not bool(usable.any()):
        return f.sum() * 0.0
    gap = positive[usable] - negative[usable]
    return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()


def circle_loss(f: Tensor, labels: Tensor, *, scale: float = 64.0, relaxation: float = 0.25) -> Tensor:
    """Circle loss on cosine similarities (Sun et al. 2020, equation 6): ``f`` (N, D), ``labels`` (N,) → scalar.

    For each anchor, log(1 + Σ exp(γ αₙ (sₙ − m)) · Σ exp(−γ αₚ (sₚ − 1 + m))) with αₚ = [1 + m − sₚ]₊ and
    αₙ = [sₙ + m]₊, γ = ``scale``, m = ``relaxation``. Anchors without a positive or a negative are
    left out; a batch without any gives 0.
    """
    with torch.autocast(f.device.type, enabled=False):
        unit = F.normalize(f.float())
        similarity = unit @ unit.T  # (N, N)
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=f.device)
    positive, negative = same & ~itself, ~same
    usable = positive.any(1) & negative.any(1)
    if not bool(usable.any()):
        return f.sum() * 0.0
    weight_p = (1 + relaxation - similarity.detach()).clamp_min(0)
    weight_n = (similarity.detach() + relaxation).clamp_min(0)
    logit_p = (-scale * weight_p * (similarity - 1 + relaxation)).masked_fill(~positive, -torch.inf)
    logit_n = (scale * weight_n * (similarity - relaxation)).masked_fill(~negative, -torch.inf)
    return F.softplus(logit_p[usable].logsumexp(1) + logit_n[usable].logsumexp(1)).mean()
