"""The contact sheet: whose pictures, where, and what it says of those that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.errors import InvalidValue, StorageError
from index.manifest import ManifestRow
from model_export.data_sets.contact_sheet import contact_sheet, save_contact_sheet


def row(
    folder: Path, colour: tuple[int, int, int], vehicle: str | None, camera: str, view: str = "front"
) -> ManifestRow:
    path = folder / f"{vehicle}-{camera}-{view}-{len(list(folder.iterdir()))}.png"
    Image.new("RGB", (40, 20), colour).save(path)
    return ManifestRow(line=1, path=path, vehicle_id=vehicle, camera_id=camera, viewpoint=view)


def fields(sheet: Image.Image, lines: int, columns: int, side: int) -> list[list[tuple[int, ...]]]:
    """Colour in the middle of each field."""
    pixels = np.asarray(sheet)
    return [
        [tuple(map(int, pixels[4 + line * (side + 18) + side // 2, 4 + column * (side + 4) + side // 2])) for column in range(columns)]
        for line in range(lines)
    ]  # fmt: skip


def test_a_line_is_a_vehicle_and_other_cameras_come_first(tmp_path: Path) -> None:
    red, green, blue = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    rows = [
        *(row(tmp_path, red, "a", "c1") for _ in range(9)),
        row(tmp_path, green, "a", "c2"),
        row(tmp_path, blue, "b", "c1"),
    ]
    for seed in range(5):
        sheet = contact_sheet(rows, lines=4, columns=2, side=64, seed=seed)
        assert sheet.size == (2 * 68 + 4, 2 * 82 + 4)
        first, second = fields(sheet, 2, 2, 64)
        assert set(first) == {red, green}
        assert second == [blue, (255, 255, 255)]


def test_crops_keep_their_shape_and_boxes_are_cut(tmp_path: Path) -> None:
    whole = row(tmp_path, (250, 0, 0), "a", "c1")
    sheet = np.asarray(contact_sheet([whole], lines=1, columns=1, side=64, seed=0))
    assert tuple(sheet[4 + 2, 4 + 32]) == (238, 238, 238)  # twice as wide as high: grey above and below
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = (0, 250, 0)
    Image.fromarray(pixels).save(whole.path)
    boxed = ManifestRow(line=1, path=whole.path, vehicle_id="a", camera_id="c1", box=(20, 0, 20, 20))
    sheet = np.asarray(contact_sheet([boxed], lines=1, columns=1, side=64, seed=0))
    assert (sheet[4:68, 4:68] == (0, 250, 0)).all()


def test_without_vehicles_a_line_is_a_viewpoint(tmp_path: Path) -> None:
    rows = [row(tmp_path, (250, 0, 0), None, "c1", "front"), row(tmp_path, (0, 250, 0), None, "c1", "rear")]
    sheet = contact_sheet(rows, lines=9, columns=1, side=64, seed=0)
    assert fields(sheet, 2, 1, 64) == [[(250, 0, 0)], [(0, 250, 0)]]


def test_a_picture_that_cannot_be_read_does_not_spoil_the_sheet(tmp_path: Path) -> None:
    rows = [row(tmp_path, (250, 0, 0), "a", "c1"), row(tmp_path, (0, 250, 0), "b", "c1")]
    rows[0].path.write_bytes(b"broken")
    sheet = np.asarray(contact_sheet(rows, lines=2, columns=1, side=64, seed=0))
    field = sheet[4:68, 4:68]
    assert tuple(field[2, 2]) == (238, 238, 238)
    assert (field < 100).all(axis=2).any()  # words


def test_files_that_cannot_be_and_no_pictures(tmp_path: Path) -> None:
    rows = [row(tmp_path, (250, 0, 0), "a", "c1")]
    with pytest.raises(InvalidValue, match=r"a contact sheet ends in one of \.jpg"):
        save_contact_sheet(rows, tmp_path / "sheet.pdf")
    with pytest.raises(InvalidValue, match="needs at least one picture"):
        save_contact_sheet([], tmp_path / "sheet.jpg")
    with pytest.raises(StorageError, match="cannot be written"):
        save_contact_sheet(rows, rows[0].path / "sheet.jpg")
    save_contact_sheet(rows, tmp_path / "new" / "sheet.jpg")
    with Image.open(tmp_path / "new" / "sheet.jpg") as picture:
        assert picture.format == "JPEG"
