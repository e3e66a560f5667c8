"""Render a data set from vehicle meshes: any number of identities, every viewpoint exact.

A mesh becomes many vehicles: paint, trim, glass, roof load, stripes and the light differ per identity. Each picture
has a camera of its own (elevation, lens, exposure, blur, compression), so that the same vehicle is seen from sides
that real data sets rarely pair. Lamps, grille and plates keep their own colours: they tell front from rear.

The meshes are GLB files, Y up, front = +Z, beside a ``paint.json`` that names the parts carrying body paint.
"""

import colorsys
import csv
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from index.errors import InvalidValue

_MASK = (1.0, 0.0, 1.0)  # the plotter's background, replaced by a road
_SIDE_HALF_WIDTH = 25.0  # degrees around 90 and 270 that count as the pure side
_SUPERSAMPLING = 2


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """What is rendered. The same configuration gives the same pictures, whatever the number of processes."""

    meshes: Path  # folder of GLB files and paint.json
    out: Path  # receives images/ and manifest.csv
    identities: int = 300  # vehicles in all, spread evenly over the meshes
    views: int = 10  # pictures of each
    size: int = 224  # longest side of the picture before cropping, in pixels
    seed: int = 0
    processes: int = 2
    clean: bool = False  # daylight, sharp, mild compression: for pictures that people look at
    only: tuple[str, ...] = ()  # mesh names; empty: all

    def __post_init__(self) -> None:
        for name in ("identities", "views", "size", "processes"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} must be at least 1, not {getattr(self, name)}")


def viewpoint_of(azimuth: float) -> str:
    """Name of the view at ``azimuth`` degrees (0 front, 90 left, 180 rear): three-quarter views are front or rear."""
    angle = abs((azimuth + 180.0) % 360.0 - 180.0)
    if abs(angle - 90.0) <= _SIDE_HALF_WIDTH:
        return "side"
    return "front" if angle < 90.0 else "rear"


def render_data_set(config: RenderConfig) -> Path:
    """Render everything and write ``manifest.csv``; returns its path.

    Raises InvalidValue where meshes are missing or do not load, and where ``out`` cannot be a folder.
    """
    meshes = {path.stem: path for path in sorted(config.meshes.glob("*.glb"))}
    missing = [name for name in config.only if name not in meshes]
    if not meshes or missing:
        raise InvalidValue(f"{config.meshes} holds no .glb mesh{' named ' + ', '.join(missing) if missing else ''}")
    paths = [path for name, path in meshes.items() if not config.only or name in config.only]
    try:
        (config.out / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValue(f"{config.out} cannot be a folder for pictures: {error.strerror}") from error
    jobs = [(config, path, list(range(n, config.identities, len(paths)))) for n, path in enumerate(paths)]
    jobs = [job for job in jobs if job[2]]
    rows: list[dict[str, Any]] = []
    with (
        multiprocessing.get_context("spawn").Pool(config.processes) as pool,
        tqdm(total=config.identities * config.views, unit="pictures", desc="render") as progress,
    ):
        for batch in pool.imap_unordered(_render_mesh, jobs):
            rows += batch
            progress.update(len(batch))
    rows.sort(key=lambda row: row["path"])
    manifest = config.out / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def _render_mesh(job: tuple[RenderConfig, Path, list[int]]) -> list[dict[str, Any]]:
    config, path, identities = job
    studio = _Studio(path, config.size * _SUPERSAMPLING)
    rows = []
    for identity in identities:
        look = np.random.default_rng((config.seed, identity))
        studio.dress(look)
        offset = look.uniform(0, 360)
        for view in range(config.views):
            rng = np.random.default_rng((config.seed, identity, view))
            azimuth = (offset + 360.0 * view / config.views + rng.uniform(-12, 12)) % 360.0
            elevation = float(rng.uniform(4, 45) if not config.clean else rng.uniform(8, 24))
            picture, mask = studio.shot(azimuth, elevation, fov=float(rng.uniform(14, 42)), rng=rng)
            data = _develop(picture, mask, rng, clean=config.clean)
            name = f"images/v{identity:04d}_{view:02d}.jpg"
            (config.out / name).write_bytes(data)
            rows.append(
                {
                    "path": name,
                    "vehicle_id": f"v{identity:04d}",
                    "camera_id": f"r{view:02d}",
                    "viewpoint": viewpoint_of(azimuth),
                    "mesh": path.stem,
                    "azimuth": f"{azimuth:.1f}",
                    "elevation": f"{elevation:.1f}",
                }
            )
    return rows


class _Studio:
    """One mesh in a plotter without a screen; dressed as an identity, photographed from anywhere."""

    def __init__(self, path: Path, size: int) -> None:
        os.environ.update(DISPLAY="", LP_NUM_THREADS="1")  # no screen; one core a process
        import pyvista  # here, so that only rendering needs it
        from vtkmodules.vtkCommonCore import vtkLogger

        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
        self._size = size
        self._plotter = pyvista.Plotter(off_screen=True, window_size=(size, size), lighting="none")
        self._plotter.import_gltf(str(path))
        self._plotter.background_color = _MASK
        self._plotter.render_window.SetMultiSamples(0)
        self._actors = list(self._plotter.renderer.actors.values())
        if not self._actors:  # the importer only logs what is wrong
            raise InvalidValue(f"mesh {path} cannot be loaded: it is damaged or empty; mend it or leave it out")
        self._painted = set(json.loads((path.parent / "paint.json").read_text()).get(path.stem, []))
        self._colours = [actor.GetProperty().GetColor() for actor in self._actors]
        self._textures = [_texture_pixels(actor) for actor in self._actors]
        bounds = np.array(self._plotter.bounds)
        self._low, self._high = bounds[::2], bounds[1::2]
        self._sun = pyvista.Light(intensity=1.4)
        self._sun.positional = False
        self._sky = pyvista.Light(intensity=0.5)
        self._sky.positional = False
        self._plotter.add_light(self._sun)
        self._plotter.add_light(self._sky)
        self._extras: list[Any] = []

    def dress(self, look: np.random.Generator) -> None:
        """Give the mesh the paint, trim and load of one identity."""
        paint = _paint_colour(look)
        for number, actor in enumerate(self._actors):
            prop = actor.GetProperty()
            pixels = self._textures[number]
            if pixels is not None:
                if number in self._painted:
                    pixels = _repaint(pixels, paint)
                _set_texture(actor, _decal(pixels, look) if number in self._painted else pixels)
            elif number in self._painted:
                prop.SetColor(*paint)
            else:
                trim = np.clip(np.array(self._colours[number]) * look.uniform(0.75, 1.2), 0, 1)
                prop.SetColor(*trim)
        for extra in self._extras:
            self._plotter.remove_actor(extra, render=False)
        self._extras = list(self._load(look))

    def _load(self, look: np.random.Generator) -> Iterator[Any]:
        """Roof boxes, racks and stripes: what tells two vehicles of one make and colour apart."""
        import pyvista

        low, high = self._low, self._high
        width, height, length = high - low
        if look.random() < 0.3:  # a roof box or a pile of cargo
            half = np.array(
                [width * look.uniform(0.12, 0.36), height * look.uniform(0.03, 0.1), length * look.uniform(0.08, 0.22)]
            )
            centre = np.array(
                [
                    (low[0] + high[0]) / 2,
                    high[1] + half[1] * 0.8,
                    (low[2] + high[2]) / 2 - length * look.uniform(0, 0.12),
                ]
            )
            box = pyvista.Box(bounds=np.stack([centre - half, centre + half], 1).ravel())
            yield self._plotter.add_mesh(box, color=_paint_colour(look), render=False)
        if look.random() < 0.2:  # bars of a rack
            for at in (0.42, 0.58):
                z = low[2] + length * at
                bar = pyvista.Box(
                    bounds=(
                        low[0] + width * 0.15,
                        high[0] - width * 0.15,
                        high[1],
                        high[1] + height * 0.03,
                        z,
                        z + length * 0.015,
                    )
                )
                yield self._plotter.add_mesh(bar, color=(0.1, 0.1, 0.1), render=False)

    def shot(
        self, azimuth: float, elevation: float, *, fov: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Picture uint8 (S, S, 3) and vehicle mask (S, S) from ``azimuth``, ``elevation`` in degrees."""
        import vtk
        from vtkmodules.util.numpy_support import vtk_to_numpy

        centre = (self._low + self._high) / 2
        radius = float(np.linalg.norm(self._high - self._low)) / 2 * 1.05
        a, e = np.radians([azimuth, elevation])
        direction = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
        camera = self._plotter.camera
        camera.focal_point = centre
        camera.position = centre + direction * radius / np.tan(np.radians(fov / 2))
        roll = np.radians(rng.normal(0, 2))
        right = np.cross(direction, (0, 1, 0))
        camera.up = np.array([0, 1, 0]) * np.cos(roll) + right / np.linalg.norm(right) * np.sin(roll)
        camera.view_angle = fov
        sun_azimuth, sun_height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.3)
        self._sun.position = (
            np.sin(sun_azimuth) * np.cos(sun_height) * 10,
            np.sin(sun_height) * 10,
            np.cos(sun_azimuth) * np.cos(sun_height) * 10,
        )
        self._sun.intensity = float(rng.uniform(0.7, 1.5))
        self._sky.position = tuple(direction * 10 + np.array([0, 6, 0]))
        self._sky.intensity = float(rng.uniform(0.4, 0.8))
        self._plotter.renderer.ResetCameraClippingRange()
        self._plotter.render_window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._plotter.render_window)
        grab.ShouldRerenderOff()
        grab.ReadFrontBufferOff()
        grab.Update()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(self._size, self._size, 3)[::-1]
        mask = np.abs(pixels.astype(np.int16) - np.array([255, 0, 255])).sum(2) > 12
        return np.ascontiguousarray(pixels), mask


def _texture_pixels(actor: Any) -> NDArray[np.uint8] | None:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    texture = actor.GetProperty().GetTexture("albedoTex") or actor.GetTexture()
    if texture is None or texture.GetInput() is None:
        return None
    image = texture.GetInput()
    width, height, _ = image.GetDimensions()
    channels = image.GetPointData().GetScalars().GetNumberOfComponents()
    return np.array(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, channels))


def _set_texture(actor: Any, pixels: NDArray[np.uint8]) -> None:
    from vtkmodules.util.numpy_support import numpy_to_vtk

    texture = actor.GetProperty().GetTexture("albedoTex") or actor.GetTexture()
    image = texture.GetInput()
    scalars = numpy_to_vtk(pixels.reshape(-1, pixels.shape[2]), deep=True)
    image.GetPointData().SetScalars(scalars)
    image.Modified()
    texture.Modified()


def _paint_colour(look: np.random.Generator) -> tuple[float, float, float]:
    """A car's paint: about two thirds white, grey, silver or black, the rest coloured, as on roads."""
    kind = look.random()
    if kind < 0.6:
        value = look.choice([0.93, 0.75, 0.5, 0.28, 0.08]) + look.uniform(-0.06, 0.06)
        tint = look.uniform(-0.03, 0.03, 3)
        red, green, blue = np.clip(value + tint, 0.02, 1)
        return float(red), float(green), float(blue)
    return colorsys.hsv_to_rgb(look.random(), look.uniform(0.45, 1.0), look.uniform(0.25, 0.95))


def _repaint(pixels: NDArray[np.uint8], paint: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Recolour only the paint of a texture: its commonest hue (or grey), shading kept; everything else stays."""
    rgb = pixels[..., :3].astype(np.float32) / 255
    coarse = (rgb * 7.99).astype(np.int32)
    code = coarse[..., 0] * 64 + coarse[..., 1] * 8 + coarse[..., 2]
    counts = np.bincount(code.ravel(), minlength=512)
    counts[0] = 0  # empty texture space
    base = rgb[code == counts.argmax()].mean(0)
    level = base.max() + 1e-3
    shade = rgb.max(2, keepdims=True) / level
    chroma = rgb / (rgb.max(2, keepdims=True) + 1e-3) - base / level  # (h, w, 3)
    weight = np.exp(-((chroma**2).sum(2, keepdims=True)) / 0.02)
    weight *= np.clip((shade - 0.35) / 0.25, 0, 1)
    out = pixels.copy()
    target = np.clip(np.array(paint, dtype=np.float32) * shade, 0, 1)
    out[..., :3] = (255 * (rgb * (1 - weight) + target * weight)).round().astype(np.uint8)
    return out


def _decal(pixels: NDArray[np.uint8], look: np.random.Generator) -> NDArray[np.uint8]:
    """Lettering-like marks somewhere on the painted texture, for a third of the identities."""
    if look.random() > 0.35:
        return pixels
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels[..., :3])
    draw = ImageDraw.Draw(image)
    for _ in range(int(look.integers(1, 4))):
        x, y = look.integers(0, width), look.integers(0, height)
        w, h = int(width * look.uniform(0.03, 0.15)), int(height * look.uniform(0.01, 0.06))
        red, green, blue = (int(255 * channel) for channel in _paint_colour(look))
        draw.rectangle((int(x), int(y), int(x) + w, int(y) + h), fill=(red, green, blue))
    out = pixels.copy()
    out[..., :3] = np.asarray(image)
    return out if channels >= 3 else pixels


def _develop(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator, *, clean: bool) -> bytes:
    """From the raw shot to a detector's crop: background, shadow, exposure, noise, blur, compression."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    size = pixels.shape[0]
    if rows.size == 0:
        rows = columns = np.arange(size)
    margin_y = int(rows.size * (rng.uniform(-0.02, 0.12) if not clean else 0.06))
    margin_x = int(columns.size * (rng.uniform(-0.02, 0.12) if not clean else 0.06))
    top, bottom = max(rows[0] - margin_y, 0), min(rows[-1] + 1 + margin_y, size)
    left, right = max(columns[0] - margin_x, 0), min(columns[-1] + 1 + margin_x, size)
    ground = _ground(size, int(rows[-1]), int(columns[0]), int(columns[-1]), rng)
    alpha = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.0))
    alpha = Image.fromarray(np.minimum(np.asarray(alpha), (mask * 255).astype(np.uint8)))
    image = Image.composite(Image.fromarray(pixels), ground, alpha).crop((int(left), int(top), int(right), int(bottom)))
    image = image.resize(
        (max(image.width // _SUPERSAMPLING, 8), max(image.height // _SUPERSAMPLING, 8)), Image.Resampling.BOX
    )
    if not clean:
        scale = rng.uniform(0.3, 1.0)
        image = image.resize(
            (max(int(image.width * scale), 24), max(int(image.height * scale), 24)), Image.Resampling.BILINEAR
        )
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.0))))
    values = np.asarray(image).astype(np.float32) / 255
    gamma, gain = (rng.uniform(0.7, 1.5), rng.uniform(0.7, 1.15)) if not clean else (1.0, 1.0)
    cast = rng.normal(1, 0.04 if not clean else 0.01, 3)
    noise = rng.normal(0, rng.uniform(0, 0.035) if not clean else 0.006, values.shape)
    values = np.clip(values**gamma * gain * cast + noise, 0, 1)
    buffer = io.BytesIO()
    quality = int(rng.integers(35, 92)) if not clean else 90
    Image.fromarray((values * 255).round().astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _ground(size: int, bottom: int, left: int, right: int, rng: np.random.Generator) -> Image.Image:
    """A road or a yard: grey with blotches, sometimes a marking or a verge, and the vehicle's shadow."""
    small = rng.normal(0, 1, (size // 16, size // 16)).astype(np.float32)
    blotches = np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
    base = rng.uniform(0.3, 0.75) + rng.normal(0, 0.02, 3)
    field = base + 0.03 * blotches[..., None] + rng.normal(0, 0.02, (size, size, 1))
    image = Image.fromarray((np.clip(field, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        x, slant, width = rng.uniform(-0.2, 1.2) * size, rng.uniform(-0.6, 0.6) * size, rng.uniform(0.01, 0.04) * size
        draw.polygon([(x, 0), (x + width, 0), (x + slant + 2 * width, size), (x + slant, size)], fill=(225, 225, 220))
    if rng.random() < 0.35:
        height = rng.uniform(0.1, 0.5) * size
        red, green, blue = (int(value) for value in rng.uniform((60, 80, 50), (190, 190, 190)))
        draw.rectangle((0, 0, size, height), fill=(red, green, blue))
    shadow = Image.new("L", (size, size), 0)
    spread = (right - left) * 0.04
    ImageDraw.Draw(shadow).ellipse(
        (left - spread, bottom - 0.22 * (right - left), right + spread, bottom + 0.05 * (right - left)), fill=150
    )
    shadow = shadow.filter(ImageFilter.GaussianBlur(size / 50))
    image.paste(Image.new("RGB", (size, size), (25, 25, 28)), mask=shadow)
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
