"""Render the demo gallery: ``examples/demo-gallery/`` and the query picture ``examples/query.jpg``.

    python scripts/make_demo_gallery.py --meshes DIR

One picture of one vehicle becomes the query; the gallery keeps that vehicle's other sides. The meshes' credits are in
NOTICE.
"""

import argparse
import csv
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from index.manifest import read_manifest
from model_export.data_sets.renders import RenderConfig, render_data_set

VEHICLES, VIEWS, SEED = 24, 5, 7
QUERY = "v0015_00"  # the picture that is kept back
COLUMNS = ("path", "image_id", "vehicle_id", "camera_id", "captured_at", "viewpoint", "body")


def main() -> None:
    """Render, keep the query back, write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=Path, required=True, help="folder of .glb meshes and their paint.json")
    parser.add_argument("--out", type=Path, default=Path("examples"))
    arguments = parser.parse_args()
    gallery: Path = arguments.out / "demo-gallery"
    shutil.rmtree(gallery, ignore_errors=True)
    (gallery / "images").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        config = RenderConfig(
            meshes=arguments.meshes, out=Path(folder), identities=VEHICLES, views=VIEWS, size=256, seed=SEED, clean=True
        )
        rows = list(read_manifest(render_data_set(config)))
        start = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
        with (gallery / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for number, row in enumerate(rows):
                if row.path.stem == QUERY:
                    shutil.copy(row.path, arguments.out / "query.jpg")
                    continue
                shutil.copy(row.path, gallery / "images")
                seen = start + timedelta(seconds=number * 97)
                body = str(row.attributes["mesh"]).split("_", 1)[1]
                writer.writerow(
                    (f"images/{row.path.name}", row.path.stem, row.vehicle_id, f"c{int(row.path.stem[-2:]) + 1:03d}",
                     seen.isoformat().replace("+00:00", "Z"), row.viewpoint, body)
                )  # fmt: skip


if __name__ == "__main__":
    main()
