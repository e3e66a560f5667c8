"""What a model file says about itself: the ``contract`` metadata property of the ONNX file.

The contract is one JSON object. It is written once, by the exporter, and read by everything that runs the model.
A file without one, or with a version or a value that this release does not know, is refused with the field's name.
"""

import dataclasses
import hashlib
import json
import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, Self

from index.errors import ContractError

CONTRACT_VERSION = 1
METADATA_KEY = "contract"

Filter = Literal["bilinear", "bicubic", "lanczos", "box"]
Aspect = Literal["stretch", "pad"]
Precision = Literal["fp32", "fp16", "int8"]
ProbabilityForm = Literal["logistic", "isotonic"]

_FILTERS = ("bilinear", "bicubic", "lanczos", "box")
_ASPECTS = ("stretch", "pad")
_PRECISIONS = ("fp32", "fp16", "int8")
_PARAMETERS: Final = {"logistic": ("intercept", "slope"), "isotonic": ("distances", "probabilities")}
_DECIMALS = 3  # of a probability: what thousands of matches can tell
_SUREST = 0.999  # nor are they ever all of them


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How a picture of any size becomes the model's crop.

    ``size`` (height, width): what the picture is resized to; ``stretch`` ignores the aspect ratio, ``pad`` keeps it
    and fills with mid-grey. ``crop`` (height, width): the centre that is then kept, equal to the model's input size.
    """

    size: tuple[int, int]
    crop: tuple[int, int]
    filter: Filter = "bilinear"
    aspect: Aspect = "stretch"

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            _require_size(f"resize.{name}", getattr(self, name))
        if self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
            raise ContractError(f"contract field resize.crop {self.crop} is larger than resize.size {self.size}")
        _require_one_of("resize.filter", self.filter, _FILTERS)
        _require_one_of("resize.aspect", self.aspect, _ASPECTS)


@dataclass(frozen=True, kw_only=True)
class MatchProbability:
    """How the distance of a match becomes the probability that it shows the query's vehicle; falls with the distance.

    ``logistic``: 1 / (1 + exp(slope · distance − intercept)). ``isotonic``: linear between points, ``distances`` rising
    and ``probabilities`` not, and as at the outermost beyond them.

    It was learnt of the ``ranks`` nearest matches of each query of ``data_set``, of which the share ``prior`` was
    right, and is true of such matches: where vehicles are found more or less often, as in a gallery with fewer or more
    pictures of others, the odds p / (1 − p) are off by the factor between the odds of that share and of this one.
    ``figures`` tell how well it is calibrated. Raises ContractError when a field is wrong.
    """

    form: ProbabilityForm
    parameters: dict[str, Any]
    ranks: int
    prior: float
    data_set: str
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_one_of("probability.form", self.form, tuple(_PARAMETERS))
        names = _PARAMETERS[self.form]
        if not isinstance(self.parameters, dict) or set(self.parameters) != set(names):
            raise ContractError(
                f"contract field probability.parameters must be {' and '.join(names)} for the form {self.form}, not "
                f"{self.parameters!r}"
            )
        if self.form == "logistic":
            self._require_logistic()
        else:
            self._require_isotonic()
        if type(self.ranks) is not int or self.ranks < 1:
            raise ContractError(f"contract field probability.ranks must be a positive integer, not {self.ranks!r}")
        if not _is_number(self.prior) or not 0 < self.prior < 1:
            raise ContractError(f"contract field probability.prior must lie between 0 and 1, not {self.prior!r}")
        if not isinstance(self.data_set, str):
            raise ContractError(f"contract field probability.data_set must be a string, not {self.data_set!r}")
        if not isinstance(self.figures, dict):
            raise ContractError(f"contract field probability.figures must be an object, not {self.figures!r}")

    def of(self, distance: float) -> float:
        """The probability of a match at a distance, 0.001…0.999, rounded to three decimals."""
        exact = self._logistic(distance) if self.form == "logistic" else self._isotonic(distance)
        return round(min(max(exact, 1 - _SUREST), _SUREST), _DECIMALS)

    def _logistic(self, distance: float) -> float:
        logit = self.parameters["intercept"] - self.parameters["slope"] * distance
        return 0.5 * (1 + math.tanh(0.5 * logit))  # as 1 / (1 + exp(−logit)), which overflows

    def _isotonic(self, distance: float) -> float:
        distances, heights = self.parameters["distances"], self.parameters["probabilities"]
        right = bisect_right(distances, distance)
        if right in (0, len(distances)):
            return float(heights[min(right, len(distances) - 1)])
        (near, far), (high, low) = distances[right - 1 : right + 1], heights[right - 1 : right + 1]
        return float(high + (low - high) * (distance - near) / (far - near))

    def _require_logistic(self) -> None:
        for name, value in self.parameters.items():
            if not _is_number(value) or (name == "slope" and value <= 0):
                rule = "a number above 0" if name == "slope" else "a number"
                raise ContractError(f"contract field probability.parameters.{name} must be {rule}, not {value!r}")

    def _require_isotonic(self) -> None:
        distances, heights = self.parameters["distances"], self.parameters["probabilities"]
        for name, values in self.parameters.items():
            if not isinstance(values, list) or not values or not all(map(_is_number, values)):
                raise ContractError(f"contract field probability.parameters.{name} must be numbers, not {values!r}")
        if len(distances) != len(heights):
            raise ContractError(
                f"contract fields probability.parameters.distances and .probabilities have {len(distances)} and "
                f"{len(heights)} numbers; they go together"
            )
        if any(near >= far for near, far in pairwise(distances)):
            raise ContractError("contract field probability.parameters.distances must rise")
        if any(high < low for high, low in pairwise(heights)) or not 0 <= heights[-1] <= heights[0] <= 1:
            raise ContractError("contract field probability.parameters.probabilities must fall, within 0…1")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One model file's description of itself. Raises ContractError when a field is wrong."""

    contract_version: int
    name: str
    backbone: str
    input_size: tuple[int, int]  # (H, W) in pixels
    resize: Resize
    embedding_dim: int  # D
    viewpoints: tuple[str, ...]  # V names, in the order of the output's columns
    distance: str  # always "l2"
    normalized: bool  # every embedding has unit length
    precision: Precision
    routing_threshold: float | None  # branches with p at or below it do not run; None: dense
    embedding_space: str
    trained_on: tuple[str, ...]
    viewpoint_labels_from: str
    metrics: dict[str, Any]
    created_at: str  # RFC 3339, UTC
    git_revision: str
    training: dict[str, Any] = field(default_factory=dict)  # every key of the configuration, but for places of files
    probability: MatchProbability | None = None  # what a distance means; None: nobody measured it

    def __post_init__(self) -> None:
        if self.contract_version != CONTRACT_VERSION:
            raise ContractError(
                f"contract field contract_version is {self.contract_version!r}; this release reads {CONTRACT_VERSION}"
            )
        for name in ("name", "backbone", "embedding_space", "created_at"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ContractError(f"contract field {name} must be a non-empty string, not {value!r}")
        _require_size("input_size", self.input_size)
        if self.resize.crop != self.input_size:
            raise ContractError(f"contract field resize.crop {self.resize.crop} is not input_size {self.input_size}")
        if isinstance(self.embedding_dim, bool) or not isinstance(self.embedding_dim, int) or self.embedding_dim < 1:
            raise ContractError(f"contract field embedding_dim must be a positive integer, not {self.embedding_dim!r}")
        if any(not isinstance(name, str) or not name for name in self.viewpoints):
            raise ContractError(f"contract field viewpoints must hold non-empty strings, not {self.viewpoints!r}")
        if not self.viewpoints or len(set(self.viewpoints)) != len(self.viewpoints):
            raise ContractError(f"contract field viewpoints must be distinct names, not {self.viewpoints!r}")
        if not isinstance(self.normalized, bool):
            raise ContractError(f"contract field normalized must be true or false, not {self.normalized!r}")
        _require_one_of("distance", self.distance, ("l2",))
        _require_one_of("precision", self.precision, _PRECISIONS)
        threshold = self.routing_threshold
        if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 0.01):
            raise ContractError(f"contract field routing_threshold must lie in 0…0.01 or be null, not {threshold!r}")

    @property
    def has_viewpoint(self) -> bool:
        """Whether the file has a ``viewpoint`` output; a model of one branch has none."""
        return len(self.viewpoints) > 1

    def to_json(self) -> str:
        """The metadata property's value."""
        document = dataclasses.asdict(self)
        if self.probability is None:
            del document["probability"]  # releases that do not know the field read the file
        return json.dumps(document, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a metadata property; raises ContractError naming the field that is missing, unknown or wrong."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"the model's contract is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise ContractError("the model's contract is not a JSON object")
        version = document.get("contract_version")
        if version != CONTRACT_VERSION or isinstance(version, bool):
            raise ContractError(
                f"contract field contract_version is {version!r}; this release reads {CONTRACT_VERSION}"
            )
        _require_fields("", document, cls)
        resize = document["resize"]
        if not isinstance(resize, dict):
            raise ContractError(f"contract field resize must be an object, not {resize!r}")
        _require_fields("resize.", resize, Resize)
        document["resize"] = Resize(
            **{
                **resize,
                "size": _as_tuple("resize.size", resize["size"]),
                "crop": _as_tuple("resize.crop", resize["crop"]),
            }
        )
        for name in ("input_size", "viewpoints", "trained_on"):
            document[name] = _as_tuple(name, document[name])
        for name in ("metrics", "training"):
            if not isinstance(document.get(name, {}), dict):
                raise ContractError(f"contract field {name} must be an object, not {document[name]!r}")
        if "probability" in document:
            probability = document["probability"]
            if not isinstance(probability, dict):
                raise ContractError(f"contract field probability must be an object, not {probability!r}")
            _require_fields("probability.", probability, MatchProbability)
            document["probability"] = MatchProbability(**probability)
        return cls(**document)


def fingerprint(path: Path) -> str:
    """SHA-256 of the file in hex: which file answers."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_fields(
    prefix: str, document: dict[str, Any], described: type[Contract] | type[Resize] | type[MatchProbability]
) -> None:
    fields = dataclasses.fields(described)
    names = {field.name for field in fields}
    optional = {
        field.name for field in fields if field.default_factory is not dataclasses.MISSING or field.default is None
    }
    for name in sorted(names - document.keys() - optional):
        raise ContractError(f"contract field {prefix}{name} is missing")
    for name in sorted(document.keys() - names):
        raise ContractError(f"contract field {prefix}{name} is unknown to contract version {CONTRACT_VERSION}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_tuple(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ContractError(f"contract field {name} must be an array, not {value!r}")
    return tuple(value)


def _require_size(name: str, value: object) -> None:
    if not (isinstance(value, tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)):
        raise ContractError(f"contract field {name} must be two positive integers (height, width), not {value!r}")


def _require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ContractError(f"contract field {name} must be one of {', '.join(allowed)}, not {value!r}")
