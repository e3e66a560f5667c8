"""The paper's tables as data: which systems stand in them and how each differs from MVAN.

MVAN itself is the first backbone split after its fourth stage, soft p, GLAM, both losses. The numbering of the tables
is ours: 1 how views are joined, 2 how many there are, 3 losses, 4 where the branches part and what attention they have,
5 the second backbone, 6 numbers of parameters (counted, not trained). How each baseline is read stands in
``network.mvan``. Tables 1 and 2 of the paper compare views without attention and with it; where its text leaves that
open, ours do as each row's title says. Table 7 is not the paper's: each part of our stronger recipe left out once, on
one network without views, so that nothing but the recipe differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from index.errors import InvalidValue

ANY = ("any",)  # the one viewpoint of a system that knows none
NOTHING_SHARED = 0  # of split_after

_ATTENTIONS = {"none": "no attention", "gam": "GAM", "lam": "LAM", "glam": "GLAM"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system. ``name`` is its folder and its key among the paper's figures."""

    name: str
    title: str
    starts_from: Literal["first", "second", "strong"] = "first"  # which of a budget's configurations
    split_after: int = 4  # stage of the backbone, 1 … 4
    kept: int = 0  # views that have a branch, the first ones; 0: all
    model: Mapping[str, Any] = field(default_factory=dict)  # keys of MVANConfig that differ from MVAN's
    training: Mapping[str, Any] = field(default_factory=dict)  # keys of Training that do
    overrides: tuple[str, ...] = ()  # KEY=VALUE, as on the command line
    input_share: float = 1.0  # of the configuration's input size
    ours: bool = False  # not in the paper


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: what it asks, and its rows in order."""

    number: int
    title: str
    rows: tuple[Row, ...]


def split_row(stage: int, attention: str) -> Row:
    """A row of table 4: branches part after ``stage`` and have this attention."""
    return Row(
        name=f"split-{stage}-{attention}", title=f"split after conv{stage}, {_ATTENTIONS[attention]}",
        split_after=stage, model={"attention": attention},
    )  # fmt: skip


MULTI_VIEW = replace(split_row(4, "none"), title="Multi-View: split after conv4, soft p, no attention")
MVAN_ROW = replace(split_row(4, "glam"), title="MVAN: split after conv4, soft p, GLAM, both losses")

_PLAIN = {"attention": "none"}
_ALONE = {"attention": "none", "viewpoints": ANY}
_THREE = {"attention": "none", "viewpoints": ANY, "networks": 3}

BASELINE_1 = Row(name="baseline-1", title="Baseline-1: one network, no views, no attention", model=_ALONE)
BASELINE_2 = Row(
    name="baseline-2", title="Baseline-2: three independent networks, concatenated", split_after=NOTHING_SHARED,
    model={**_THREE, "fusion": "concatenate"},
)  # fmt: skip
BILINEAR = Row(
    name="baseline-2-bilinear", title="Baseline-2, bilinear fusion", split_after=NOTHING_SHARED,
    model={**_THREE, "fusion": "bilinear"},
)  # fmt: skip
BINARY = Row(
    name="multi-view-binary", title="Multi-View-Binary: one-hot p, no attention", model={**_PLAIN, "fusion": "binary"}
)
SOFTENED = replace(
    MULTI_VIEW, name="multi-view-softened", title="Multi-View, branches answer by p^(1/16) (ours)", ours=True,
    model={**_PLAIN, "temperature": 16.0},
)  # fmt: skip
BASELINE_3 = Row(name="baseline-3", title="Baseline-3: one view's branch, GLAM", kept=1)
BASELINE_4 = Row(name="baseline-4", title="Baseline-4: two views' branches, GLAM", kept=2)
SOFTMAX = Row(name="loss-softmax", title="softmax loss alone", training={"triplet_weight": 0.0})
TRIPLET = Row(name="loss-triplet", title="triplet loss alone", training={"identity_weight": 0.0})
LAM_STANDARDISED = Row(
    name="split-4-lam-standardised", title="split after conv4, LAM standardised (ours)", ours=True,
    model={"attention": "lam", "lam": "standardized"},
)  # fmt: skip
GLAM_STANDARDISED = Row(
    name="split-4-glam-standardised", title="split after conv4, GLAM standardised (ours)", ours=True,
    model={"lam": "standardized"},
)  # fmt: skip
SECOND_BASELINE_1 = Row(
    name="second-baseline-1", title="Baseline-1 on the second backbone", starts_from="second", model=_ALONE
)
SECOND_MULTI_VIEW = Row(
    name="second-multi-view", title="Multi-View on the second backbone", starts_from="second", model=_PLAIN
)
SECOND_MVAN = Row(name="second-mvan", title="MVAN (Multi-View, GLAM) on the second backbone", starts_from="second")


def _strong(name: str, title: str, *overrides: str, input_share: float = 1.0) -> Row:
    return Row(
        name=name, title=title, starts_from="strong", model=_ALONE, overrides=overrides, input_share=input_share,
        ours=True,
    )  # fmt: skip


STRONG = _strong("strong", "the stronger recipe on one network")
STRONG_WITHOUT = {  # by what is left out or done the plain way
    "BNNeck": _strong("strong-paper-head", "… the paper's head instead of BNNeck", "model.neck=false"),
    "Label smoothing": _strong("strong-hard-labels", "… without label smoothing", "smoothing=0.0"),
    "A metric loss": _strong("strong-softmax", "… without a metric loss", "triplet_weight=0.0"),
    "The soft margin": _strong("strong-margin", "… a margin of 0.5 instead of the soft one", "soft_margin=false"),
    "Triplets instead of circle loss": _strong(
        "strong-circle", "… circle loss instead of triplets", "metric_loss=circle"
    ),
    "Averaged weights": _strong("strong-last-weights", "… without averaged weights", "fit.average=0.0"),
    "Warm-up": _strong("strong-cold", "… without warm-up", "fit.warm_up=0"),
    "Moving, scaling, turning": _strong(
        "strong-still", "… not moved, scaled or turned", "augment.scale=0.0", "augment.shift=0.0", "augment.rotate=0.0"
    ),
    "Exposure, colour, noise": _strong(
        "strong-true-colour", "… without changes of exposure, colour and noise",
        "augment.exposure=0.0", "augment.colour=0.0", "augment.grey=0.0", "augment.noise=0.0",
    ),
    "Blur": _strong("strong-sharp", "… without blur", "augment.blur=0.0"),
    "Random erasing": _strong("strong-whole", "… without random erasing", "augment.erase=0.0"),
    "f itself, not a 512-d layer on it": _strong(
        "strong-fc512", "… a 512-d layer on f is compared (fc512)", "model.embedding=fc512"
    ),
    "Larger pictures": _strong("strong-smaller", "… pictures of three quarters of the side", input_share=0.75),
}  # fmt: skip

_TABLES = (
    Table(
        number=1, title="How views are joined",
        rows=(BASELINE_1, BASELINE_2, BILINEAR, BINARY, MULTI_VIEW, SOFTENED),
    ),
    Table(number=2, title="How many views have a branch", rows=(BASELINE_3, BASELINE_4, MVAN_ROW)),
    Table(number=3, title="Losses", rows=(SOFTMAX, TRIPLET, MVAN_ROW)),
    Table(
        number=4, title="Where the branches part, and attention",
        rows=(*(split_row(n, a) for n in (1, 2, 3) for a in _ATTENTIONS), MULTI_VIEW, split_row(4, "gam"),
              split_row(4, "lam"), MVAN_ROW, LAM_STANDARDISED, GLAM_STANDARDISED),
    ),
    Table(number=5, title="The second backbone", rows=(SECOND_BASELINE_1, SECOND_MULTI_VIEW, SECOND_MVAN)),
    Table(
        number=6, title="Parameters",
        rows=(BASELINE_1, BASELINE_2, BILINEAR, BASELINE_4, *(split_row(n, "none") for n in (1, 2, 3)), MULTI_VIEW,
              split_row(4, "gam"), split_row(4, "lam"), MVAN_ROW, SECOND_BASELINE_1, SECOND_MULTI_VIEW, SECOND_MVAN),
    ),
    Table(number=7, title="What each part of the stronger recipe is worth", rows=(STRONG, *STRONG_WITHOUT.values())),
)  # fmt: skip
COUNTED = 6  # the table that needs no training
TABLES = {table.number: table for table in _TABLES}


def chosen_tables(text: str) -> tuple[Table, ...]:
    """Tables of a comma-separated list of numbers, in order and once each; raises InvalidValue."""
    numbers = set()
    for word in text.split(","):
        if not word.strip().isdecimal() or int(word) not in TABLES:
            raise InvalidValue(f"--tables {text!r}: {word!r} is not one of {', '.join(map(str, TABLES))}")
        numbers.add(int(word))
    return tuple(TABLES[number] for number in sorted(numbers))


def needs_viewpoints(tables: tuple[Table, ...]) -> bool:
    """Whether a row that is trained has a V-Net."""
    return any(row.model.get("viewpoints") != ANY for row in trained_rows(tables))


def trained_rows(tables: tuple[Table, ...]) -> tuple[Row, ...]:
    """Rows to train, each once, in the order of the tables."""
    rows = {row.name: row for table in tables if table.number != COUNTED for row in table.rows}
    return tuple(rows.values())
