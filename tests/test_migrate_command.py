"""``vehicle-index migrate``: what it says, and that it goes on where it was killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec
from index.maintenance.verification import examine
from index.storage.database_file import open_read_only
from index.vehicle_index import main
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_vehicle_index import Door


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(60):
        (folder / f"p{n:02}.jpg").write_bytes(jpeg(n))
    return folder


@pytest.fixture
def door(tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> Door:
    """The door on a folder with sixty images of the tiny model."""
    door = Door(tmp_path / "data", tiny_model, capsys)
    door("add", pictures)
    assert door.code == 0, door.err
    return door


def migrate(door: Door, model: Path, *words: str) -> str:
    return door("migrate", "--model", model, "--device", "cpu", *words)


def test_a_gallery_moves_and_answers_by_the_new_model(door: Door, next_model: Path, pictures: Path) -> None:
    assert "default: 60 images answer by tiny now" in migrate(door, next_model)
    assert door.code == 0
    assert "60/60" in door.err
    assert "already" in migrate(door, next_model)
    door.model = next_model
    assert "p07.jpg" in door("search", pictures / "p07.jpg", "--top-k", "1")
    assert examine(door.data / "galleries/default").findings == []


def test_what_cannot_move_is_told_and_the_others_move(door: Door, tiny_model: Path, next_model: Path) -> None:
    contract = Embedder(tiny_model, device="cpu").contract
    home = DataFolder(door.data)
    home.create("lean", GallerySpec.for_model(contract, keep_crops=False))
    home.close()
    out = migrate(door, next_model)
    assert "default: 60 images" in out
    assert "gallery lean keeps no crops" in door.err
    assert door.code == 1


def test_crops_that_are_missing_leave_the_gallery_as_it_is(door: Door, next_model: Path) -> None:
    next((door.data / "galleries/default/crops").glob("??/*")).unlink()
    migrate(door, next_model)
    assert door.code == 1
    assert "its crop is missing" in door.err
    assert "1 images cannot be embedded anew" in door.err
    assert "default: no migration to cancel" in door("migrate", "--cancel")
    assert door.code == 1


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_the_same_command_goes_on(
    door: Door, next_model: Path, pictures: Path, kill: signal.Signals
) -> None:
    words = ["migrate", "--data-dir", str(door.data), "--model", str(next_model), "--device", "cpu"]
    slow = [sys.executable, "-c", "import time, sys, index.embedder as e\n"
            "from index import gallery_migration\ngallery_migration._WRITTEN_AT_ONCE = 4\n"
            "from index.vehicle_index import main\nembed = e.Embedder.embed\n"
            "def slowly(self, crops):\n    time.sleep(0.2)\n    return embed(self, crops)\n"
            "e.Embedder.embed = slowly\nsys.exit(main(sys.argv[1:]))"]  # fmt: skip
    with subprocess.Popen([*slow, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (done := _done(door.data)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, kill)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if kill == signal.SIGKILL else 130), err
    if kill == signal.SIGINT:
        assert "the same command goes on" in err.splitlines()[-1]
    assert 0 < done < 60
    assert "default: 60 images answer" in migrate(door, next_model)
    door.model = next_model
    assert "p07.jpg" in door("search", pictures / "p07.jpg", "--top-k", "1")
    assert examine(door.data / "galleries/default").findings == []


def _done(data: Path) -> int:
    """Vectors of the new space that are on the disk."""
    with closing(open_read_only(data / "galleries/default/gallery.sqlite")) as connection:
        number: int = connection.execute("SELECT count(*) FROM embeddings WHERE space_id = 2").get
        return number


def test_a_service_that_holds_the_folder_is_named(door: Door, tiny_model: Path, next_model: Path) -> None:
    with serving(door.data, tiny_model) as server:
        assert httpx.get(f"{server}/livez").status_code == 200
        assert "in use by process" in door.refused("migrate", "--model", next_model, "--device", "cpu")


def test_a_model_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["migrate"])
    assert "--model" in capsys.readouterr().err
