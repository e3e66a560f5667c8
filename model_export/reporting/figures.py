"""A model's rankings and attention as pictures: the failures first, as PNG files and as one page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet
from model_export.measuring.evaluation import summarize
from model_export.measuring.measured_model import MeasuredModel, see_rows
from model_export.measuring.protocols import plan
from model_export.reporting.attention_sheet import attention_sheet, looks
from model_export.reporting.cases import worst_cases
from model_export.reporting.drawing import stacked
from model_export.reporting.figures_page import figures_page
from model_export.reporting.ranking_sheet import ranking_sheet

_ON_A_SHEET = 6  # cases of rankings.png and attention.png


def draw_figures(
    model: MeasuredModel, data: DataSet, out: Path, *, baseline: MeasuredModel | None = None, count: int = 20,
    part: str = "", seed: int = 0, progress: bool = True,
) -> Path:  # fmt: skip
    """Write ``index.html``, ``rankings.png``, ``attention.png`` and a PNG for each case below ``out``; the page's path.

    ``count`` probes are shown, the most wrong first; ``part`` and ``seed`` as in :func:`.protocols.plan`. Raises
    InvalidValue where ``out`` holds anything, where nothing can be ranked, or a picture cannot be read.
    """
    if count < 1:
        raise InvalidValue(f"--count must be at least 1, not {count}")
    _require_empty(out)
    planned = plan(data, part=part, seed=seed)
    vectors: dict[str, NDArray[np.float32]] = {model.name: see_rows(model, planned.rows, progress=progress).embedding}
    if baseline:
        vectors[_other_name(baseline, vectors)] = see_rows(baseline, planned.rows, progress=progress).embedding
    cases, scores = worst_cases(planned, vectors, count=count, progress=progress)
    seen = []
    sheets: dict[str, list[Image.Image]] = {"ranking": [], "attention": []}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(tqdm(cases, unit="cases", desc="draw", disable=not progress), 1):
            seen.append(looks(model, case))
            drawn = {"ranking": ranking_sheet(case)}
            if seen[-1]:
                drawn["attention"] = attention_sheet(seen[-1])
            for kind, picture in drawn.items():
                picture.save(out / f"{kind}-{number:03}.png")
                if number <= _ON_A_SHEET:
                    sheets[kind].append(picture)
        for name, pictures in (("rankings", sheets["ranking"]), ("attention", sheets["attention"])):
            if pictures:
                stacked(pictures).save(out / f"{name}.png")
        heading = f"{model.name} on {planned.data_set}"
        words = f"{model.name} ({model.fingerprint[:12]}), {planned.protocol}\n{summarize([scores], seed=seed)}"
        page = out / "index.html"
        page.write_text(figures_page(heading, words, cases, seen), encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"figures cannot be written to {out}: {error.strerror}; give another --out") from error
    return page


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidValue(f"--out {out} exists and is not an empty folder; give another, or empty it")


def _other_name(model: MeasuredModel, taken: Mapping[str, object]) -> str:
    return f"{model.name} ({model.fingerprint[:8]})" if model.name in taken else model.name
