"""All rows of the chosen tables, one after another, and the report after each; what is finished is not done again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from index.errors import ModelError
from index.whole_file import write_whole
from model_export.reproducing.budgets import Budget
from model_export.reproducing.experiment_data import ExperimentData
from model_export.reproducing.markdown_report import Report, duration
from model_export.reproducing.paper_figures import PaperFigures
from model_export.reproducing.row_run import RowResult, VNetResult, run_row, run_vnet
from model_export.reproducing.tables import Row, Table, needs_viewpoints, trained_rows
from model_export.training.mnet_training import Training
from model_export.training.vnet_training import VNetTraining

Config = TypeVar("Config", Training, VNetTraining)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Trains and measures into ``out``: ``vnet/``, ``rows/NAME/`` and ``tables.md``."""

    budget: Budget
    data: ExperimentData
    tables: tuple[Table, ...]
    out: Path
    paper: Mapping[str, Mapping[str, PaperFigures]]  # by data set and row
    seed: int = 0
    quiet: bool = False  # no progress bars, only the lines that are told

    def run(self, tell: Callable[[str], None]) -> Path:
        """Everything that is missing; ``tell`` gets a line a row. Returns the report's path.

        Raises InvalidValue or ModelError; what was finished until then is kept.
        """
        began = time.monotonic()
        tables = tuple(replace(table, rows=self._sensible(table)) for table in self.tables)
        rows = trained_rows(tables)
        configs = {  # all of them now, so that a wrong key is told before hours of training
            row.name: self._seeded(self.budget.training(row, viewpoints=self.data.viewpoints)) for row in rows
        }
        results: dict[str, RowResult] = {}
        path = self._write(tables, results, None)
        if not rows:
            return path
        vnet, config = None, self._seeded(self.budget.vnet_training(viewpoints=self.data.viewpoints))
        if needs_viewpoints(tables):
            vnet = run_vnet(config, self.data, self.out / "vnet", quiet=self.quiet)
            tell(f"V-Net: {self._vnet_line(vnet)}")
        for number, row in enumerate(rows, start=1):
            results[row.name] = run_row(
                configs[row.name], self.data, self.out / "rows" / row.name, vnet=vnet, quiet=self.quiet
            )
            tell(f"[{number:2}/{len(rows)}] {self._row_line(row, results[row.name])}")
            path = self._write(tables, results, vnet)
        tell(f"{path}: {len(rows)} rows trained, {duration(time.monotonic() - began)} this time")
        return path

    def _sensible(self, table: Table) -> tuple[Row, ...]:
        """Rows that keep all views are MVAN itself, where a data set has only two."""
        return tuple(row for row in table.rows if row.kept < len(self.data.viewpoints))

    def _seeded(self, config: Config) -> Config:
        return replace(config, fit=replace(config.fit, seed=self.seed))

    def _write(self, tables: tuple[Table, ...], results: Mapping[str, RowResult], vnet: VNetResult | None) -> Path:
        paper = self.paper.get("vehicleid" if self.data.plan.protocol == "vehicleid" else "veri776", {})
        report = Report(
            budget=self.budget, data=self.data, tables=tables, results=results, vnet=vnet, paper=paper, seed=self.seed
        )
        path = self.out / "tables.md"
        try:
            write_whole(path, str(report))
        except OSError as error:
            raise ModelError(f"{path} cannot be written: {error.strerror}; give another --out") from error
        return path

    @staticmethod
    def _row_line(row: Row, result: RowResult) -> str:
        figures = result.figures
        done = "finished before" if result.kept else f"in {duration(result.seconds)}"
        return f"{row.title}: rank-1 {figures['rank_1']:.1%}, mAP {figures['map']:.1%}, {done}"

    @staticmethod
    def _vnet_line(vnet: VNetResult) -> str:
        mean = vnet.metrics.get("mean")
        right = "nothing held out" if mean is None else f"{mean:.1%} of held-out viewpoints right"
        return f"{right}, {'finished before' if vnet.kept else f'in {duration(vnet.seconds)}'}"
