"""Where the model looked: on a probe, on what it took for it, on what it should have taken (the paper's Fig. 5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from index.crops import model_crop
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import row_picture
from model_export.measuring.measured_model import Attention, MeasuredModel
from model_export.reporting.cases import Case
from model_export.reporting.drawing import FAINT, PAPER, Frame, cell_side, framed, mounted, write
from model_export.reporting.heat_map import heat_map

SIDE = 160
_STEP = SIDE + 8
_GROUP = cell_side(SIDE) + 2 * _STEP + 34
_TOP = 26


@dataclass(frozen=True, kw_only=True)
class Look:
    """One picture as the model saw it: ``crop`` uint8 (H, W, 3), its maps (h, w), its viewpoint in words."""

    what: str
    frame: Frame
    crop: NDArray[np.uint8]
    globally: NDArray[np.float32]
    locally: NDArray[np.float32]
    viewpoint: str


def looks(model: MeasuredModel, case: Case) -> list[Look]:
    """The probe, its first wrong and its first right match; empty where the model does not tell its attention."""
    ranking = case.ranking
    chosen: list[tuple[str, Frame, ManifestRow]] = [("probe", "probe", case.probe)]
    if ranking.first_wrong:
        chosen.append((f"first wrong, rank {ranking.first_wrong.place}", "wrong", ranking.first_wrong.row))
    chosen.append((f"first right, rank {ranking.first_right.place}", "right", ranking.first_right.row))
    crops = np.stack([model_crop(row_picture(row), model.resize) for _, _, row in chosen])
    attention: Attention | None = model.attention(crops)
    if attention is None:
        return []
    views = model.see(crops).viewpoint
    return [
        Look(
            what=what, frame=frame, crop=crops[n], globally=attention.globally[n], locally=attention.locally[n],
            viewpoint="" if views is None else _in_words(views[n], model.viewpoints),
        )
        for n, (what, frame, _) in enumerate(chosen)
    ]  # fmt: skip


def attention_sheet(seen: list[Look]) -> Image.Image:
    """RGB picture: for each look the crop, the global map and the local one."""
    sheet = Image.new("RGB", (_GROUP * len(seen) - 34, _TOP + cell_side(SIDE) + 24), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, look in enumerate(seen):
        left = number * _GROUP
        heading = look.what + (f": {look.viewpoint}" if look.viewpoint else "")
        write(draw, (left, 2), heading, size=16, width=_GROUP - 40)
        picture = Image.fromarray(look.crop).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(framed(picture, look.frame), (left, _TOP))
        left += cell_side(SIDE) + 8
        for word, heat in ((global_range(look), look.globally), ("local", look.locally)):
            sheet.paste(heat_map(look.crop, heat, SIDE), (left, _TOP + (cell_side(SIDE) - SIDE) // 2))
            write(draw, (left, _TOP + cell_side(SIDE) + 3), word, size=14, width=SIDE, ink=FAINT)
            left += _STEP
    return mounted(sheet)


def global_range(look: Look) -> str:
    """The global map's lowest and highest value: heat shows where it is highest, this whether it matters."""
    return f"global {look.globally.min():.2f} to {look.globally.max():.2f}"


def _in_words(probabilities: NDArray[np.float32], viewpoints: tuple[str, ...]) -> str:
    best = int(probabilities.argmax())
    return f"{viewpoints[best]} {probabilities[best]:.0%}"
