"""Fold batch norms into the layers before them: fewer operators, and a batch of unknown size exports."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from model_export.network.backbones import Bottleneck
from model_export.network.mvan import MVAN


def fold(model: MVAN) -> MVAN:
    """A copy in evaluation mode that computes the same with every batch norm folded."""
    folded = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
        elif isinstance(module, Bottleneck):
            for number in (1, 2, 3):
                convolution, norm = getattr(module, f"conv{number}"), getattr(module, f"bn{number}")
                setattr(module, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
                setattr(module, f"bn{number}", nn.Identity())
    if isinstance(folded.neck, nn.BatchNorm1d) and isinstance(folded.fc, nn.Linear):
        folded.fc = fuse_linear_bn_eval(folded.fc, folded.neck)
        folded.neck = nn.Identity()
    return folded  # type: ignore[no-any-return]


def _fold_sequence(sequence: nn.Sequential) -> None:
    for at in range(len(sequence) - 1):
        first, second = sequence[at], sequence[at + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            sequence[at], sequence[at + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def round_to_half(model: MVAN) -> None:
    """Round every weight of two or more dimensions to the nearest fp16 value, in place, so that fp16 stores it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half().float())
