"""The model file replaced under a running service: which is taken, which is refused, and that nobody notices."""

import os
import shutil
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from index.contract import fingerprint
from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.errors import DeviceUnavailable, EmbeddingSpaceMismatch, VehicleSearchError
from index.gallery import GallerySpec
from service.background.reloader import ModelIdentity, Reloader
from service.embedding.loaded_models import LoadedModels
from service.wire.problems import ModelRefused, NotReady, ReloadUnderWay
from tests.http_client import AnswerCheck, parts, refused
from tests.pictures import jpeg
from tests.server_process import serving, started
from tests.test_embedder import with_contract
from tests.test_sweeper import until
from vehicle_search_client import VehicleSearch

GALLERY = "/v1/galleries/default"
SAME = 1e-3  # distance of a picture to itself


def opened(file: Path) -> Embedder:
    return Embedder(file, device="cpu", threads=1)


@pytest.fixture(scope="module")
def twin(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another file with the same weights, so that its vectors may be compared with the tiny model's."""
    return with_contract(tiny_model, tmp_path_factory.mktemp("twin") / "twin.onnx", name="twin")


@pytest.fixture
def file(tiny_model: Path, tmp_path: Path) -> Path:
    """What the service was started with."""
    return Path(shutil.copy(tiny_model, tmp_path / "model.onnx"))


def put(model: Path, file: Path) -> None:
    """Replace a model file as one should: whole, at once."""
    beside = file.with_suffix(".new")
    shutil.copy(model, beside)
    beside.rename(file)


@pytest.fixture
def models(file: Path) -> LoadedModels:
    return LoadedModels(present=opened(file))


@pytest.fixture
def home(models: LoadedModels, tmp_path: Path) -> Iterator[DataFolder]:
    spec = GallerySpec.for_model(models.present.contract)
    with closing(DataFolder(tmp_path / "data", default_spec=spec)) as folder:
        yield folder


@pytest.fixture
def reloader(file: Path, models: LoadedModels, home: DataFolder) -> Reloader:
    return Reloader(file, models, home, opened)


def test_the_same_file_is_not_loaded_again(file: Path, models: LoadedModels, home: DataFolder) -> None:
    before = models.present
    done = Reloader(file, models, home, lambda _: pytest.fail("it is loaded")).reload()
    assert (done.changed, done.old, done.new) == (False, ModelIdentity.of(before), ModelIdentity.of(before))
    assert models.present is before


def test_a_model_of_the_same_space_answers_from_then_on(
    reloader: Reloader, models: LoadedModels, home: DataFolder, file: Path, twin: Path
) -> None:
    before = models.present
    put(twin, file)
    assert models.present is before
    done = reloader.reload()
    assert (done.changed, done.old, done.new) == (True, ModelIdentity.of(before), ModelIdentity.of(models.present))
    assert models.present.contract.name == "twin"
    assert models.of(home.get("default")) is models.present
    assert done.seconds > 0


def test_the_old_model_is_gone_when_nobody_is_at_work_with_it(
    reloader: Reloader, models: LoadedModels, file: Path, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, returned = [models.present], list[bool]()
    old = weakref.ref(models.present)
    monkeypatch.setattr("service.background.reloader.return_freed", lambda: returned.append(old() is None))
    monkeypatch.setattr("service.background.reloader._PATIENCE", 60)
    put(twin, file)
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(reloader.reload)
        until(lambda: models.present is not at_work[0])
        assert len(at_work[0].embed(np.zeros((2, 64, 64, 3), np.uint8)).embedding) == 2  # what is at work ends with it
        assert returned == []
        at_work.clear()
        assert reload.result(30).changed
    assert returned == [True]


def test_a_model_of_another_space_is_refused_while_a_gallery_needs_the_old_one(
    reloader: Reloader, models: LoadedModels, home: DataFolder, file: Path, next_model: Path
) -> None:
    before = models.present
    for number in range(7):
        home.create(f"g{number}", GallerySpec.for_model(before.contract))
    put(next_model, file)
    with pytest.raises(EmbeddingSpaceMismatch, match=r"galleries default, g0, g1, g2, g3 and 3 more: .*previous-model"):
        reloader.reload()
    assert models.present is before


def test_what_the_previous_model_answers_needs_no_other(
    file: Path, tiny_model: Path, next_model: Path, home: DataFolder, tmp_path: Path
) -> None:
    """All galleries are still the previous model's, so the next training may be exchanged for a later one."""
    later = with_contract(next_model, tmp_path / "later.onnx", name="later", embedding_space="later")
    models = LoadedModels(present=opened(next_model), previous=opened(tiny_model))
    put(later, file)
    assert Reloader(file, models, home, opened).reload().changed
    assert models.present.contract.name == "later"


def test_a_migration_that_has_begun_keeps_its_model(
    file: Path, tiny_model: Path, next_model: Path, home: DataFolder, tmp_path: Path
) -> None:
    later = with_contract(next_model, tmp_path / "later.onnx", name="later", embedding_space="later")
    models = LoadedModels(present=opened(next_model), previous=opened(tiny_model))
    home.get("default").begin_migration(models.present.contract, models.present.fingerprint)
    put(later, file)
    with pytest.raises(EmbeddingSpaceMismatch, match="on its way into, gallery default"):
        Reloader(file, models, home, opened).reload()
    put(with_contract(next_model, tmp_path / "same.onnx", name="same"), file)
    assert Reloader(file, models, home, opened).reload().changed  # of the space that it moves to


def test_the_previous_model_s_own_space_is_for_a_restart(
    file: Path, tiny_model: Path, next_model: Path, home: DataFolder
) -> None:
    models = LoadedModels(present=opened(next_model), previous=opened(tiny_model))
    put(tiny_model, file)
    with pytest.raises(EmbeddingSpaceMismatch, match="without previous_model"):
        Reloader(file, models, home, opened).reload()


def test_a_file_that_is_not_whole_is_refused_wherever_it_ends(
    reloader: Reloader, models: LoadedModels, file: Path, twin: Path
) -> None:
    before, whole = models.present, twin.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelRefused, match=rf"{file}.*; tiny \({before.fingerprint[:12]}\) answers on"):
            reloader.reload()
        assert models.present is before
    file.write_bytes(whole)
    assert reloader.reload().changed


def test_a_file_that_changes_while_it_is_read_is_refused(
    file: Path, models: LoadedModels, home: DataFolder, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its fingerprint would be another's than the model's."""
    before = models.present

    def changing(read: Path) -> str:
        found = fingerprint(read)
        put(twin, file)
        return found

    put(twin, file)
    monkeypatch.setattr("index.embedder.fingerprint", changing)
    with pytest.raises(ModelRefused, match="changed while it was read"):
        Reloader(file, models, home, opened).reload()
    assert models.present is before


def test_a_file_that_changes_before_its_second_session_is_open_is_refused(
    file: Path, models: LoadedModels, home: DataFolder, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a picture that is alone would be answered by another model than the rest."""
    before = models.present
    run_once = Embedder._run_once

    def changing(self: Embedder) -> None:
        run_once(self)
        put(twin, file)

    put(twin, file)
    monkeypatch.setattr(Embedder, "_run_once", changing)
    reloader = Reloader(file, models, home, lambda read: Embedder(read, device="cpu", threads=1, alone_threads=2))
    with pytest.raises(ModelRefused, match="changed while it was read"):
        reloader.reload()
    assert models.present is before


def test_a_file_that_is_gone_or_none_is_refused(reloader: Reloader, models: LoadedModels, file: Path) -> None:
    before = models.present
    file.unlink()
    with pytest.raises(ModelRefused, match="there is no model file"):
        reloader.reload()
    file.mkdir()
    with pytest.raises(ModelRefused, match="is no file"):
        reloader.reload()
    file.rmdir()
    os.mkfifo(file)  # opening it would wait for a writer, and a stop for the reload
    with pytest.raises(ModelRefused, match="is no file"):
        reloader.reload()
    assert models.present is before


def test_a_model_that_answers_nonsense_or_elsewhere_is_refused(
    file: Path, models: LoadedModels, home: DataFolder, twin: Path
) -> None:
    before, other = models.present, opened(twin)
    put(twin, file)
    other.provider = "AnotherProvider"
    with pytest.raises(DeviceUnavailable, match="the new model would run on AnotherProvider"):
        Reloader(file, models, home, lambda _: other).reload()

    class Broken(Embedder):
        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            embedded = super().embed(crops, alone=alone)
            embedded.embedding[:] = np.nan
            return embedded

    with pytest.raises(ModelRefused, match="not finite"):
        Reloader(file, models, home, lambda model: Broken(model, device="cpu")).reload()

    def no_room(_: Path) -> Embedder:
        raise MemoryError

    with pytest.raises(VehicleSearchError, match="not enough memory"):
        Reloader(file, models, home, no_room).reload()
    assert models.present is before


@contextmanager
def under_way(file: Path, models: LoadedModels, home: DataFolder) -> Iterator[tuple[Reloader, threading.Event]]:
    """A reloader that is at it until the event says so."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(model: Path) -> Embedder:
        begun.set()
        assert go_on.wait(30)
        return opened(model)

    reloader = Reloader(file, models, home, slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(reloader.reload)
        assert begun.wait(30)
        try:
            yield reloader, go_on
        finally:
            go_on.set()
        assert first.result().changed


def test_a_second_at_once_is_told_so(file: Path, models: LoadedModels, home: DataFolder, twin: Path) -> None:
    put(twin, file)
    with under_way(file, models, home) as (reloader, _), pytest.raises(ReloadUnderWay):
        reloader.reload()
    assert not reloader.reload().changed


def test_no_gallery_is_bound_to_the_old_model_while_it_is_replaced(
    file: Path, models: LoadedModels, home: DataFolder, twin: Path
) -> None:
    put(twin, file)
    with ThreadPoolExecutor(1) as pool:
        with models.steady:
            reload = pool.submit(Reloader(file, models, home, opened).reload)
            with pytest.raises(TimeoutError):
                reload.result(0.2)
            assert models.present.contract.name == "tiny"
        assert reload.result(30).changed


def test_what_is_asked_for_during_a_reload_is_done_after_it(
    file: Path, models: LoadedModels, home: DataFolder, twin: Path, tiny_model: Path
) -> None:
    put(twin, file)
    with under_way(file, models, home) as (reloader, _):
        reloader.start()
        for _ in range(3):
            reloader.ask()
    put(tiny_model, file)
    reloader.ask()
    until(lambda: models.present.contract.name == "tiny")
    reloader.close()
    assert not reloader._thread.is_alive()
    with pytest.raises(NotReady, match="stopping"):
        reloader.reload()


def searching(address: str, stop: threading.Event, names: dict[str, str], seen: set[str]) -> int:
    """Search, embed and write until told to stop; how often. Every answer is right and of one of the models."""
    count = 0
    with httpx.Client(base_url=address, timeout=60) as http:
        while not stop.is_set():
            picture = count % 8
            found = http.post(f"{GALLERY}/search", params={"top_k": 1}, content=jpeg(picture)).raise_for_status().json()
            assert found["matches"][0]["image_id"] == f"i{picture}"
            assert found["matches"][0]["distance"] <= SAME
            batch = http.post(f"{GALLERY}/search/batch", files=parts(*map(jpeg, range(8)))).raise_for_status().json()
            assert [each["matches"][0]["image_id"] for each in batch["results"]] == [f"i{n}" for n in range(8)]
            embedded = http.post("/v1/embeddings", content=jpeg(picture)).raise_for_status().json()
            http.put(f"{GALLERY}/images/own", content=jpeg(99)).raise_for_status()
            model = http.get("/v1/model").raise_for_status().json()
            assert names[model["fingerprint"]] == model["contract"]["name"]
            figures = http.get("/metrics").raise_for_status().text
            (info,) = (line for line in figures.splitlines() if line.startswith("vehicle_search_model_info"))
            assert any(f'"{told}"' in info and f'"{name}"' in info for told, name in names.items()), info
            http.get("/readyz").raise_for_status()
            seen.update((found["model"], batch["model"], embedded["model"]))
            count += 1
    return count


def test_ten_reloads_under_searches_fail_none(file: Path, tiny_model: Path, twin: Path, tmp_path: Path) -> None:
    names = {fingerprint(tiny_model): "tiny", fingerprint(twin): "twin"}
    log = tmp_path / "log"
    with serving(tmp_path / "data", file, log=log) as address, VehicleSearch(address) as client:
        for number in range(8):
            client.put_image(f"i{number}", jpeg(number))
        stop, seen = threading.Event(), set[str]()
        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(searching, address, stop, names, seen) for _ in range(3)]
            try:
                for number in range(10):
                    model, other = (twin, tiny_model) if number % 2 == 0 else (tiny_model, twin)
                    put(model, file)
                    assert client.model().fingerprint == fingerprint(other)
                    done = client.reload_model()
                    assert done.changed
                    assert done.new == {
                        "name": names[fingerprint(model)], "fingerprint": fingerprint(model),
                        "provider": "CPUExecutionProvider",
                    }  # fmt: skip
                    assert done.old["fingerprint"] == fingerprint(other)
                    assert client.model().fingerprint == fingerprint(model)
                    name = names[fingerprint(model)]
                    assert httpx.get(f"{address}/v2/models/{name}").json()["name"] == name
                    assert client.embeddings(jpeg(0)).model == fingerprint(model)
            finally:
                stop.set()
            assert all(done.result() > 0 for done in clients)
        assert seen == set(names)
        assert not client.reload_model().changed
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("answers instead of") == 10


def test_over_http_what_is_refused_leaves_the_old_one(file: Path, next_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", file) as address:
        check = AnswerCheck(address)
        with httpx.Client(base_url=address, timeout=60, event_hooks={"response": [check]}) as client:
            before = client.get("/v1/model").json()
            put(next_model, file)
            problem = refused(client.post("/v1/model/reload"), 409, "gallery default", "--previous-model")
            assert problem["type"].endswith("embedding-space-mismatch")
            file.write_bytes(b"half")
            problem = refused(client.post("/v1/model/reload", content=b"{}"), 422, "is not an ONNX model", "answers on")
            assert problem["type"].endswith("model-refused")
            refused(client.post("/v1/model/reload", json={"model": "other.onnx"}), 422, "a reload takes no properties")
            refused(client.post("/v1/model/reload?now=1"), 422, "now")
            assert client.get("/v1/model").json() == before
            assert client.get("/readyz").status_code == 200


def test_sighup_loads_it_and_ends_nothing(file: Path, twin: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(tmp_path / "data", file, log=log) as (address, process):
        process.send_signal(signal.SIGHUP)
        until(lambda: "is the file that is loaded already" in log.read_text())
        put(twin, file)
        process.send_signal(signal.SIGHUP)
        until(lambda: httpx.get(f"{address}/v1/model").json()["fingerprint"] == fingerprint(twin))
        until(lambda: "twin" in log.read_text())
        file.write_bytes(b"half")
        process.send_signal(signal.SIGHUP)
        until(lambda: f"{file} is not an ONNX model that can be opened" in log.read_text())
        assert httpx.get(f"{address}/readyz").status_code == 200
        process.terminate()
        assert process.wait(60) == 0
    (error,) = (line for line in log.read_text().splitlines() if "ERROR" in line)
    assert error.endswith(f"twin ({fingerprint(twin)[:12]}) answers on")
