"""Files of fewer bits of one embedding space answer for a gallery that another of them filled, without a migration."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.bulk.import_plan import ImportPlan
from index.bulk.import_source import plan_sources
from index.bulk.ingestion import Ingestion, OwnWorkers
from index.contract import Contract
from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import NotMigratable
from index.gallery import GallerySpec, SearchOptions
from model_export.exporting import parity
from model_export.exporting.onnx_export import export_model
from model_export.exporting.reduced_export import export_reduced
from tests.test_reduced_export import restored

assert restored  # a fixture


def ranking(folder: Path, embedder: Embedder, pictures: list[Path]) -> list[list[tuple[str, float]]]:
    """Image ids and distances of the ten nearest of each picture, in a gallery that was filled before."""
    home = DataFolder(folder)
    gallery = home.get("default")
    gallery.spec.require_space(embedder.contract, gallery.name)
    crops = [
        model_crop(read_picture(path.read_bytes(), max_pixels=10**6), embedder.contract.resize) for path in pictures
    ]
    queries = embedder.embed(np.stack(crops)).embedding
    options = SearchOptions(top_k=10, embedding_space=embedder.contract.embedding_space)
    found = [[(each.image.image_id, each.distance) for each in matches] for matches in gallery.search(queries, options)]
    with pytest.raises(NotMigratable, match="nothing to do"):
        gallery.begin_migration(embedder.contract, embedder.fingerprint)
    home.close()
    return found


def test_the_ranking_is_the_same(restored: object, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery that fp32 filled, asked in fp16 and int8: the same images, in the same order but for near ties."""
    monkeypatch.setattr(parity, "MOST_LOST", 100.0)  # an untrained model may lose more than a trained one does
    export_model(restored, tmp_path / "fp32.onnx", half_weights=False)  # type: ignore[arg-type]
    for precision in ("fp16", "int8"):
        export_reduced(restored, tmp_path / f"{precision}.onnx", precision)  # type: ignore[arg-type]
    embedders = {
        name: Embedder(tmp_path / f"{name}.onnx", device="cpu", threads=1) for name in ("fp32", "fp16", "int8")
    }
    contracts: dict[str, Contract] = {name: each.contract for name, each in embedders.items()}
    assert {each.precision for each in contracts.values()} == {"fp32", "fp16", "int8"}
    assert len({each.embedding_space for each in contracts.values()}) == 1

    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(contracts["fp32"]))
    with closing(ImportPlan()) as plan, closing(OwnWorkers()) as workers:
        list(plan_sources(plan, [data / "manifest.csv"]))
        list(Ingestion(gallery=home.get("default"), embedder=embedders["fp32"], workers=workers).run(plan))
    assert home.get("default").count() == 72
    home.close()
    pictures = sorted(data.glob("*.png"))
    whole = ranking(tmp_path / "data", embedders["fp32"], pictures)
    for name, near in (("fp16", 0.02), ("int8", 0.2)):
        less = ranking(tmp_path / "data", embedders[name], pictures)
        first = np.mean([ours[0][0] == theirs[0][0] for ours, theirs in zip(less, whole, strict=True)])
        assert first >= (1 if name == "fp16" else 0.9), (name, first)  # each finds itself
        same = []
        for ours, theirs in zip(less, whole, strict=True):
            at, expected = dict(ours), dict(theirs)
            both = at.keys() & expected.keys()
            same.append(len(both) / len(expected))
            assert max(abs(at[image_id] - expected[image_id]) for image_id in both) < near
            for one in both:  # nearer by more than the files differ: nearer in both
                assert all(at[one] < at[other] for other in both if expected[other] - expected[one] > 2 * near)
        assert np.mean(same) > (0.97 if name == "fp16" else 0.8), (name, np.mean(same))
