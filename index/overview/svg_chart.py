"""Charts as SVG for a page: counts in cells, shares as bars, distributions as steps. No library, no script, no font."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's colours, which colour-blind people tell apart
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#5f6368")

_INK, _FAINT, _LINE = "#1c2026", "#68707a", "#dcdfe4"
_LABEL = 150  # pixels for names at the left
_LETTERS = 20  # of a name that fit there
_CELL, _ROW = 33, 24
_BAR, _WIDE = 560, 900
_PALE, _DEEP = (237, 242, 248), (12, 72, 130)  # of cells


def cells(names: Sequence[str], columns: Sequence[str], counts: NDArray[np.int64]) -> str:
    """Counts (names, columns) as cells, the deeper the more, each with its number; sums at the right."""
    most = max(int(counts.max(initial=0)), 1)
    width, height = _LABEL + _CELL * len(columns) + 60, 22 + _ROW * len(names)
    parts = [
        _text(_LABEL + _CELL * (n + 0.5), 14, column, anchor="middle", colour=_FAINT)
        for n, column in enumerate(columns)
    ]  # fmt: skip
    parts.append(_text(width - 4, 14, "sum", anchor="end", colour=_FAINT))
    for row, name in enumerate(names):
        top = 22 + _ROW * row
        parts.append(_name(name, top + 16))
        for n, count in enumerate(counts[row].tolist()):
            share = (count / most) ** 0.5  # a root, so that few are told from none
            left = _LABEL + _CELL * n
            fill = _mixed(share) if count else "#f7f8fa"
            told = f"{name}, {columns[n]}: {count:,}"
            parts.append(
                f'<rect x="{left + 1}" y="{top + 1}" width="{_CELL - 2}" height="{_ROW - 2}" rx="2" fill="{fill}">'
                f"<title>{escape(told)}</title></rect>"
            )
            if count:
                parts.append(_text(left + _CELL / 2, top + 16, short(count), anchor="middle", colour=_ink(fill)))
        parts.append(_text(width - 4, top + 16, f"{int(counts[row].sum()):,}", anchor="end", colour=_FAINT))
    return _svg(width, height, parts, "images by camera and hour")


def bars(rows: Mapping[str, Mapping[str, int]], kinds: Sequence[str]) -> str:
    """Shares of ``kinds`` in each row as one bar, with their per cent."""
    parts = [_legend([(kind, COLOURS[n % len(COLOURS)]) for n, kind in enumerate(kinds)])]
    for row, (name, counts) in enumerate(rows.items()):
        top, left, total = 28 + _ROW * row, float(_LABEL), sum(counts.values())
        parts.append(_name(name, top + 16))
        for n, kind in enumerate(kinds):
            share = counts[kind] / total if total else 0.0
            told = f"{name}, {kind}: {counts[kind]:,} ({100 * share:.1f} %)"
            parts.append(
                f'<rect x="{left:.1f}" y="{top + 2}" width="{max(share * _BAR - 1, 0):.1f}" height="{_ROW - 4}" rx="2"'
                f' fill="{COLOURS[n % len(COLOURS)]}"><title>{escape(told)}</title></rect>'
            )
            if share > 0.06:
                ink = _ink(COLOURS[n % len(COLOURS)])
                told = f"{100 * share:.0f} %"
                parts.append(_text(left + share * _BAR / 2, top + 16, told, anchor="middle", colour=ink))
            left += share * _BAR
        parts.append(_text(_LABEL + _BAR + 70, top + 16, f"{total:,}", anchor="end", colour=_FAINT))
    return _svg(_LABEL + _BAR + 74, 28 + _ROW * len(rows), parts, "shares of viewpoints")


def steps(edges: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]], marks: Mapping[str, float]) -> str:
    """Distributions over bins: ``edges`` (n + 1,), shares (n,) by name; ``marks`` are distances with a word each."""
    width, height, left, top = _WIDE, 300, 56, 34
    inner, bottom = width - left - 16, height - 40
    highest = max((float(each.max(initial=0)) for each in shares.values()), default=0) or 1.0
    across, up = inner / float(edges[-1]), (bottom - top) / highest

    def x(value: float) -> float:
        return left + value * across

    parts = [_legend([(name, COLOURS[n]) for n, name in enumerate(shares)], left=left)]
    for tick in ticks(highest):
        y = bottom - tick * up
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + inner}" y2="{y:.1f}" stroke="{_LINE}"/>')
        parts.append(_text(left - 8, y + 4, f"{100 * tick:g} %", anchor="end", colour=_FAINT))
    for tick in ticks(float(edges[-1])):
        parts.append(_text(x(tick), bottom + 18, f"{tick:g}", anchor="middle", colour=_FAINT))
        parts.append(f'<line x1="{x(tick):.1f}" y1="{bottom}" x2="{x(tick):.1f}" y2="{bottom + 4}" stroke="{_FAINT}"/>')
    for n, each in enumerate(shares.values()):
        outline = [f"M{x(0):.1f} {bottom}"]
        for start, end, share in zip(edges, edges[1:], each, strict=False):
            outline.append(f"V{bottom - share * up:.1f}H{x(end):.1f}" if start or share else f"H{x(end):.1f}")
        path = " ".join([*outline, f"V{bottom}Z"])
        drawn = f'fill="{COLOURS[n]}" fill-opacity=".22" stroke="{COLOURS[n]}" stroke-width="1.6"'
        parts.append(f'<path d="{path}" {drawn}/>')
    for word, value in marks.items():
        parts.append(
            f'<line x1="{x(value):.1f}" y1="{top - 4}" x2="{x(value):.1f}" y2="{bottom}" stroke="{_INK}"'
            ' stroke-dasharray="4 3"/>'
        )
        parts.append(_text(x(value) + 5, top + 8, word, colour=_INK))
    parts.append(_text(left + inner, height - 4, "distance", anchor="end", colour=_FAINT))
    return _svg(width, height, parts, "distances")


def ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at most ``largest``, five to ten of them."""
    step = 10.0 ** math.floor(math.log10(largest))
    step = next(step / part for part in (1, 2, 5, 10) if largest / (step / part) >= 4)
    return [round(n * step, 10) for n in range(int(largest / step + 1e-9) + 1)]


def short(count: int) -> str:
    """A count that fits into a cell: 950, 9.5k, 12k, 3.4M."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.1f}{name}" if value < 9.95 else f"{value:.0f}{name}"
    return str(count)


def _legend(kinds: Sequence[tuple[str, str]], *, left: int = _LABEL) -> str:
    parts, at = [], float(left)
    for kind, colour in kinds:
        parts.append(f'<rect x="{at:.0f}" y="4" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(_text(at + 17, 15, kind, colour=_INK))
        at += 40 + 7.2 * len(kind)
    return "".join(parts)


def _name(name: str, y: float) -> str:
    shown = name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]
    return f"<g><title>{escape(name)}</title>{_text(_LABEL - 10, y, shown, anchor='end', colour=_INK)}</g>"


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _ink(colour: str) -> str:
    """What can be read on a colour."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


def _mixed(share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_PALE, _DEEP, strict=True))


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(label)}"'
        f' font-size="12">{"".join(parts)}</svg>'
    )
