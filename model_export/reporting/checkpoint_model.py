"""A checkpoint as it is measured: its averaged weights, in float32."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index.contract import fingerprint
from model_export.measuring.measured_model import Attention, Seen
from model_export.network.mvan import MVAN
from model_export.training.mnet_training import Training, restore


class CheckpointModel:
    """A :class:`~model_export.measuring.measured_model.MeasuredModel`, on the CPU."""

    def __init__(self, model: MVAN, config: Training, fingerprint: str) -> None:
        self._model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name, self.resize, self.fingerprint = config.name, config.crop_resize, fingerprint
        self.seed = config.fit.seed
        self.viewpoints, self.embedding_dim = config.model.viewpoints, model.embedding_dim

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a checkpoint; raises ModelError for another kind of file."""
        restored = restore(path)
        return cls(restored.model, restored.config, fingerprint(path))

    def see(self, crops: NDArray[np.uint8]) -> Seen:
        """Crops uint8 (N, H, W, 3) → embedding (N, D) and viewpoint (N, V)."""
        with torch.no_grad():
            output = self._model(_tensor(crops))
        viewpoint = output.viewpoint.numpy() if len(self.viewpoints) > 1 else None
        return Seen(embedding=output.embedding.numpy(), viewpoint=viewpoint)

    def attention(self, crops: NDArray[np.uint8]) -> Attention:
        """Σ_v p_v G_v and Σ_v p_v S_v, S_v standardised over h·w; every branch is run."""
        model, x = self._model, _tensor(crops).float()
        with torch.no_grad():
            p = model.viewpoint(x)  # (N, V)
            weights = model.weights(p)  # (N, B)
            shared = model.shared((x - model.mean) / model.std)  # (N, C', h', w')
            s = torch.stack([_standardised(branch.get_submodule("stages")(shared)) for branch in model.branches], dim=1)
            locally = (s * weights[:, :, None, None]).sum(1)  # (N, B, h, w) → (N, h, w)
            return Attention(globally=model(x, p).global_attention.numpy(), locally=locally.numpy())


def _tensor(crops: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)  # (N, 3, H, W)


def _standardised(f: Tensor) -> Tensor:
    """F (N, C, h, w) → S of equation (4) at mean 0 and deviation 1, (N, h, w)."""
    s = f.float().sum(1)
    centred = s - s.mean((1, 2), keepdim=True)
    return centred / (centred.square().mean((1, 2), keepdim=True).sqrt() + 1e-5)
