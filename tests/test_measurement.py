"""A tiny model measured by each protocol, re-ranked or not."""

from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, open_data_set
from model_export.measuring.evaluation import evaluate
from model_export.measuring.measured_model import see_rows
from model_export.measuring.measurement import measure
from model_export.measuring.onnx_model import OnnxModel
from model_export.measuring.protocols import plan
from model_export.reporting.checkpoint_model import CheckpointModel


@pytest.fixture(scope="module")
def cars(data: Path) -> DataSet:
    return open_data_set("manifest.csv", root=data)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> OnnxModel:
    return OnnxModel(tiny_model)


def as_veri(cars: DataSet) -> DataSet:
    rows = cars.part("train")
    query = tuple(row for row in rows if row.camera_id == "c0" and row.viewpoint == "front")
    return replace(cars, name="VeRi", protocol="veri776", parts={"query": query, "gallery": rows})


def as_vehicleid(cars: DataSet) -> DataSet:
    lists = {"4": tuple(f"v{n}" for n in range(4)), "12": tuple(f"v{n}" for n in range(12))}
    return replace(
        cars, name="VehicleID", protocol="vehicleid", parts={"gallery": cars.part("train")}, test_sizes=lists
    )


def test_camera_against_camera(model: OnnxModel, cars: DataSet) -> None:
    found = measure(model, cars, part="part=test", progress=False)
    rows = cars.part("train")
    vectors = see_rows(model, rows, progress=False).embedding
    labels = [(row.vehicle_id or "", row.camera_id or "") for row in rows]
    probes = [n for n, row in enumerate(rows) if row.attributes["part"] == "test"]
    wanted = evaluate(vectors[probes], [labels[n] for n in probes], vectors, labels, other_cameras_only=True)
    told = found.to_dict()
    for name in ("rank_1", "rank_5", "rank_10", "map", "minp", "probes", "gallery", "excluded", "interval"):
        assert told[name] == wanted.to_dict()[name], name
    assert (told["model"], told["data_set"], told["protocol"]) == ("tiny", cars.name, "cross-camera")
    assert (told["part"], told["seed"], told["reranked"]) == ("part=test", 0, False)
    assert told["fingerprint"] == model.fingerprint
    viewpoint = told["viewpoint"]
    assert isinstance(viewpoint, dict)
    assert viewpoint["pictures"] == 18
    assert "note" not in told
    assert "test_lists" not in told


def test_veri_leaves_out_the_vehicle_as_its_own_camera_saw_it(model: OnnxModel, cars: DataSet) -> None:
    found = measure(model, as_veri(cars), progress=False)
    assert (found.figures.probes, found.figures.gallery, found.figures.excluded) == (12, 72, 0)
    rows = as_veri(cars)
    query, gallery = rows.part("query"), rows.part("gallery")
    vectors = see_rows(model, gallery, progress=False).embedding
    place = {row.path: n for n, row in enumerate(gallery)}
    labels = [(row.vehicle_id or "", row.camera_id or "") for row in gallery]
    own = [place[row.path] for row in query]
    assert found.figures == evaluate(vectors[own], [labels[n] for n in own], vectors, labels)
    assert found.to_dict()["note"]
    assert "not to be compared" in str(found)


def maps_of_draws(model: OnnxModel, data: DataSet, *, seed: int) -> list[float]:
    """Of each draw of the list of 12 its mAP: one over the place of the one match, by sorting."""
    planned = plan(data, seed=seed)
    vectors = see_rows(model, planned.rows, progress=False).embedding
    vehicles = np.array([row.vehicle_id for row in planned.rows])
    maps = []
    for draw in planned.draws["12"]:
        places = []
        for probe in draw.probes:
            order = draw.gallery[np.linalg.norm(vectors[draw.gallery] - vectors[probe], axis=1).argsort()]
            places.append(1 + int(np.flatnonzero(vehicles[order] == vehicles[probe])[0]))
        maps.append(float(np.mean(1 / np.array(places))))
    return maps


def test_vehicleid_tells_mean_and_deviation_of_each_list(model: OnnxModel, cars: DataSet) -> None:
    found = measure(model, as_vehicleid(cars), seed=2, progress=False)
    told = found.to_dict()
    lists = told["test_lists"]
    assert isinstance(lists, dict)
    assert told["test_list"] == "12"
    assert told["rank_1"] == lists["12"]["rank_1"]
    assert (lists["4"]["probes"], lists["4"]["gallery"], lists["4"]["draws"]) == (20, 4, 10)
    assert (lists["12"]["probes"], lists["12"]["gallery"]) == (60, 12)
    assert lists["12"]["map_sd"] == pytest.approx(stdev(maps_of_draws(model, as_vehicleid(cars), seed=2)), abs=1e-4)
    assert lists["12"]["map_interval"][0] < lists["12"]["map"] < lists["12"]["map_interval"][1]
    assert "mean ± sd of 10 draws" in str(found)
    assert measure(model, as_vehicleid(cars), seed=2, progress=False).to_dict() == told


def test_re_ranking_is_named_and_changes_the_figures(model: OnnxModel, cars: DataSet) -> None:
    plain, reranked = (measure(model, cars, rerank=own, progress=False) for own in (False, True))
    assert (plain.to_dict()["reranked"], reranked.to_dict()["reranked"]) == (False, True)
    assert "re-ranked" in str(reranked)
    assert "re-ranked" not in str(plain)
    assert plain.figures != reranked.figures
    assert measure(model, as_vehicleid(cars), part="4", rerank=True, progress=False).figures.gallery == 4


def test_a_checkpoint_is_measured_like_the_file_exported_from_it(
    tiny_checkpoint: Path, model: OnnxModel, cars: DataSet
) -> None:
    ours, theirs = (
        measure(CheckpointModel.open(tiny_checkpoint), cars, progress=False),
        measure(model, cars, progress=False),
    )
    assert ours.figures.map == pytest.approx(theirs.figures.map, abs=0.02)
    assert ours.figures.probes == theirs.figures.probes


def test_too_many_pictures_for_re_ranking_are_refused_before_any_is_seen(model: OnnxModel, cars: DataSet) -> None:
    row = replace(cars.part("train")[0], path=Path("nowhere.jpg"))
    many = replace(cars, parts={"train": (row, replace(row, camera_id="another")) * 100_000})
    with pytest.raises(InvalidValue, match=r"re-ranking 400,000 pictures"):
        measure(model, many, rerank=True, progress=False)


def test_one_camera_only_is_told(model: OnnxModel, cars: DataSet) -> None:
    alone = replace(cars, parts={"train": tuple(row for row in cars.part("train") if row.camera_id == "c0")})
    alone = replace(alone, parts={"train": tuple(replace(row, path=Path("no.jpg")) for row in alone.part("train"))})
    with pytest.raises(InvalidValue, match="no probe has a match in the gallery"):  # before any picture is opened
        measure(model, alone, progress=False)
    assert np.isfinite(measure(model, cars, progress=False).figures.map)
