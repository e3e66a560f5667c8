"""Fold batch norms into the layers before them, and put norms that change nothing back where training needs them."""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from model_export.network.backbones import Bottleneck
from model_export.network.mvan import MVAN


def fold(model: MVAN) -> MVAN:
    """A copy in evaluation mode that computes the same with every batch norm folded.

    It has fewer operators, and a batch of unknown size exports.
    """
    folded = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    for _, parent, first, second in list(_pairs(folded)):
        layer, norm = getattr(parent, first), getattr(parent, second)
        fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        setattr(parent, first, fuse(layer, norm))
        setattr(parent, second, nn.Identity())
    return folded  # type: ignore[no-any-return]


def unfold(model: MVAN, folded: Mapping[str, Tensor]) -> None:
    """Fill ``model`` with the weights of its folded twin, in place; raises KeyError for one that is missing.

    Every batch norm gets mean 0 and variance 1 and only shifts by what was folded, so both compute the same.
    """
    state = model.state_dict()
    filled = dict(folded)
    for path, parent, first, second in _pairs(model):
        layer, norm = f"{path}{first}", f"{path}{second}"
        filled[f"{norm}.bias"] = filled.pop(f"{layer}.bias")
        filled[f"{norm}.weight"] = torch.ones_like(state[f"{norm}.weight"])
        filled[f"{norm}.running_mean"] = torch.zeros_like(state[f"{norm}.running_mean"])
        filled[f"{norm}.running_var"] = torch.full_like(state[f"{norm}.running_var"], 1 - getattr(parent, second).eps)
        filled[f"{norm}.num_batches_tracked"] = state[f"{norm}.num_batches_tracked"]
        if f"{layer}.bias" in state:
            filled[f"{layer}.bias"] = torch.zeros_like(state[f"{layer}.bias"])
    model.load_state_dict({name: filled[name] for name in state})


def round_to_half(model: MVAN) -> None:
    """Round every weight of two or more dimensions to the nearest fp16 value, in place, so that fp16 stores it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half().float())


def _pairs(model: MVAN) -> Iterator[tuple[str, nn.Module, str, str]]:
    """Layers that a batch norm follows: path of their parent with its dot, parent, the layer's name, the norm's."""
    for path, module in model.named_modules():
        dotted = f"{path}." if path else ""
        if isinstance(module, nn.Sequential):
            for at in range(len(module) - 1):
                if isinstance(module[at], nn.Conv2d) and isinstance(module[at + 1], nn.BatchNorm2d):
                    yield dotted, module, str(at), str(at + 1)
        elif isinstance(module, Bottleneck):
            for number in (1, 2, 3):
                if isinstance(getattr(module, f"bn{number}"), nn.BatchNorm2d):
                    yield dotted, module, f"conv{number}", f"bn{number}"
        elif isinstance(module, MVAN) and isinstance(module.neck, nn.BatchNorm1d) and isinstance(module.fc, nn.Linear):
            yield dotted, module, "fc", "neck"
