"""How often a model names the viewpoint of a picture as people labelled it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ViewpointFigures:
    """``confusion`` int (V, V): rows are labels, columns what the model says, both in the order of ``viewpoints``."""

    viewpoints: tuple[str, ...]
    confusion: NDArray[np.int64]
    unknown: int  # pictures with a label that the model does not know

    @property
    def recall(self) -> dict[str, float]:
        """Share of each labelled viewpoint that was named; viewpoints without a picture are left out."""
        counts = self.confusion.sum(1)
        return {name: float(self.confusion[n, n] / counts[n]) for n, name in enumerate(self.viewpoints) if counts[n]}

    @property
    def mean(self) -> float:
        """Mean of ``recall`` over viewpoints."""
        return float(np.mean(list(self.recall.values())))

    def to_dict(self) -> dict[str, object]:
        """Plain values, fractions rounded to four digits."""
        return {
            "mean": round(self.mean, 4), "recall": {name: round(share, 4) for name, share in self.recall.items()},
            "viewpoints": list(self.viewpoints), "confusion": self.confusion.tolist(),
            "pictures": int(self.confusion.sum()), "unknown": self.unknown,
        }  # fmt: skip

    def __str__(self) -> str:
        width = max(len(name) for name in self.viewpoints) + 1
        lines = [f"viewpoint {self.mean:.1%} of {self.confusion.sum()} labelled pictures (mean over viewpoints)"]
        lines.append(f"  {'label':{width}}" + "".join(f"{name:>{width + 2}}" for name in self.viewpoints))
        for name, row in zip(self.viewpoints, self.confusion, strict=True):
            lines.append(f"  {name:{width}}" + "".join(f"{count:>{width + 2}}" for count in row))
        if self.unknown:
            lines.append(f"  {self.unknown} with a label that the model does not know")
        return "\n".join(lines)


def viewpoint_figures(
    probabilities: NDArray[np.float32], labels: Sequence[str | None], viewpoints: tuple[str, ...]
) -> ViewpointFigures | None:
    """Compare ``probabilities`` (N, V) with ``labels`` (N,), None where unlabelled; None when none can be compared."""
    truth = np.array([viewpoints.index(label) if label in viewpoints else -1 for label in labels])
    known = truth >= 0
    if not known.any():
        return None
    confusion = np.zeros((len(viewpoints), len(viewpoints)), np.int64)
    np.add.at(confusion, (truth[known], probabilities.argmax(1)[known]), 1)
    return ViewpointFigures(
        viewpoints=viewpoints, confusion=confusion,
        unknown=sum(label is not None and label not in viewpoints for label in labels),
    )  # fmt: skip
