"""Camera-aware proxies: each cluster has a remembered embedding for every camera that saw it.

Wang, Lai, Huang, Gong, Hua 2021, "Camera-aware proxies for unsupervised person re-identification" (CAP), equations 3
to 6. A cluster's pictures from one camera differ less than those of two, so they are told apart camera by camera first
and drawn together across cameras second.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


class Proxies(nn.Module):
    """Remembered embeddings m, unit float32 (P, D), with the cluster and the camera of each, int64 (P,)."""

    vectors: Tensor
    cluster: Tensor
    camera: Tensor

    def __init__(self, vectors: Tensor, cluster: Tensor, camera: Tensor, *, temperature: float, hardest: int) -> None:
        super().__init__()
        self.temperature, self.hardest = temperature, hardest
        for name, value in (("vectors", F.normalize(vectors.float())), ("cluster", cluster), ("camera", camera)):
            self.register_buffer(name, value, persistent=False)

    def within_cameras(self, f: Tensor, proxy: Tensor) -> Tensor:
        """L_intra: each embedding f, unit (N, D), against the proxies of its own camera → scalar.

        ``proxy`` int64 (N,) is each one's own. −log exp(f·m/τ) / Σ exp(f·m′/τ), m′ over the camera's proxies.
        """
        logits = self._logits(f)
        elsewhere = self.camera[None, :] != self.camera[proxy][:, None]
        return F.cross_entropy(logits.masked_fill(elsewhere, -torch.inf), proxy)

    def across_cameras(self, f: Tensor, proxy: Tensor) -> Tensor:
        """L_inter: each embedding against all proxies of its cluster, with the hardest of others → scalar.

        −1/|P| Σ_p log exp(f·m_p/τ) / (Σ_p exp(f·m_p/τ) + Σ_q exp(f·m_q/τ)), q over the ``hardest`` others.
        """
        logits = self._logits(f)
        own = self.cluster[None, :] == self.cluster[proxy][:, None]
        count = min(self.hardest, logits.shape[1])
        hardest = logits.detach().masked_fill(own, -torch.inf).topk(count, 1).indices  # (N, count)
        kept = own.scatter(1, hardest, 1 > 0)  # a row with fewer others takes some of its own again
        log_share = logits.masked_fill(~kept, -torch.inf).log_softmax(1)
        return -(log_share.masked_fill(~own, 0.0).sum(1) / own.sum(1)).mean()

    def _logits(self, f: Tensor) -> Tensor:
        """f·m/τ, (N, P)."""
        with torch.autocast(f.device.type, enabled=False):
            return f.float() @ self.vectors.T / self.temperature

    @torch.no_grad()
    def remember(self, f: Tensor, proxy: Tensor, *, momentum: float) -> None:
        """M ← μ m + (1 − μ) f, of unit length again, one picture after another."""
        vectors = self.vectors.clone()  # the losses' gradients still need the ones before
        for vector, number in zip(f.detach().float(), proxy.tolist(), strict=True):
            vectors[number] = F.normalize(momentum * vectors[number] + (1 - momentum) * vector, dim=0)
        self.vectors = vectors


def proxies_of(
    vectors: NDArray[np.float32],
    clusters: NDArray[np.intp],
    cameras: Sequence[str],
    *,
    temperature: float,
    hardest: int,
) -> tuple[Proxies, NDArray[np.intp]]:
    """Proxies at the mean of their pictures, and the proxy of each picture, (N,).

    ``vectors`` (N, D) embed the pictures. One that is in no cluster (−1) is a cluster of its own.
    """
    camera = np.unique(np.asarray(cameras), return_inverse=True)[1]
    alone = clusters < 0
    cluster = np.where(alone, clusters.max(initial=-1) + np.cumsum(alone), clusters)
    pairs, proxy = np.unique(np.stack([cluster, camera], 1), axis=0, return_inverse=True)
    proxy = proxy.reshape(-1)
    sums = np.zeros((len(pairs), vectors.shape[1]), np.float32)
    np.add.at(sums, proxy, vectors)
    made = Proxies(
        torch.from_numpy(sums), torch.from_numpy(pairs[:, 0].copy()), torch.from_numpy(pairs[:, 1].copy()),
        temperature=temperature, hardest=hardest,
    )  # fmt: skip
    return made, proxy
