"""Small trees laid out as the public data sets are, without a flaw; each test breaks what it is about."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures import jpeg

# Vehicle and camera of every picture; the frame number is the position.
_TRAIN = [("0001", "c001"), ("0001", "c002"), ("0002", "c001"), ("0002", "c003"), ("0002", "c003")]
_TEST = [("0004", "c001"), ("0004", "c001"), ("0004", "c002"), ("0005", "c002"), ("0005", "c003"), ("0005", "c003")]
_QUERY = [0, 3]  # positions in _TEST

FRONT_KEYPOINTS = [-1] * 8 + [10] * 12 + [5] * 12 + [-1] * 8
REAR_KEYPOINTS = [-1] * 20 + [5] * 12 + [10] * 8


def veri776(root: Path) -> Path:
    """Five training, six gallery and two query pictures of four vehicles, with every label file."""
    names = {
        "train": [f"{vehicle}_{camera}_{n:08d}_0.jpg" for n, (vehicle, camera) in enumerate(_TRAIN)],
        "test": [f"{vehicle}_{camera}_{n:08d}_0.jpg" for n, (vehicle, camera) in enumerate(_TEST)],
    }
    names["query"] = [names["test"][n] for n in _QUERY]
    for part, some in names.items():
        for seed, name in enumerate(some):
            write(root / f"image_{part}" / name, jpeg(seed))
        write(root / f"name_{part}.txt", "".join(f"{name}\n" for name in some))
    for part in ("train", "test"):
        items = "".join(
            f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="{n + 1}" typeID="2" />\n'
            for n, name in enumerate(names[part])
        )
        write(
            root / f"{part}_label.xml",
            f'<?xml version="1.0" encoding="gb2312" ?>\n<TrainingImages Version="1.0">\n'
            f'<Items number="{len(names[part])}">\n{items}</Items>\n</TrainingImages>\n',
        )
        keypoints = [
            f"VeRi/image_{part}/{name} {' '.join(map(str, FRONT_KEYPOINTS))} 3\n" for name in names[part]
        ]  # fmt: skip
        write(root / f"keypoint_{part}.txt", "".join(keypoints))
    write(root / "list_color.txt", "1 yellow\n2 orange\n3 green\n4 gray\n5 red\n6 blue\n")
    write(root / "list_type.txt", "1 sedan\n2 suv\n")
    write(root / "gt_index.txt", "3\n5 6\n")  # positions in name_test.txt, from 1
    write(root / "jk_index.txt", "1 2\n4\n")
    return root


def vehicleid(root: Path) -> Path:
    """Two training vehicles and lists of two and three test vehicles, with attributes."""
    lists = {
        "train_list": [("0000001", "7"), ("0000002", "7"), ("0000003", "9"), ("0000004", "9")],
        "test_list_2": [("0000005", "20"), ("0000006", "20"), ("0000007", "21"), ("0000008", "21")],
    }
    lists["test_list_2400"] = [*lists["test_list_2"], ("0000009", "22"), ("0000010", "22")]
    pictures = dict(lists["train_list"] + lists["test_list_2400"])
    for seed, picture in enumerate(pictures):
        write(root / "image" / f"{picture}.jpg", jpeg(seed))
    for name, lines in {**lists, "../attribute/img2vid": list(pictures.items())}.items():
        write(
            root / "train_test_split" / f"{name}.txt", "".join(f"{picture} {vehicle}\n" for picture, vehicle in lines)
        )
    write(root / "attribute" / "color_attr.txt", "7 1\n20 0\n")
    write(root / "attribute" / "model_attr.txt", "7 2\n20 0\n21 1\n")
    write(root / "attribute" / "color_names.txt", "black 0\nblue 1\n")
    write(root / "attribute" / "model_names.txt", "奥迪 A6L 2012 0\n大众 朗逸 2012 1\n别克 2008 2\n".encode("gb18030"))
    return root


def vehicle_orientation(root: Path) -> Path:
    """Two archives' folders, three street pictures of 200 × 100 pixels, five boxes that show all three viewpoints."""
    one, two = root / "vehicle-orientation-1", root / "vehicle-orientation-2"
    for seed, (folder, name, lines) in enumerate([
        (one, "A1", "2 0.5 0.5 0.5 0.5\n0 0.9 0.5 0.2 0.6\n"),
        (one, "A2", "4 0.25 0.5 0.5 1.0\n"),
        (two, "B1", "6 0.5 0.5 0.25 0.5\n11 0.75 0.5 0.25 0.5\n"),
    ]):  # fmt: skip
        write(folder / f"{name}.jpg", jpeg(seed, (200, 100)))
        write(folder / f"{name}.txt", lines)
    return root


def uc3m_vri(root: Path) -> Path:
    """One highway frame and three of the intersections, four boxes in all."""
    polo, bmw = "volkswagen polo 2001 gris", "bmw serie 5 1996 azul"
    for folder, number, labels in (
        ("highway", 9, [polo]),
        ("intersection/c1", 36, [bmw, polo]),
        ("intersection/c2", 104, [bmw]),
        ("intersection/c2", 600, [polo]),
    ):
        write(root / folder / f"{number:05d}.jpg", jpeg(number, (192, 108)))
        ids = [
            {"label": label, "bbox_coords": [[10 + 60 * n, 20], [60 + 60 * n, 80]]} for n, label in enumerate(labels)
        ]
        content = {"imagePath": f"{number:05d}.jpg", "imageHeight": 108, "imageWidth": 192, "ids": ids}
        write(root / folder / f"{number:05d}.json", json.dumps(content))
    return root


def manifest(root: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A manifest of (path, vehicle, camera) and its pictures."""
    for seed, path in enumerate(sorted({path for path, _, _ in rows})):
        write(root / path, jpeg(seed))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "vehicle_id", "camera_id"))
        writer.writerows(rows)
    return root / "manifest.csv"


def coloured_vehicles(root: Path, count: int) -> Path:
    """A manifest of vehicles (a colour each) as two cameras (dark, bright) saw them, from all sides in turn."""
    rng = np.random.default_rng(5)
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "vehicle_id", "camera_id", "viewpoint"))
        for vehicle in range(count):
            colour = rng.integers(30, 225, 3)
            for camera in range(2):
                pixels = np.full((40, 40, 3), colour, np.float64) * (1.0 if camera else 0.9)
                noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
                name = f"v{vehicle:03d}_c{camera + 1:03d}.png"
                Image.fromarray(noisy).save(root / name)
                viewpoint = ("front", "rear", "side")[(vehicle + camera) % 3]
                writer.writerow((name, f"v{vehicle:03d}", f"c{camera + 1:03d}", viewpoint))
    return root / "manifest.csv"


def write(path: Path, content: str | bytes) -> None:
    """A file and its folders; text with Linux line ends, UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def edit(path: Path, old: str, new: str) -> None:
    """Replace what must be there in a text file."""
    text = path.read_bytes().decode()
    assert old in text, (path, old)
    path.write_bytes(text.replace(old, new).encode())
