"""``vehicle-model calibrate`` with a real model and real pictures, and what a service then tells."""

from pathlib import Path

import httpx
import pytest

from index.contract import fingerprint
from index.vehicle_index import main as index_main
from model_export.exporting.contract_change import write_changed
from model_export.exporting.onnx_export import describe
from model_export.vehicle_model import main
from service.commands.query_command import query
from tests.data_set_trees import coloured_vehicles
from tests.http_client import AnswerCheck, parts
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_contract import LOGISTIC
from vehicle_search_client import VehicleSearch


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest."""
    return coloured_vehicles(tmp_path_factory.mktemp("many"), 40)


def calibrate(*words: str | Path) -> int:
    return main(["calibrate", *map(str, words)])


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert calibrate(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1].rpartition("\r")[2]


def test_a_file_learns_what_its_distances_mean(
    tiny_model: Path, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "told.onnx"
    assert calibrate(tiny_model, "--data", f"manifest:{many}", "--out", out, "--seed", "1") == 0
    said = capsys.readouterr().out
    assert "800 matches, the 10 nearest of each query, of 40 vehicles; " in said
    assert fingerprint(out) in said
    contract, before = describe(out), describe(tiny_model)
    assert (before.probability, contract.embedding_space) == (None, before.embedding_space)
    own = contract.probability
    assert own is not None
    assert (own.ranks, own.data_set, own.figures["probes"], own.figures["vehicles"]) == (10, many.parent.name, 80, 40)
    assert str(many.parent) not in contract.to_json()
    assert f"  {own.form} (taken): log loss {own.figures['held_out'][own.form]['log_loss']:.4f}" in said
    assert calibrate(out, "--data", f"manifest:{many}", "--check") == 0
    checked = capsys.readouterr().out
    assert f"800 matches of 80 queries, {own.prior:.1%} right" in checked
    assert "calibration error" in checked
    assert describe(out) == contract


def test_in_place_and_the_same_again(tiny_model: Path, many: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model.read_bytes())
    assert calibrate(path, "--data", f"manifest:{many}") == 0
    first = fingerprint(path)
    assert first != fingerprint(tiny_model)
    assert calibrate(path, "--data", f"manifest:{many}") == 0
    assert fingerprint(path) == first


def test_what_cannot_be_done_is_one_line(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"manifest:{many}"
    assert "tells no probabilities" in refused(capsys, tiny_model, "--data", spec, "--check")
    assert "--out does nothing" in refused(capsys, tiny_model, "--data", spec, "--check", "--out", tmp_path / "x")
    few = refused(capsys, tiny_model, "--data", f"manifest:{data / 'manifest.csv'}", "--out", tmp_path / "x")
    assert "12 vehicles; a probability needs 30 of each" in few
    assert "neither a checkpoint nor an ONNX file" in refused(capsys, tiny_checkpoint, "--data", spec)
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def told(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that tells probabilities."""
    path = tmp_path_factory.mktemp("told") / "told.onnx"
    write_changed(tiny_model, path, probability=LOGISTIC)
    return path


def test_a_service_tells_the_probability_of_each_match(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(tmp_path / "data", told) as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        ids = [{"image_id": f"i{n}"} for n in range(6)]
        gallery = "/v1/galleries/default"
        client.post(f"{gallery}/images", files=parts(*map(jpeg, range(6)), metadata=ids)).raise_for_status()
        answers = [
            client.post(f"{gallery}/search", content=jpeg(1)).json(),
            client.get(f"{gallery}/images/i2/similar").json(),
            *client.post(f"{gallery}/search/batch", files=parts(jpeg(3), jpeg(4))).json()["results"],
        ]
        for answer in answers:
            assert len(answer["matches"]) > 4
            assert [each["probability"] for each in answer["matches"]] == [
                LOGISTIC.of(each["distance"]) for each in answer["matches"]
            ]
        assert client.get("/v1/model").json()["contract"]["probability"]["form"] == "logistic"
        with VehicleSearch(address) as search:
            found = search.search(jpeg(1))
            assert found[0].probability == LOGISTIC.of(0)
            assert found.to_pandas()["probability"].is_monotonic_decreasing
        (tmp_path / "car.jpg").write_bytes(jpeg(1))
        page = tmp_path / "page.html"
        assert query([str(tmp_path / "car.jpg"), "--url", address, "--html", str(page)]) == 0
        head, first, *_ = capsys.readouterr().out.splitlines()
        assert head.split()[:4] == ["rank", "distance", "probability", "image_id"]
        assert first.split()[:4] == ["1", "0.0000", f"{LOGISTIC.of(0):.1%}", "i1"]
        assert f"at 0.0000, {LOGISTIC.of(0):.1%} the same" in page.read_text()
    words = ["search", str(tmp_path / "car.jpg"), "--data-dir", str(tmp_path / "data"), "--model", str(told)]
    assert index_main([*words, "--top-k", "1"]) == 0
    assert capsys.readouterr().out.split()[2] == "probability"
    assert index_main([*words, "--top-k", "1", "--json"]) == 0
    assert f'"probability": {LOGISTIC.of(0)}' in capsys.readouterr().out


def test_a_model_of_before_tells_none(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model) as address, httpx.Client(base_url=address) as client:
        client.put("/v1/galleries/default/images/a", content=jpeg(0)).raise_for_status()
        (match,) = client.post("/v1/galleries/default/search", content=jpeg(0)).json()["matches"]
        assert "probability" not in match
