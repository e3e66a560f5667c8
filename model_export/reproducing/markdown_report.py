"""The tables as one Markdown file: ours beside the paper's, what each row cost, and what becomes of its claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_export.reproducing.budgets import BUDGETS, Budget
from model_export.reproducing.claims import CLAIMS, OUR_CLAIMS, Claim, judge
from model_export.reproducing.experiment_data import ExperimentData
from model_export.reproducing.paper_figures import UNKNOWN, PaperFigures
from model_export.reproducing.parameter_count import count_parameters
from model_export.reproducing.row_run import RowResult, VNetResult
from model_export.reproducing.tables import COUNTED, Row, Table

NOT_FOUND = "not found"

_PURPOSE = {
    "small": "Networks in miniature, trained for seconds: this shows that every row runs, and says nothing about which "
    "system is better.",
    "medium": "Not the paper's backbones, data or recipe: the same comparison on a lighter network.",
    "full": "The paper's recipe.",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is written; rows without a result yet are told as such."""

    budget: Budget
    data: ExperimentData
    tables: Sequence[Table]
    results: Mapping[str, RowResult]
    vnet: VNetResult | None
    paper: Mapping[str, PaperFigures]  # by row
    seed: int

    def __str__(self) -> str:
        lines = ["# The tables of MVAN", "", *self._head()]
        for table in self.tables:
            lines += ["", f"## {table.number}. {table.title}", ""]
            lines += self._counted(table) if table.number == COUNTED else self._measured(table)
        lines += self._verdicts("What the paper claims, and what these rows say", "claim", CLAIMS)
        lines += self._verdicts("What we add, and what it is worth here", "what helps", OUR_CLAIMS)
        return "\n".join(lines) + "\n"

    def _head(self) -> list[str]:
        first, second, strong = (self._backbone(which) for which in ("first", "second", "strong"))
        lines = [
            f"Budget {self.budget.name}. {_PURPOSE[self.budget.name]}",
            "",
            f"- first backbone {first}, second backbone {second}, the stronger recipe's {strong}; conv1 … conv4 in "
            "titles stand for the stages that end at strides 2, 4, 8 and 16",
            f"- {self.data.what}",
            f"- seed {self.seed}: every figure is of one training; intervals are over what was tested, not over seeds",
        ]
        if self.vnet:
            mean = self.vnet.metrics.get("mean")
            right = (
                "nothing held out to measure it on" if mean is None else f"names {mean:.1%} of held-out pictures right"
            )
            lines.append(f"- V-Net from {self.data.vnet_spec}: {right}, trained in {duration(self.vnet.seconds)}")
        if not self.paper:
            lines.append("- the paper's figures were not found in public text; see `--paper`")
        return lines

    def _backbone(self, which: str) -> str:
        rows = [row for table in self.tables for row in table.rows if row.starts_from == which]
        return (
            self.budget.training(rows[0], viewpoints=self.data.viewpoints).model.backbone if rows else "not asked for"
        )

    def _measured(self, table: Table) -> list[str]:
        lines = [
            "| system | rank-1 | rank-5 | mAP | 95 % of mAP | paper: rank-1 | paper: mAP | seed | time |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in table.rows:
            paper, result = self._paper(row), self.results.get(row.name)
            theirs = ("", "") if row.ours else (percent(paper.rank_1), percent(paper.map))
            told = ["not trained", "", "", ""] if result is None else _cells(result)
            lines.append(f"| {' | '.join((row.title, *told, *theirs, str(self.seed), _time(result)))} |")
        return lines

    def _counted(self, table: Table) -> list[str]:
        lines = [
            "Numbers that training sets, without the identity head; counted, not trained. The paper's networks are "
            "VGG16 and ResNet50 under its V-Net.", "",
            "| system | M-Net here | V-Net here | embedding here | the paper's M-Net, ours | its V-Net | its embedding "
            "| as printed in the paper |",
            "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for row in table.rows:
            theirs = self._paper(row).parameters
            counts = [self._count(budget, row) for budget in (self.budget, BUDGETS["full"])]
            cells = (row.title, *counts[0], *counts[1], NOT_FOUND if theirs is None else f"{theirs:,}")
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    def _count(self, budget: Budget, row: Row) -> tuple[str, str, str]:
        counted = count_parameters(budget.training(row, viewpoints=self.data.viewpoints).model)
        return f"{counted.mnet:,}", f"{counted.vnet:,}" if counted.vnet else "none", f"{counted.embedding_dim}"

    def _paper(self, row: Row) -> PaperFigures:
        return self.paper.get(row.name, UNKNOWN)

    def _verdicts(self, title: str, column: str, claims: Sequence[Claim]) -> list[str]:
        verdicts = judge(claims, self.results, seed=self.seed) if self.budget.judged else []
        if not verdicts:
            return []
        lines = [
            "", f"## {title}", "",
            "Difference in mAP on the same probes, 95 % interval by drawing whole vehicles again. One training a row: "
            "a second seed moves figures too, which these intervals do not know.", "",
            f"| {column} | difference | 95 % | verdict |", "|---|---|---|---|",
        ]  # fmt: skip
        for verdict in verdicts:
            points = [f"{100 * value:+.1f}" for value in (verdict.difference, verdict.low, verdict.high)]
            lines.append(f"| {verdict.claim.text} | {points[0]} | {points[1]} … {points[2]} | {verdict.word} |")
        return lines


def percent(share: float | None) -> str:
    """A fraction as the tables print it."""
    return NOT_FOUND if share is None else f"{100 * share:.1f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _cells(result: RowResult) -> list[str]:
    figures = result.figures
    low, high = figures["map_interval"]
    return [*(percent(figures[name]) for name in ("rank_1", "rank_5", "map")), f"{percent(low)}–{percent(high)}"]


def _time(result: RowResult | None) -> str:
    if result is None:
        return ""
    again = "" if result.taken_up_at is None else f" (from iteration {result.taken_up_at} on)"
    return duration(result.seconds) + again
