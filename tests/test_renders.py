"""Rendering: names of views, what a repaint leaves alone, and that a seed means the same picture."""

from pathlib import Path

import numpy as np
import pytest

from index.errors import InvalidValue
from model_export.data_sets.renders import RenderConfig, _develop, _repaint, render_data_set, viewpoint_of


@pytest.mark.parametrize(
    ("azimuth", "name"),
    [(0, "front"), (64, "front"), (66, "side"), (90, "side"), (114, "side"), (116, "rear"), (180, "rear"), (-90, "side"),
     (270, "side"), (296, "front"), (359, "front"), (244, "rear")],
)  # fmt: skip
def test_three_quarter_views_are_front_or_rear_and_side_is_the_pure_side(azimuth: float, name: str) -> None:
    assert viewpoint_of(azimuth) == name


def test_a_repaint_changes_the_paint_and_nothing_else() -> None:
    texture = np.zeros((20, 20, 3), np.uint8)
    texture[:, :15] = (20, 60, 200)  # paint
    texture[:10, :15] = (17, 52, 172)  # paint in shade
    texture[:, 15:18] = (220, 20, 20)  # a tail lamp
    texture[:, 18:] = (240, 240, 235)  # a plate
    painted = _repaint(texture, (0.9, 0.8, 0.1)).astype(int)
    assert np.abs(painted[:, 15:] - texture[:, 15:]).max() <= 2
    lit, shaded = painted[15, 5], painted[5, 5]
    assert lit[0] > 180 > 60 > lit[2]
    assert shaded.sum() < lit.sum()


def test_developing_is_seeded() -> None:
    pixels = np.full((64, 64, 3), 120, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:50, 10:55] = True
    pictures = [_develop(pixels, mask, np.random.default_rng(seed), clean=False) for seed in (1, 1, 2)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_wrong_configurations_and_missing_meshes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="views must be at least 1, not 0"):
        RenderConfig(meshes=tmp_path, out=tmp_path, views=0)
    with pytest.raises(InvalidValue, match=r"no \.glb mesh"):
        render_data_set(RenderConfig(meshes=tmp_path, out=tmp_path / "out"))
    (tmp_path / "pg_beetle.glb").touch()
    with pytest.raises(InvalidValue, match=r"no \.glb mesh named nosuch$"):
        render_data_set(RenderConfig(meshes=tmp_path, out=tmp_path / "out", only=("pg_beetle", "nosuch")))
    with pytest.raises(InvalidValue, match=r"pg_beetle\.glb cannot be a folder for pictures: "):
        render_data_set(RenderConfig(meshes=tmp_path, out=tmp_path / "pg_beetle.glb"))


def test_a_mesh_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.glb").write_bytes(b"glTF\2\0\0\0\x40\0\0\0")
    (tmp_path / "paint.json").write_text("{}")
    with pytest.raises(InvalidValue, match=r"mesh .*broken\.glb cannot be loaded"):
        render_data_set(RenderConfig(meshes=tmp_path, out=tmp_path / "out", identities=1, views=1, processes=1))
    assert not list((tmp_path / "out").rglob("*.jpg"))
