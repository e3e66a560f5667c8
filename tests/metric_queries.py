"""PromQL of the dashboard and the alerts, taken apart by a parser."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser as promql
import yaml

FOLDER: Final = Path("docker/monitoring")
DASHBOARD: Final = FOLDER / "grafana/dashboards/vehicle-search.json"
ALERTS: Final = FOLDER / "alerts.yml"
_VARIABLES: Final = {"$__rate_interval": "1m", "$instance": ".*"}  # what Grafana puts in


@dataclass(frozen=True)
class Query:
    """An expression, who asks it, and the labels that its text or legend shows of the answer."""

    where: str
    expression: str
    shown: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True)
class Selector:
    """A metric that is asked for, and by what: operator and value of each label."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard but the rows."""
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def plain(expression: str) -> str:
    """As Prometheus is asked."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def queries() -> list[Query]:
    """Every expression of the dashboard and the alerts."""
    found = [
        Query(panel["title"], plain(target["expr"]), frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])))
        for panel in panels()
        for target in panel["targets"]
    ]
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found += [Query(each["name"], plain(each["expr"])) for each in document["annotations"]["list"]]
    found += [
        Query(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])))
        for rule in rules()
    ]
    return found


def nodes(expression: str) -> Iterator[promql.Expr]:
    """The parts of an expression, itself first; raises ValueError where it is no PromQL."""
    found: list[promql.Expr] = []

    def visit(node: promql.Expr) -> None:
        found.append(node)
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)

    promql.walk(promql.parse(expression), visit)
    yield from found


def selectors(expression: str) -> list[Selector]:
    """Which metrics an expression asks for."""
    return [
        Selector(node.name, tuple((each.name, str(each.op), each.value) for each in node.matchers.matchers))
        for node in nodes(expression)
        if isinstance(node, promql.VectorSelector) and node.name is not None
    ]


def joined_labels(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Labels of ``by``, ``without``, ``on``, ``ignoring`` and ``group_left``, and the metrics below that have them."""
    for node in nodes(expression):
        if isinstance(node, promql.AggregateExpr | promql.BinaryExpr):
            below = {each.metric for each in selectors(node.prettify())}
            for label in re.findall(r"\w+", " ".join(_label_lists(str(node.modifier or "")))):
                yield label, below


def _label_lists(modifier: str) -> list[str]:
    return re.findall(r"(?:by|without|on|ignoring|group_left|group_right) \(([^)]*)\)", modifier)
