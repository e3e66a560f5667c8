"""docs/model-ranking.jpg and docs/model-attention.jpg: the default model's worst searches in the demo gallery."""

import tempfile
from pathlib import Path

from PIL import Image

from model_export.vehicle_model import main as vehicle_model

DOCS = Path("docs")
ROWS = 4  # of attention
ROW_HEIGHT = 256  # pixels, as ``vehicle-model figures`` draws them
WIDE = 1400  # pixels


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as folder:
        source = "manifest:examples/demo-gallery/manifest.csv"
        if vehicle_model(["figures", "models/default.onnx", "--data", source, "--out", folder]) != 0:
            raise SystemExit(1)
        ranking = Image.open(Path(folder) / "ranking-001.png")
        attention = Image.open(Path(folder) / "attention.png")
        save(ranking, DOCS / "model-ranking.jpg")
        save(attention.crop((0, 0, attention.width, ROWS * ROW_HEIGHT)), DOCS / "model-attention.jpg")


def save(image: Image.Image, path: Path) -> None:
    """As JPEG, no wider than a page needs."""
    plain = image.convert("RGB")
    plain.thumbnail((WIDE, WIDE), Image.Resampling.LANCZOS)
    plain.save(path, quality=82, optimize=True, progressive=True)
    print(f"{path}: {plain.width} × {plain.height}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
