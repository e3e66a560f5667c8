"""Files of fewer bits: measured first, and in the embedding space only where mixing costs nothing."""

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import InvalidValue
from index.gallery import GallerySpec, Metadata, NewImage, SearchOptions
from model_export.data_sets.crop_cache import CropCache
from model_export.exporting import parity, reduced_export
from model_export.exporting.graph_parts import reducible_nodes
from model_export.exporting.onnx_export import describe, embedding_space, export_model
from model_export.exporting.reduced_export import Measuring, calibration_crops, export_reduced
from model_export.exporting.reduction import reduce_precision
from model_export.network.mvan import MVANConfig
from model_export.training.mnet_training import Restored, Source, train
from model_export.vehicle_model import main
from tests.conftest import untrained
from tests.test_mnet_training import training

SHAPE = MVANConfig(
    backbone="tiny", vnet="tiny", vnet_size=32, input_size=64, lam="standardized", neck=True, normalized=True
)


@pytest.fixture(scope="module")
def restored(data: Path) -> Restored:
    """An untrained model that says it was trained on the cars and held some out."""
    model = untrained(SHAPE)
    source = Source(data="manifest.csv", p=4, k=2, hold_out="part=test")
    return replace(model, config=replace(model.config, sources=(source,), data_root=data))


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_reduced_file_is_measured_and_says_so(restored: Restored, tmp_path: Path, precision: str) -> None:
    report = export_reduced(restored, tmp_path / "reduced.onnx", precision)  # type: ignore[arg-type]
    contract = describe(tmp_path / "reduced.onnx")
    assert contract.precision == precision
    kept = {"first_convolutions_in_fp32": report.first_kept}
    assert contract.metrics["parity"] == report.parity.to_dict() | kept
    assert report.parity.reference.probes == 18
    assert 0 < report.parity.drift_p50 <= report.parity.drift_p99
    space = embedding_space(restored.model, restored.config.crop_resize)
    assert (contract.embedding_space == space) == report.parity.keeps_space
    assert [path.name for path in tmp_path.iterdir()] == ["reduced.onnx"]
    assert contract.probability is None  # of three vehicles
    assert "3 vehicles; a probability needs 30 of each" in str(report)
    types = {node.op_type for node in onnx.load(str(tmp_path / "reduced.onnx")).graph.node}
    assert ("QuantizeLinear" in types) == (precision == "int8")


def test_int8_is_near_fp32_and_routes_as_it(restored: Restored, tmp_path: Path) -> None:
    export_model(restored, tmp_path / "whole.onnx", half_weights=False)
    export_reduced(restored, tmp_path / "int8.onnx", "int8")
    crops = calibration_crops(restored.config, 24)
    whole, int8 = (
        onnxruntime.InferenceSession(str(tmp_path / name)).run(["embedding", "viewpoint"], {"crops": crops})
        for name in ("whole.onnx", "int8.onnx")
    )
    assert np.linalg.norm(whole[0] - int8[0], axis=1).max() < 0.2
    assert (whole[1].argmax(1) == int8[1].argmax(1)).mean() > 0.9
    assert not np.array_equal(whole[0], int8[0])


def test_a_precision_that_costs_too_much_gets_a_space_of_its_own(
    restored: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MOST_LOST", -1.0)
    export_reduced(restored, tmp_path / "own.onnx", "int8")
    own = describe(tmp_path / "own.onnx")
    assert own.embedding_space != embedding_space(restored.model, restored.config.crop_resize)
    assert len(own.embedding_space) == 32
    assert own.metrics["parity"]["keeps_space"] is False


def test_precisions_of_one_space_search_one_gallery(
    restored: Restored, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fp32 file filled, the fp16 and the int8 file search, and add to, with nothing migrated: ranks agree."""
    monkeypatch.setattr(
        parity, "MOST_LOST", 100.0
    )  # an untrained model's ranks may move; its space is kept all the same
    export_model(restored, tmp_path / "fp32.onnx", half_weights=False)
    for precision in ("fp16", "int8"):
        export_reduced(restored, tmp_path / f"{precision}.onnx", precision)
    ranks: dict[str, list[list[str]]] = {}
    pictures = sorted(data.glob("*.png"))
    for precision in ("fp32", "fp16", "int8"):
        embedder = Embedder(tmp_path / f"{precision}.onnx", device="cpu")
        with closing(DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))) as folder:
            gallery = folder.get("default")
            gallery.spec.require_space(embedder.contract, "default")
            crops = [
                model_crop(read_picture(path.read_bytes(), max_pixels=10**6), embedder.contract.resize)
                for path in pictures
            ]
            seen = embedder.embed(np.stack(crops))
            if precision == "fp32":
                gallery.add(
                    [
                        NewImage(image_id=path.stem, metadata=Metadata(), crop=b"", embedding=vector, viewpoint=None)
                        for path, vector in zip(pictures, seen.embedding, strict=True)
                    ]
                )
            found = gallery.search(seen.embedding, SearchOptions(top_k=5))
            ranks[precision] = [[match.image.image_id for match in matches] for matches in found]
            assert gallery.migrations() == []
    own = [path.stem for path in pictures]
    for precision, first, shared in (("fp32", 1.0, 1.0), ("fp16", 0.98, 0.98), ("int8", 0.9, 0.95)):
        assert np.mean([ids[0] == name for ids, name in zip(ranks[precision], own, strict=True)]) >= first
        pairs = zip(ranks[precision], ranks["fp32"], strict=True)
        assert np.mean([len({*some} & {*others}) / 5 for some, others in pairs]) >= shared


def test_attention_and_fusion_stay_in_fp32(restored: Restored, tmp_path: Path) -> None:
    export_model(restored, tmp_path / "whole.onnx", half_weights=False)
    graph = onnx.load(str(tmp_path / "whole.onnx")).graph
    chosen = set(reducible_nodes(graph))
    kinds = {node.op_type for node in graph.node if node.name in chosen}
    assert "Conv" in kinds
    assert kinds <= {"Conv", "Relu", "Clip", "MaxPool", "Pad", "Add"}
    attention = [node for node in graph.node if node.op_type == "Conv" and ".gam." in node.input[1]]
    assert len(attention) == 6
    assert not chosen & {node.name for node in attention}


def test_nothing_passes_from_fp32_to_fp32_through_fp16(restored: Restored, tmp_path: Path) -> None:
    export_model(restored, tmp_path / "whole.onnx", half_weights=False)
    reduce_precision(tmp_path / "whole.onnx", tmp_path / "fp16.onnx", "fp16", lambda: np.empty(0, np.uint8))
    graph = onnx.load(str(tmp_path / "fp16.onnx")).graph
    casts = {node.output[0]: (node.input[0], node.attribute[0].i) for node in graph.node if node.op_type == "Cast"}
    down = {name for name, (_, to) in casts.items() if to == onnx.TensorProto.FLOAT16}
    up = {before for before, to in casts.values() if to == onnx.TensorProto.FLOAT}
    assert down
    assert up
    assert not down & up
    read = {name for node in graph.node for name in node.input}
    assert down <= read  # and no cast is for nobody


def test_the_first_shared_convolutions_can_be_kept(restored: Restored, tmp_path: Path) -> None:
    export_model(restored, tmp_path / "whole.onnx", half_weights=False)
    graph = onnx.load(str(tmp_path / "whole.onnx")).graph
    shared = [node.name for node in graph.node if node.op_type == "Conv" and ".shared." in node.input[1]]
    assert len(shared) >= 1
    every, fewer = set(reducible_nodes(graph)), set(reducible_nodes(graph, first_kept=1))
    assert shared[0] in every
    assert shared[0] not in fewer
    assert fewer < every
    assert set(shared[1:]) <= fewer


def test_with_nothing_held_out_something_must_be_named(restored: Restored, data: Path, tmp_path: Path) -> None:
    everything = replace(restored, config=replace(restored.config, sources=(Source(data="manifest.csv", p=4, k=2),)))
    with pytest.raises(InvalidValue, match="--data SPEC"):
        export_reduced(everything, tmp_path / "none.onnx", "int8")
    named = Measuring(spec="manifest.csv", root=data, part="part=test")
    assert export_reduced(everything, tmp_path / "some.onnx", "int8", measuring=named).parity.reference.probes == 18


def test_calibration_never_sees_what_is_measured(restored: Restored, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Cache(CropCache):
        def crops(self, rows):  # type: ignore[no-untyped-def]
            seen.extend(row.vehicle_id or "" for row in rows)
            return super().crops(rows)

    monkeypatch.setattr(reduced_export, "CropCache", Cache)
    assert calibration_crops(restored.config, 20).shape == (20, 64, 64, 3)
    assert len(seen) == 20
    assert not {"v0", "v1", "v2"} & set(seen)


def test_the_door_exports_int8(data: Path, tmp_path: Path) -> None:
    config = training(data, tmp_path / "vnet.pt", "unused.pt", 2)
    torch.manual_seed(0)
    one = replace(config.model, viewpoints=("any",))
    checkpoint = train(replace(config, out=tmp_path / "one.pt", model=one, vnet=None))
    out = tmp_path / "one.onnx"
    assert main(["export", str(checkpoint), "--out", str(out), "--precision", "int8"]) == 0
    assert describe(out).precision == "int8"
    shutil.rmtree(tmp_path / "one-log")
