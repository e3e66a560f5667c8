"""What all figures are drawn with: pictures in cells, frames with signs, words."""

from functools import cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps

from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import row_picture

Colour = tuple[int, int, int]
Frame = Literal["probe", "right", "wrong"]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 32, 38)
FAINT: Colour = (104, 112, 122)
FRAMES: dict[Frame, Colour] = {"probe": (52, 84, 140), "right": (22, 134, 62), "wrong": (198, 36, 40)}

_MOUNT: Colour = (236, 238, 241)  # behind pictures that are not square
_WIDTH = 5  # of a frame
_BADGE = 26


def thumbnail(row: ManifestRow, side: int) -> Image.Image:
    """A row's picture, as large as fits in side × side, on a mount; raises InvalidValue if it cannot be read."""
    picture = row_picture(row)
    scale = min(side / picture.width, side / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    mount = Image.new("RGB", (side, side), _MOUNT)
    mount.paste(picture.resize(size, Image.Resampling.LANCZOS), ((side - size[0]) // 2, (side - size[1]) // 2))
    return mount


def framed(picture: Image.Image, frame: Frame) -> Image.Image:
    """The picture in a coloured frame; right and wrong carry a tick or a cross too, so that colour is not all."""
    colour = FRAMES[frame]
    cell = Image.new("RGB", (picture.width + 2 * _WIDTH, picture.height + 2 * _WIDTH), colour)
    cell.paste(picture, (_WIDTH, _WIDTH))
    if frame != "probe":
        cell.paste(_badge(frame), (cell.width - _BADGE, 0))
    return cell


def cell_side(side: int) -> int:
    """Side of a framed picture of ``side``."""
    return side + 2 * _WIDTH


def write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, size: int, width: int, ink: Colour = INK
) -> None:
    """One line of text from its upper left corner; of one wider than ``width`` the end is kept, where ids differ."""
    face = font(size)
    if draw.textlength(text, face) > width:
        while text and draw.textlength("…" + text, face) > width:
            text = text[1:]
        text = "…" + text
    draw.text(at, text, fill=ink, font=face)


def mounted(picture: Image.Image, *, margin: int = 16) -> Image.Image:
    """The picture with a white margin."""
    return ImageOps.expand(picture, margin, PAPER)


def stacked(pictures: list[Image.Image], *, gap: int = 4) -> Image.Image:
    """Pictures one below the other on one sheet."""
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (max(picture.width for picture in pictures), height), PAPER)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + gap
    return sheet


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own face, so that figures look the same everywhere."""
    return ImageFont.load_default(size)


@cache
def _badge(frame: Frame) -> Image.Image:
    """A white tick or cross on the frame's colour, drawn large and scaled down for smooth edges."""
    large = Image.new("RGB", (_BADGE * 4, _BADGE * 4), FRAMES[frame])
    draw = ImageDraw.Draw(large)
    unit = _BADGE * 4 / 24
    strokes = [[(6, 13), (10, 17), (18, 7)]] if frame == "right" else [[(7, 7), (17, 17)], [(17, 7), (7, 17)]]
    for stroke in strokes:
        draw.line([(x * unit, y * unit) for x, y in stroke], fill=PAPER, width=round(2.6 * unit), joint="curve")
    return large.resize((_BADGE, _BADGE), Image.Resampling.LANCZOS)
