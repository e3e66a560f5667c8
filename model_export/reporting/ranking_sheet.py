"""A probe and what was ranked for it, after the paper's Fig. 6: right framed green, wrong red, the baseline above."""

from PIL import Image, ImageDraw

from index.manifest import ManifestRow
from model_export.reporting.cases import TOP, Case, Match, Ranking
from model_export.reporting.drawing import FAINT, INK, PAPER, cell_side, framed, mounted, thumbnail, write

SIDE = 128  # of a picture in pixels
_STEP = cell_side(SIDE) + 8
_CAPTION = 52
_ROW = cell_side(SIDE) + _CAPTION + 20
_LEFT = _STEP + 20  # where rankings begin
_BEYOND = 26  # before a first right match that stands farther down
_TITLE = 30
_WIDTH = _LEFT + (TOP + 1) * _STEP + _BEYOND


def ranking_sheet(case: Case) -> Image.Image:
    """RGB picture of one case, about 1,800 pixels wide; raises InvalidValue for a picture that cannot be read."""
    rankings = [case.baseline, case.ranking] if case.baseline else [case.ranking]
    sheet = Image.new("RGB", (_WIDTH, _TITLE + len(rankings) * (_ROW + 22)), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (0, 2), title(case), size=18, width=_WIDTH)
    top = _TITLE
    probe_top = _TITLE + 22 + (len(rankings) - 1) * (_ROW + 22)  # beside the model's own row
    sheet.paste(framed(thumbnail(case.probe, SIDE), "probe"), (0, probe_top))
    write(draw, (2, probe_top + cell_side(SIDE) + 4), "probe", size=14, width=_STEP - 8)
    _write_names(draw, case.probe, 2, probe_top + cell_side(SIDE) + 21)
    for ranking in rankings:
        word = "baseline " if ranking is case.baseline else ""
        write(draw, (_LEFT, top), word + ranking.model, size=15, width=_WIDTH - _LEFT, ink=INK)
        _draw_ranking(sheet, ranking, top + 22)
        top += _ROW + 22
    return mounted(sheet)


def title(case: Case) -> str:
    """One line that says how wrong the model is."""
    ranking = case.ranking
    verdict = f"first right match at rank {ranking.first_right.place}" if ranking.failed else "right at rank 1"
    if ranking.first_wrong is None:
        return f"{verdict}, nothing wrong in the gallery"
    side = "behind" if ranking.gap >= 0 else "ahead of"
    return f"{verdict}, {abs(ranking.gap):.3f} {side} the first wrong one"


def _draw_ranking(sheet: Image.Image, ranking: Ranking, top: int) -> None:
    for number, match in enumerate(ranking.matches):
        _draw_match(sheet, match, _LEFT + number * _STEP, top)
    if ranking.first_right.place > TOP:
        left = _LEFT + TOP * _STEP + _BEYOND
        draw = ImageDraw.Draw(sheet)
        for dot in (-1, 0, 1):
            x, y = left - _BEYOND // 2 - 4 + dot * 7, top + cell_side(SIDE) // 2
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=FAINT)
        _draw_match(sheet, ranking.first_right, left, top)


def _draw_match(sheet: Image.Image, match: Match, left: int, top: int) -> None:
    sheet.paste(framed(thumbnail(match.row, SIDE), "right" if match.right else "wrong"), (left, top))
    draw = ImageDraw.Draw(sheet)
    below = top + cell_side(SIDE) + 4
    write(draw, (left + 2, below), f"{match.place}   d {match.distance:.3f}", size=14, width=_STEP - 8)
    _write_names(draw, match.row, left + 2, below + 17)


def _write_names(draw: ImageDraw.ImageDraw, row: ManifestRow, left: int, top: int) -> None:
    write(draw, (left, top), row.vehicle_id or "", size=13, width=_STEP - 12, ink=FAINT)
    write(draw, (left, top + 15), row.camera_id or "", size=13, width=_STEP - 12, ink=FAINT)
