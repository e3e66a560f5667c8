"""How many numbers a system is made of, as it is shipped: without the identity head."""

from dataclasses import dataclass

import torch

from model_export.network.mvan import MVAN, MVANConfig


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers that training sets, by network; statistics of batch norms are not among them."""

    mnet: int
    vnet: int
    embedding_dim: int


def count_parameters(shape: MVANConfig) -> Parameters:
    """Count a model of this shape without making its tensors. A GAM that ``attention`` does not use is not counted."""
    with torch.device("meta"):
        model = MVAN(shape)
    used = [
        (name, parameter.numel())
        for name, parameter in model.named_parameters()
        if shape.attention in ("gam", "glam") or ".gam." not in name
    ]
    vnet = sum(count for name, count in used if name.startswith("vnet."))
    return Parameters(
        mnet=sum(count for _, count in used) - vnet, vnet=vnet, embedding_dim=model.embedding_dim
    )  # fmt: skip
