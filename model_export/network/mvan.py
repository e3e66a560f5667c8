"""MVAN in one file: V-Net, M-Net's branches, GAM, LAM, fusion.

After Teng, Zhang, Liu et al., "Multi-View Spatial Attention Embedding for Vehicle Re-Identification" (MVAN). The
equations, numbered as the docstrings here and in ``losses`` use them:

    (1)  p   = softmax(V-Net(x))                                 viewpoint probabilities, (N, V)
    (2)  F_v = branch_v(shared(x))                               feature maps, (N, C, h, w)
    (3)  G_v = sigmoid(conv1×1(relu(conv1×1(F_v, C → C/16)), → 1))                    GAM, (N, 1, h, w)
    (4)  L_v = softmax over the h·w positions of S_v,  S_v = Σ_c F_v                    LAM, (N, 1, h, w)
         standardized: S_v is standardised over h·w first and the result multiplied by h·w
    (5)  F̂_v = F_v ⊙ (G_v + L_v)
    (6)  f   = Σ_v p_v · GAP(F̂_v)                               the embedding, (N, D)
    (7)–(9) are the losses.

p is nearly one-hot, so a branch whose p_v is at or below the routing threshold is not run for that picture (p is not
renormalised). Training, evaluation and the exported graph take the same path.

With a ``temperature`` T the branches learn under p and answer under p_v^(1/T) / Σ_u p_u^(1/T), which is V-Net's softmax
at that temperature (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", equation 1): each becomes an
expert of its views, and all are heard. In evaluation and in the exported graph this takes p's place in (6) and in
routing; the output ``viewpoint`` stays p.

The paper's other systems are options of the same model; where its text leaves room, this is our reading:

- Baseline-1: one ``viewpoints`` name, so one network for all pictures.
- Baseline-2: ``networks`` of three with ``fusion`` concatenate and ``split`` at the first stage, so that nothing is
  shared. Each network learns from losses of its own; only the embedding (3 × 512 with VGG16) joins them. ``bilinear``
  joins each pair by a low-rank bilinear product instead (Kim et al. 2017, equation 6, signed root as in Lin et al.
  2015), which has the same 3 × 512 numbers and learns from losses on the whole.
- Baseline-3 and -4: ``kept_views`` of one and of two: branches for these only, p renormalised over them, so that every
  picture has an embedding.
- Multi-View-Binary: ``fusion`` binary: p is replaced by the one-hot of its largest entry, in training and after.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from index.errors import InvalidValue
from model_export.network.backbones import Backbone, build_backbone

Attention = Literal["none", "gam", "lam", "glam"]
Lam = Literal["paper", "standardized"]
Embedding = Literal["fused", "fc512"]
Fusion = Literal["soft", "binary", "concatenate", "bilinear"]

_JOINS = ("concatenate", "bilinear")  # of independent networks; the others weight the branches of viewpoints
MOST_TEMPERATURE = 100.0
_LEAST = 1e-6  # added to each kept view's p, for a picture that has none of them


@dataclass(frozen=True, kw_only=True)
class MVANConfig:
    """The model's shape. The defaults are the paper's VGG16 model; an empty ``split`` is the backbone's usual one."""

    backbone: str = "vgg16"  # vgg16, resnet50, efficientnet_lite0, efficientnet_lite2, tiny
    split: str = ""  # first unshared stage; empty: the backbone's usual one
    viewpoints: tuple[str, ...] = ("front", "rear", "side")  # V branches; one name: no V-Net
    kept_views: tuple[str, ...] = ()  # branches of these only, p renormalised over them; empty: all
    fusion: Fusion = "soft"  # binary: the most probable branch alone; concatenate, bilinear: of ``networks``
    networks: int = 1  # of concatenate and bilinear: so many networks, none of them for a viewpoint
    attention: Attention = "glam"  # none, gam (G), lam (L), glam (both)
    lam: Lam = "paper"  # paper, or standardized: S at mean 0 and deviation 1 before its softmax
    embedding: Embedding = "fused"  # fc512: a 512-d layer on f is what is stored and compared
    normalized: bool = False  # embeddings of unit length
    neck: bool = False  # batch norm between f and the embedding (Luo et al. 2019, BNNeck)
    input_size: int = 224  # H = W in pixels
    vnet: str = "vgg_cnn_m_1024"  # or lite0-blocksN: the first N blocks of EfficientNet-Lite0
    vnet_size: int = 224  # V-Net sees the crop at this size
    vnet_standardized: bool = False  # V-Net sees each crop at one brightness and contrast, whatever the exposure
    temperature: float = 1.0  # of the weights that branches answer by, ∝ p_v^(1/T); 1: p itself; training: always p
    routing_threshold: float | None = 0.01  # branches that weigh as little or less are not run; None: all run (dense)

    def __post_init__(self) -> None:
        allowed = {
            "attention": ("none", "gam", "lam", "glam"),
            "lam": ("paper", "standardized"),
            "embedding": ("fused", "fc512"),
            "fusion": ("soft", "binary", *_JOINS),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise InvalidValue(f"{name} must be one of {', '.join(values)}, not {getattr(self, name)!r}")
        if not self.viewpoints or len(set(self.viewpoints)) != len(self.viewpoints):
            raise InvalidValue(f"viewpoints must be distinct names, not {self.viewpoints!r}")
        if len(set(self.kept_views)) != len(self.kept_views) or not set(self.kept_views) <= set(self.viewpoints):
            raise InvalidValue(
                f"kept_views {self.kept_views!r} are not distinct names of viewpoints {self.viewpoints!r}"
            )
        joined = self.fusion in _JOINS
        if joined != (self.networks > 1) or self.networks < 1 or (joined and len(self.viewpoints) > 1):
            raise InvalidValue(
                f"networks is {self.networks} with fusion {self.fusion} and {len(self.viewpoints)} viewpoints; "
                "concatenate and bilinear join two networks or more of a model with one viewpoint, the others have one"
            )
        if self.routing_threshold is not None and not 0 <= self.routing_threshold <= 0.01:
            raise InvalidValue(f"routing_threshold must lie in 0…0.01, not {self.routing_threshold}")
        if not 0 < self.temperature <= MOST_TEMPERATURE:
            raise InvalidValue(
                f"temperature must be above 0 and at most {MOST_TEMPERATURE:g}, not {self.temperature}; 1 weights "
                f"branches by p itself, {MOST_TEMPERATURE:g} nearly alike"
            )
        for name in ("input_size", "vnet_size"):
            if getattr(self, name) < 16:
                raise InvalidValue(f"{name} must be at least 16 pixels, not {getattr(self, name)}")


class Output(NamedTuple):
    """What a forward pass gives; every part float32."""

    embedding: Tensor  # (N, D)
    fused: Tensor  # f of equation (6), what the triplet loss sees, (N, C)
    viewpoint: Tensor  # p of equation (1), (N, V)
    global_attention: Tensor  # Σ_v p_v G_v, (N, h, w)
    local_attention: Tensor  # Σ_v p_v L_v, (N, h, w)


class LRN(nn.Module):
    """Local response normalisation over ``size`` channels (Krizhevsky et al. 2012), β = 0.75.

    The sum over neighbouring channels is a 1×1 convolution of x² with a band matrix, and d^0.75 is √d·√√d: both
    export to operators that every runtime does fast.
    """

    band: Tensor

    def __init__(self, channels: int, *, size: int = 5, alpha: float = 5e-4, k: float = 2.0) -> None:
        super().__init__()
        distance = (torch.arange(channels)[:, None] - torch.arange(channels)[None, :]).abs()
        self.register_buffer("band", (distance <= size // 2).float()[:, :, None, None] * (alpha / size))
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        d = self.k + F.conv2d(x * x, self.band)  # (N, C, h, w)
        root = d.sqrt()
        return x / (root * root.sqrt())


class VNet(nn.Module):
    """Viewpoint estimator, equation (1). Trained first, then frozen; its softmax is float32 in every precision.

    ``vgg_cnn_m_1024`` is the paper's: five convolutions of VGG_CNN_M_1024 (Chatfield et al. 2014), GAP, fc 512, fc V.
    ``lite0-blocksN`` is for light models: the first N blocks of EfficientNet-Lite0, GAP, fc V.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: MVANConfig) -> None:
        super().__init__()
        self.size, self.input_size = config.vnet_size, config.input_size
        self.standardized = config.vnet_standardized
        if config.vnet == "vgg_cnn_m_1024":
            layers, channels, backbone = _vgg_cnn_m_1024(), 512, build_backbone("vgg16")
        elif found := re.fullmatch(r"lite([02])-blocks(\d+)", config.vnet):
            blocks = int(found[2])
            backbone = build_backbone(f"efficientnet_lite{found[1]}")
            layers, _ = backbone.cut(f"block{blocks}")
            channels = layers[-1].project[0].out_channels  # type: ignore[union-attr,index]
        elif config.vnet == "tiny":
            backbone = build_backbone("tiny")
            layers, channels = nn.Sequential(*(stage for _, stage in backbone.stages)), backbone.channels
        else:
            raise InvalidValue(f"vnet {config.vnet!r} is not vgg_cnn_m_1024, lite0-blocksN or tiny")
        self.layers = layers
        views = len(config.viewpoints)
        paper = config.vnet == "vgg_cnn_m_1024"
        self.head = (
            nn.Sequential(nn.Linear(channels, 512), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(512, views))
            if paper
            else nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, views))
        )
        _register_scale(self, backbone)

    def logits(self, crops: Tensor) -> Tensor:
        """Crops float (N, 3, H, W), 0–255 → logits (N, V) before the softmax."""
        x = crops
        if self.size * 2 == x.shape[-1]:
            x = F.avg_pool2d(x, 2)
        elif self.size != x.shape[-1]:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        if self.standardized:
            centred = x - x.mean((1, 2, 3), keepdim=True)
            x = centred / (centred.square().mean((1, 2, 3), keepdim=True) + 1).sqrt()  # + 1: a crop of one colour
        else:
            x = (x - self.mean) / self.std
        x = self.layers(x)  # (N, C, h, w)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]  # (N, V)

    def forward(self, crops: Tensor) -> Tensor:
        return self.logits(crops).float().softmax(1)  # (N, V)


class Branch(nn.Module):
    """One viewpoint's unshared stages and its attention, equations (2)–(5), pooled."""

    def __init__(self, stages: nn.Sequential, channels: int, attention: Attention, lam: Lam) -> None:
        super().__init__()
        self.stages, self.attention, self.lam = stages, attention, lam
        hidden = max(channels // 16, 4)
        self.gam = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, 1, 1))

    def global_map(self, f: Tensor) -> Tensor:
        """Equation (3): F (N, C, h, w) → G (N, 1, h, w)."""
        return self.gam(f).float().sigmoid()  # type: ignore[no-any-return]

    def local_map(self, f: Tensor) -> Tensor:
        """Equation (4): F (N, C, h, w) → L (N, 1, h, w). The softmax is max-subtracted; the paper's sums overflow."""
        h, w = f.shape[2:]
        s = f.float().sum(1).flatten(1)  # (N, h·w)
        if self.lam == "standardized":
            centred = s - s.mean(1, keepdim=True)
            s = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
            s = s.softmax(1) * (h * w)
        else:
            s = (s - s.amax(1, keepdim=True)).softmax(1)
        return s.reshape(-1, 1, h, w)  # (N, 1, h, w)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shared maps (N, C', h', w') → GAP(F̂) (N, C), G (N, h, w), L (N, h, w)."""
        f = self.stages(x).float()  # (N, C, h, w)
        g, local = self.global_map(f), self.local_map(f)  # (N, 1, h, w) each
        weight = {"none": torch.ones_like(g), "gam": g, "lam": local, "glam": g + local}[self.attention]
        return (f * weight).mean((2, 3)), g.squeeze(1), local.squeeze(1)  # equation (5)


class MVAN(nn.Module):
    """V-Net and M-Net together: crops in, embedding, viewpoint and attention out."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MVANConfig) -> None:
        super().__init__()
        backbone = build_backbone(config.backbone)
        self.config = replace(config, split=config.split or backbone.split)
        self.vnet = VNet(config) if len(config.viewpoints) > 1 else None
        self.shared, _ = backbone.cut(self.config.split)
        views, c = config.kept_views or config.viewpoints, backbone.channels
        self.kept = [config.viewpoints.index(name) for name in views]
        self.branches = nn.ModuleList(
            Branch(build_backbone(config.backbone).cut(self.config.split)[1], c, config.attention, config.lam)
            for _ in (range(config.networks) if config.networks > 1 else views)
        )
        self.pairs = list(itertools.combinations(range(config.networks), 2)) if config.fusion == "bilinear" else []
        self.bilinear = nn.ModuleList(nn.Linear(c, c, bias=False) for _ in range(config.networks if self.pairs else 0))
        self.channels = c * (len(self.pairs) or config.networks)  # C of f
        self.embedding_dim = 512 if config.embedding == "fc512" else self.channels
        self.fc = nn.Linear(self.channels, 512, bias=False) if config.embedding == "fc512" else nn.Identity()
        for layer in self.bilinear:
            nn.init.orthogonal_(layer.weight)  # type: ignore[arg-type]
        if isinstance(self.fc, nn.Linear):
            nn.init.orthogonal_(self.fc.weight)  # a random projection keeps distances: a good place to start
        self.neck = nn.BatchNorm1d(self.embedding_dim) if config.neck else nn.Identity()
        _register_scale(self, backbone)

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy a filled backbone into the shared stages and into every branch."""
        shared, branch = backbone.cut(self.config.split)
        self.shared.load_state_dict(shared.state_dict())
        for place in self.branches:
            place.get_submodule("stages").load_state_dict(branch.state_dict())

    def embed(self, f: Tensor) -> Tensor:
        """F of equation (6), (N, C) → what is stored and compared, (N, D)."""
        embedding: Tensor = self.neck(self.fc(f))
        return F.normalize(embedding) if self.config.normalized else embedding

    def forward(self, crops: Tensor, p: Tensor | None = None) -> Output:
        """Crops uint8 or float (N, 3, H, W), RGB 0–255; ``p`` (N, V) overrides V-Net's."""
        crops = crops.float()
        if p is None:
            p = self.viewpoint(crops)  # (N, V)
        x = self.shared((crops - self.mean) / self.std)  # (N, C', h', w')
        f, g, local = self.join(x) if self.config.networks > 1 else self.fuse(x, self.weights(p))
        return Output(self.embed(f), f, p, g, local)

    def viewpoint(self, crops: Tensor) -> Tensor:
        """Equation (1); ones where there is a single branch."""
        if self.vnet is None:
            return crops.new_ones(crops.shape[0], 1)
        with torch.no_grad():  # frozen: M-Net's losses never reach it
            return self.vnet(crops)  # type: ignore[no-any-return]

    def weights(self, p: Tensor) -> Tensor:
        """What each branch weighs, (N, B): p (N, V), softened in answers, over the kept views; binary: one-hot."""
        if self.config.networks > 1:
            return p.new_full((p.shape[0], len(self.branches)), 1 / len(self.branches))
        if self.config.temperature != 1 and not self.training:
            p = p.pow(1 / self.config.temperature)
            p = p / p.sum(1, keepdim=True)
        if len(self.kept) < p.shape[1]:
            p = p[:, self.kept] + _LEAST
            p = p / p.sum(1, keepdim=True)
        if self.config.fusion == "binary":
            p = torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0)
        return p

    def join(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Independent networks on x (N, C', h', w') → f (N, networks·C or pairs·C), mean G, mean L."""
        parts, g, local = zip(*(branch(x) for branch in self.branches), strict=True)
        if self.pairs:
            turned = [layer(part) for layer, part in zip(self.bilinear, parts, strict=True)]  # (N, C) each
            products = [turned[a] * turned[b] for a, b in self.pairs]
            parts = tuple(x.sign() * ((x.abs() + 1e-6).sqrt() - 1e-3) for x in products)  # root: the scale of f again
        return torch.cat(parts, 1), torch.stack(g).mean(0), torch.stack(local).mean(0)

    def fuse(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equation (6) over the branches that are worth running: x (N, C', h', w'), p (N, B) → f, ΣpG, ΣpL."""
        if len(self.branches) == 1:
            return self.branches[0](x)  # type: ignore[no-any-return]
        threshold = self.config.routing_threshold
        if threshold is None:
            dense = [_weighted(branch(x), p[:, view]) for view, branch in enumerate(self.branches)]
            return tuple(torch.stack(part).sum(0) for part in zip(*dense, strict=True))  # type: ignore[return-value]
        parts = []
        for view, branch in enumerate(self.branches):
            rows = (p[:, view] > threshold).nonzero().squeeze(1)  # (n,)
            if self.training and rows.shape[0] == 0:
                continue
            parts.append((rows, *_weighted(branch(x.index_select(0, rows)), p[:, view].index_select(0, rows))))
        return tuple(_scatter(x.shape[0], [(part[0], part[n]) for part in parts]) for n in (1, 2, 3))  # type: ignore[return-value]


class IdentityHead(nn.Module):
    """What the identity loss sits on; dropped at export.

    The paper's is fc 512 + BN + ReLU + classifier on f. With a neck it is one bias-free classifier on the neck's output
    (Luo et al. 2019), because the neck already normalises. Concatenated networks without a neck have a head each, so
    that nothing flows between them; ``parts`` says how many.
    """

    def __init__(self, model: MVAN, identities: int) -> None:
        super().__init__()
        self.on_neck = model.config.neck
        self.parts = model.config.networks if model.config.fusion == "concatenate" and not self.on_neck else 1
        if self.on_neck:
            classifier = nn.Linear(model.embedding_dim, identities, bias=False)
            nn.init.normal_(classifier.weight, std=0.01)
            self.layers = nn.Sequential(classifier)
        else:
            self.layers = _identity_layers(model.channels // self.parts, identities)
        self.others = nn.ModuleList(
            _identity_layers(model.channels // self.parts, identities) for _ in range(self.parts - 1)
        )

    def forward(self, output: Output, model: MVAN) -> list[Tensor]:
        """Logits (N, identities) of each part, one part but for concatenated networks."""
        if self.on_neck:
            return [self.layers(model.neck(model.fc(output.fused)))]
        parts = output.fused.chunk(self.parts, 1)
        return [layers(part) for layers, part in zip((self.layers, *self.others), parts, strict=True)]


def _identity_layers(channels: int, identities: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, identities)
    )


def _weighted(maps: tuple[Tensor, Tensor, Tensor], weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(f, G, L) of n pictures times their p_v, (n,)."""
    f, g, local = maps
    return f * weight[:, None], g * weight[:, None, None], local * weight[:, None, None]


def _scatter(rows: int, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    total = parts[0][1].new_zeros(rows, *parts[0][1].shape[1:])
    for at, values in parts:
        total = total.index_add(0, at, values)
    return total


def _register_scale(module: nn.Module, backbone: Backbone) -> None:
    module.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
    module.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))


def _vgg_cnn_m_1024() -> nn.Sequential:
    """Convolutions at He et al. 2015's start: from torch's own, five of them without a norm stay at chance."""
    layers = nn.Sequential(
        nn.Conv2d(3, 96, 7, 2), nn.ReLU(inplace=True), LRN(96), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(96, 256, 5, 2, 1), nn.ReLU(inplace=True), LRN(256), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(256, 512, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers
