"""A contact sheet: a few vehicles of a data set, a line each, to see at a glance whether the labels can be right."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from index.crops import cut, read_picture
from index.errors import InvalidValue, PictureError, StorageError
from index.manifest import ManifestRow

_MARGIN, _CAPTION = 4, 14  # pixels
_GREY, _INK = (238, 238, 238), (30, 30, 30)
_MAX_PIXELS = 100_000_000
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def save_contact_sheet(
    rows: Sequence[ManifestRow], path: Path, *, lines: int = 12, columns: int = 8, side: int = 128, seed: int = 0
) -> None:
    """Write ``contact_sheet`` to a picture file; raises InvalidValue for an ending that is none, StorageError."""
    if path.suffix.lower() not in _ENDINGS:
        raise InvalidValue(f"{path}: a contact sheet ends in one of {', '.join(_ENDINGS)}")
    sheet = contact_sheet(rows, lines=lines, columns=columns, side=side, seed=seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def contact_sheet(rows: Sequence[ManifestRow], *, lines: int, columns: int, side: int, seed: int) -> Image.Image:
    """``lines`` vehicles (or viewpoints, where nobody is identified) drawn by the seed, ``columns`` crops of each.

    A line takes its crops from different cameras and viewpoints first. Crops keep their shape within ``side`` pixels;
    one that cannot be read is a grey field that says so. Raises InvalidValue when there are no rows.
    """
    chosen = _lines(rows, lines, columns, np.random.default_rng(seed))
    if not chosen:
        raise InvalidValue("a contact sheet needs at least one picture; the data set has none")
    width, height = side + _MARGIN, side + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, len(chosen) * height + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(10)
    for line, crops in enumerate(chosen):
        for column, row in enumerate(crops):
            left, top = _MARGIN + column * width, _MARGIN + line * height
            crop = _crop(row, side)
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=_GREY)
            if crop is None:
                draw.text((left + 6, top + side // 2), "cannot be read", fill=_INK, font=font)
            else:
                sheet.paste(crop, (left + (side - crop.width) // 2, top + (side - crop.height) // 2))
            words = filter(None, (row.vehicle_id, row.camera_id, row.viewpoint))
            draw.text((left, top + side + 1), _fitting(" ".join(words), font, side), fill=_INK, font=font)
    return sheet


def _lines(rows: Sequence[ManifestRow], lines: int, columns: int, rng: np.random.Generator) -> list[list[ManifestRow]]:
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        groups[row.vehicle_id or row.viewpoint or ""].append(row)
    names = sorted(groups)
    drawn = sorted(rng.permutation(len(names))[:lines].tolist())
    chosen = []
    for n in drawn:
        group = groups[names[n]]
        shuffled = [group[k] for k in rng.permutation(len(group))]
        times: dict[tuple[str | None, str | None], int] = defaultdict(int)
        ranked: list[tuple[int, int, ManifestRow]] = []
        for row in shuffled:  # the first of every camera and viewpoint, then the second, …
            times[row.camera_id, row.viewpoint] += 1
            ranked.append((times[row.camera_id, row.viewpoint], len(ranked), row))
        chosen.append([row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])[:columns]])
    return chosen


def _crop(row: ManifestRow, side: int) -> Image.Image | None:
    try:
        picture = read_picture(row.path.read_bytes(), max_pixels=_MAX_PIXELS)
        crop = cut(picture, row.box) if row.box else picture
    except (OSError, PictureError):
        return None
    scale = side / max(crop.size)
    return crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    return text
