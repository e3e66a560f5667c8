"""A data folder that is only read: nothing in it changes, several may read it, and it may be mounted so."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from index.data_folder import DataFolder
from index.errors import DataFolderLocked, DataFolderUnusable, ReadOnly
from index.gallery import Filters, SearchOptions
from index.storage.database_file import open_read_only
from index.storage.folder_lock import FolderLock
from tests.http_client import AnswerCheck, parts, refused
from tests.index_kinds import build_early
from tests.layout_1 import write_layout_1
from tests.pictures import jpeg
from tests.server_process import refused as refused_start
from tests.server_process import serving
from tests.test_compaction import SPEC, secret


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its time of change and size."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.rglob("*"))}


@contextmanager
def mounted_read_only(folder: Path, at: Path) -> Iterator[Path]:
    """The folder again where nothing can be written; skips the test where this process may not mount."""
    at.mkdir()
    for options in (["--bind", str(folder), str(at)], ["-o", "remount,ro,bind", str(at)]):
        made = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"cannot mount: {made.stderr.strip()}")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (at / "x").touch()
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    home = DataFolder(tmp_path / "data", default_spec=SPEC)
    home.get("default").add([secret(n) for n in range(30)])
    home.close()
    return tmp_path / "data"


def test_several_read_and_nothing_changes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_early(monkeypatch)  # a snapshot would be worth it
    before = state(data)
    homes = [DataFolder(data, default_spec=SPEC, read_only=True) for _ in range(2)]
    for home in homes:
        gallery = home.get("default")
        ((match,),) = gallery.search(secret(7).embedding[None], SearchOptions(top_k=1))
        assert match.image.image_id == secret(7).image_id
        assert gallery.crop(match.image.image_id)[1] == secret(7).crop
        assert len(gallery.page(Filters(), limit=100).images) == gallery.info().images == 30
        gallery._upkeep.rest()
    for home in homes:
        home.close()
    assert state(data) == before


def test_what_others_write_is_seen_through_a_mount_for_reading(data: Path, tmp_path: Path) -> None:
    """As in a container that has the volume of a running service for reading, to back it up."""
    with (
        closing(DataFolder(data)) as home, mounted_read_only(data, tmp_path / "mounted") as at,
        closing(open_read_only(at / "galleries/default/gallery.sqlite")) as reader,
    ):  # fmt: skip
        for count in (30, 31, 32):
            assert reader.execute("SELECT count(*) FROM images").get == count
            home.get("default").add([secret(70 + count)])


def test_every_write_is_refused(data: Path) -> None:
    before = state(data)
    home = DataFolder(data, read_only=True)
    gallery = home.get("default")
    for write in (
        lambda: gallery.add([secret(99)]), lambda: gallery.delete(secret(1).image_id),
        lambda: gallery.delete_where(Filters()), gallery.sweep, gallery.compact,
        lambda: gallery.change_metadata(secret(1).image_id, lambda metadata: metadata),
        lambda: gallery.change_metadata_where(Filters(), lambda metadata: metadata),
        lambda: home.create("new", SPEC), lambda: home.drop("default"),
        lambda: gallery.cancel_migration("x"),
    ):  # fmt: skip
        with pytest.raises(ReadOnly, match="for reading only"):
            write()
    home.close()
    assert state(data) == before


def test_who_reads_and_who_writes_keep_each_other_out(data: Path) -> None:
    reading = DataFolder(data, read_only=True)
    with pytest.raises(DataFolderLocked, match="in use by a process that only reads it"):
        DataFolder(data)
    reading.close()
    writing = DataFolder(data)
    with pytest.raises(DataFolderLocked, match=r"in use by process \d+"):
        DataFolder(data, read_only=True)
    writing.close()
    (data / "lock").unlink()
    DataFolder(data, read_only=True).close()
    assert not (data / "lock").exists()


def test_what_would_have_to_be_written_first_is_named(data: Path, tmp_path: Path) -> None:
    log = data / "galleries/default/gallery.sqlite-wal"
    log.write_bytes(b"what a killed service left")
    with pytest.raises(DataFolderUnusable, match=r"the log of .*default/gallery\.sqlite holds writes"):
        DataFolder(data, read_only=True)
    log.unlink()
    (data / "galleries/yard/crops/incoming").mkdir(parents=True)
    write_layout_1(data / "galleries/yard/gallery.sqlite")
    with pytest.raises(DataFolderUnusable, match="has layout 1, older than 2"):
        DataFolder(data, read_only=True)
    with pytest.raises(DataFolderUnusable, match="no data folder"):
        DataFolder(tmp_path / "none", default_spec=SPEC, read_only=True)
    assert not (tmp_path / "none").exists()


def test_the_lock_was_let_go_where_opening_failed(data: Path) -> None:
    (data / "layout").write_text("7\n")
    with pytest.raises(DataFolderUnusable, match="layout '7'"):
        DataFolder(data, read_only=True)
    FolderLock(data).close()


def test_a_path_with_signs_of_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%41"
    home = DataFolder(folder, default_spec=SPEC)
    home.get("default").add([secret(1)])
    home.close()
    home = DataFolder(folder, read_only=True)
    assert home.get("default").count() == 1
    home.close()


def test_two_services_on_a_read_only_mount(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as server:
        files = parts(*(jpeg(n) for n in range(5)), metadata=[{"image_id": f"i{n}"} for n in range(5)])
        assert httpx.post(f"{server}/v1/galleries/default/images", files=files).json()["created"] == 5
        kept = httpx.post(f"{server}/v1/queries", content=jpeg(3)).headers["Location"]
    before = state(tmp_path / "data")
    with (
        mounted_read_only(tmp_path / "data", tmp_path / "mounted") as mounted,
        serving(mounted, tiny_model, "--read-only") as first,
        serving(mounted, tiny_model, "--read-only", log=tmp_path / "log") as second,
    ):
        for server in (first, second):
            with httpx.Client(base_url=server, event_hooks={"response": [AnswerCheck(server)]}) as client:
                gallery = "/v1/galleries/default"
                found = client.post(f"{gallery}/search", content=jpeg(3)).json()["matches"]
                assert (found[0]["image_id"], len(found)) == ("i3", 5)
                assert client.get(found[0]["crop"]).status_code == 200
                assert client.get("/readyz").status_code == 200
                assert client.get("/metrics").status_code == 200
                assert client.get(f"{kept}/picture").status_code == 200
                found = client.get(f"{gallery}/search", params={"query_id": kept.rpartition("/")[2]}).json()["matches"]
                assert found[0]["image_id"] == "i3"
                for refusal in (
                    client.put(f"{gallery}/images/x", content=jpeg(1)),
                    client.post(f"{gallery}/images", files=parts(jpeg(1))),
                    client.patch(f"{gallery}/images/i1", json={"vehicle_id": "v"}),
                    client.delete(f"{gallery}/images/i1"),
                    client.delete(f"{gallery}/images?all=true"),
                    client.post("/v1/queries", content=jpeg(1)),
                    client.delete(kept),
                    client.patch(f"{gallery}/images?all=true", json={"vehicle_id": "v"}),
                    client.put("/v1/galleries/new"),
                    client.put("/v1/cameras", json={"cameras": []}),
                    client.put("/v1/cameras/plan?width=1", content=jpeg(1)),
                    client.delete("/v1/cameras/plan"),
                    client.delete("/v1/galleries/default?confirm=default"),
                    client.post(f"{gallery}/migrations"),
                    client.delete(f"{gallery}/migrations/x"),
                ):
                    document = refused(refusal, 403, "read_only")
                    assert document["type"] == "urn:vehicle-search:problem:read-only"
        assert "Traceback" not in (tmp_path / "log").read_text()
    assert state(tmp_path / "data") == before


def test_a_service_that_reads_what_another_writes_does_not_start(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model):
        line = refused_start("--read-only", "--model", str(tiny_model), "--data-dir", str(tmp_path / "data"))
    assert "in use by process" in line or "port" in line


def test_a_service_killed_in_the_middle_is_named(tmp_path: Path) -> None:
    """Its last writes are in the log alone, which reading cannot bring in."""
    home = DataFolder(tmp_path / "data", default_spec=SPEC)
    home.get("default").add([secret(1)])
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(tmp_path / "data"), str(copy)], check=True)
    home.close()
    with pytest.raises(DataFolderUnusable, match="holds writes"):
        DataFolder(copy, read_only=True)
    DataFolder(copy).close()
    home = DataFolder(copy, read_only=True)
    assert home.get("default").count() == 1
    home.close()
