"""Frames, thumbnails and words."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from index.manifest import ManifestRow
from model_export.reporting.drawing import FRAMES, PAPER, font, framed, mounted, stacked, thumbnail, write


def test_right_and_wrong_differ_by_more_than_colour() -> None:
    cell = Image.new("RGB", (80, 80), (90, 90, 90))
    right, wrong = framed(cell, "right"), framed(cell, "wrong")
    assert right.getpixel((0, 40)) == FRAMES["right"]
    assert wrong.getpixel((0, 40)) == FRAMES["wrong"]
    signs = [np.asarray(picture)[:26, -26:].min(2) > 200 for picture in (right, wrong)]  # where the badge is white
    assert all(sign.sum() > 40 for sign in signs)
    assert (signs[0] != signs[1]).sum() > 40
    assert not (np.asarray(framed(cell, "probe"))[:26, -26:].min(2) > 200).any()


def test_a_thumbnail_keeps_the_aspect_ratio_and_the_box(tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 100), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 50, 100))
    picture.save(tmp_path / "a.png")
    row = ManifestRow(line=2, path=tmp_path / "a.png", vehicle_id="v", camera_id="c", box=(0, 0, 50, 100))
    pixels = np.asarray(thumbnail(row, 64))
    assert pixels.shape == (64, 64, 3)
    red = (pixels == (255, 0, 0)).all(2)
    assert (red.any(0).sum(), red.any(1).sum()) == (32, 64)
    assert not (pixels == (0, 0, 255)).all(2).any()


def test_long_words_are_cut_to_their_end() -> None:
    def ink(text: str) -> int:
        sheet = Image.new("RGB", (400, 30), PAPER)
        write(ImageDraw.Draw(sheet), (0, 0), text, size=14, width=90)
        return int(np.flatnonzero((np.asarray(sheet) < 128).any((0, 2))).max())

    assert font(14).getlength("a" * 60) > 300
    assert ink("a" * 60) <= 90
    assert ink("ab") < 30


def test_sheets_are_white_between_pictures() -> None:
    sheet = stacked([Image.new("RGB", (20, 10)), mounted(Image.new("RGB", (10, 10)), margin=3)], gap=4)
    assert sheet.size == (20, 10 + 4 + 16)
    assert sheet.getpixel((5, 12)) == sheet.getpixel((1, 15)) == PAPER
    assert sheet.getpixel((4, 18)) == (0, 0, 0)
