"""Draw ``docs/search.jpg``: the example query and its five best matches in the demo gallery, right ones framed green.

python scripts/make_figure.py
"""

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec, SearchOptions
from index.manifest import read_manifest
from index.vehicle_index import main as vehicle_index

SIDE, GAP, MATCHES, QUERY_VEHICLE = 200, 12, 5, "v0015"
GREEN, RED, GREY = (40, 150, 70), (200, 60, 50), (90, 90, 90)


def main() -> None:
    """Search as the service does and draw what comes back."""
    manifest = Path("examples/demo-gallery/manifest.csv")
    paths = {row.image_id or "": row.path for row in read_manifest(manifest)}
    embedder = Embedder(Path("models/default.onnx"), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        vehicle_index(["add", "--data-dir", folder, str(manifest)])
        home = DataFolder(Path(folder), default_spec=GallerySpec.for_model(embedder.contract))
        query = read_picture(Path("examples/query.jpg").read_bytes(), max_pixels=10**8)
        embedding = embedder.embed(model_crop(query, embedder.contract.resize)[None]).embedding
        (matches,) = home.get("default").search(embedding, SearchOptions(top_k=MATCHES))
        home.close()
    sheet = Image.new("RGB", ((SIDE + GAP) * (MATCHES + 1) + GAP, SIDE + 2 * GAP + 40), "white")
    tiles = [(query, GREY, "query")] + [
        (
            Image.open(paths[match.image.image_id]),
            GREEN if match.image.metadata.vehicle_id == QUERY_VEHICLE else RED,
            f"{match.rank}.  {match.distance:.2f}  {match.image.metadata.camera_id}",
        )
        for match in matches
    ]
    draw = ImageDraw.Draw(sheet)
    for number, (picture, colour, text) in enumerate(tiles):
        tile = ImageOps.expand(ImageOps.pad(picture.convert("RGB"), (SIDE - 8, SIDE - 8), color="white"), 4, colour)
        left = GAP + number * (SIDE + GAP)
        sheet.paste(tile, (left, GAP))
        draw.text((left + 4, GAP + SIDE + 8), text, fill=(20, 20, 20), font_size=20)
    sheet.save("docs/search.jpg", quality=88)
    print(*(f"{m.rank} {m.image.image_id} {m.distance:.3f}" for m in matches), sep="\n")


if __name__ == "__main__":
    main()
