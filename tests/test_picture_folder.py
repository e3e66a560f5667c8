"""A folder's pictures, listed once."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.picture_folder import PictureFolder


def test_pictures_are_found_whatever_the_case_of_their_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "B.JPG", "c.txt", "d.png"):
        (tmp_path / name).touch()
    folder = PictureFolder(tmp_path)
    assert folder.names == {"a.jpg", "B.JPG", "d.png"}
    assert (folder.find("a.jpg"), folder.find("b.jpg"), folder.find("c.txt")) == ("a.jpg", "B.JPG", None)
    assert folder.others(["a.jpg"]) == ["B.JPG", "d.png"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"nowhere cannot be listed: No such file"):
        PictureFolder(tmp_path / "nowhere")
