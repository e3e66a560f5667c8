"""``vehicle-index copy``: the same gallery elsewhere, whatever stopped it, and what is not the same is told."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.data_folder import DataFolder
from index.gallery import Filters, Metadata
from index.storage.gallery_files import CROPS
from index.vehicle_index import main as vehicle_index
from tests.test_gallery import NOON, SPEC, image, random_vectors

MANY = 600
NOWHERE = ("--to", "milvus", "--milvus-uri", "http://127.0.0.1:1", "--crops-url", "crops")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``default`` and ``yard``."""
    path = tmp_path_factory.mktemp("copied") / "data"
    with closing(DataFolder(path, default_spec=SPEC)) as home:
        vectors = random_vectors(MANY)
        home.get("default").add([
            replace(
                image(f"i{n}", vectors[n], vehicle_id=f"v{n % 7}", captured_at=NOON, attributes={"n": n, "t": "Ü"}),
                ingested_at=NOON, viewpoint=None if n % 5 == 0 else np.array([0.2, 0.3, 0.5], dtype=np.float32),
            )
            for n in range(MANY)
        ])  # fmt: skip
        yard, _ = home.create("yard", replace(SPEC, keep_crops=False))
        yard.add([replace(image("y"), crop=b"")])
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def copy(filled: Path, target: Path, *words: str) -> int:
    return vehicle_index(["copy", "--from", "local", "--data-dir", str(filled), "--to", str(target), *words])


def opened(path: Path) -> "closing[DataFolder]":
    return closing(DataFolder(path, default_spec=SPEC))


def test_all_galleries_are_the_same_elsewhere(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert copy(filled, target) == 0
    said = capsys.readouterr().out
    assert f"default: {MANY} created, 0 updated, 0 there already" in said
    assert "100 searches agree to 100.0% (100% is asked), 100 of 100 crops the same: the same" in said
    assert "yard: 1 images" in said
    with opened(filled) as own, opened(target) as other:
        assert other.names() == ["default", "yard"]
        for name in other.names():
            assert other.get(name).spec == own.get(name).spec
            assert list(other.get(name).page(Filters(), limit=1000).images) == list(
                own.get(name).page(Filters(), limit=1000).images
            )
        assert np.array_equal(other.get("default").embedding("i7"), own.get("default").embedding("i7"))
        assert other.get("default").crop("i7") == own.get("default").crop("i7")
    assert copy(filled, target) == 0
    assert f"default: 0 created, 0 updated, {MANY} there already" in capsys.readouterr().out


def test_a_damaged_gallery_is_told_and_keeps_no_other_back(
    filled: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(filled, damaged)
    with (damaged / "galleries/default/gallery.sqlite").open("r+b") as file:
        file.seek(100)
        file.write(bytes(300_000))
    assert copy(damaged, target) == 1
    told = capsys.readouterr()
    assert "default: NOT copied: " in told.err
    assert "yard: 1 created" in told.out
    assert copy(damaged, target, "--gallery", "yard") == 0
    assert copy(damaged, target, "--gallery", "default") == 2


def test_a_folder_is_not_copied_into_itself(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again"
    again.symlink_to(filled)
    for other, words in ((filled, "are both"), (again, "are both"), (filled / "inner", "lies in the other")):
        assert copy(filled, other) == 2
        assert words in capsys.readouterr().err
    assert copy(filled, filled.parent) == 2
    assert not (filled / "inner").exists()


def test_one_gallery_goes_by_another_name_and_kind(filled: Path, target: Path) -> None:
    assert copy(filled, target, "--gallery", "default", "--as", "copied", "--kind", "auto", "--vectors", "sq8") == 0
    with opened(target) as other:
        assert other.get("default").count() == 0
        assert (other.get("copied").count(), other.get("copied").spec.kind) == (MANY, "auto")


KILLED = (
    "import os, sys; from index.{module} import {gallery} as Gallery; from index.transfer import image_transfer\n"
    "from index.vehicle_index import main\n"
    "add, times, image_transfer._WRITTEN_AT_ONCE = Gallery.add, [], 256\n"
    "def dying(self, images):\n"
    "    times.append(1)\n"
    "    if len(times) == 3: os.kill(os.getpid(), 9)\n"
    "    return add(self, images)\n"
    "Gallery.add = dying; main(sys.argv[1:])"
)


def killed(words: Sequence[str], *, module: str, gallery: str) -> int:
    """Run ``vehicle-index`` until it writes to a gallery of that class the third time; its return code."""
    program = KILLED.format(module=module, gallery=gallery)
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, check=False).returncode


def test_killed_and_started_again_it_goes_on(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["copy", "--from", "local", "--data-dir", str(filled), "--to", str(target)]
    assert killed(words, module="local_gallery", gallery="LocalGallery") == -9
    assert copy(filled, target) == 0
    assert f"default: {MANY - 512} created, 0 updated, 512 there already" in capsys.readouterr().out


def test_what_differs_is_told_and_mended(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert copy(filled, target, "--gallery", "default") == 0
    with opened(target) as other:
        gallery = other.get("default")
        gallery.add([image("extra"), replace(image("i3"), ingested_at=NOON)])
        gallery.change_metadata("i4", lambda _: Metadata(vehicle_id="another"))
        gallery.delete("i5")
    capsys.readouterr()
    assert copy(filled, target, "--gallery", "default", "--check") == 1
    told = capsys.readouterr()
    assert f"default: not the same: {MANY} images with" in told.err
    assert "created" not in told.out
    assert copy(filled, target, "--gallery", "default") == 1  # one is there alone
    assert "--mirror" in capsys.readouterr().err
    assert copy(filled, target, "--gallery", "default", "--mirror") == 0
    assert f"0 created, 0 updated, {MANY} there already, 1 erased" in capsys.readouterr().out


def test_a_vector_that_differs_is_seen(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert copy(filled, target, "--gallery", "default") == 0
    with opened(target) as other:
        gallery = other.get("default")
        own = image(
            "i8", random_vectors(1, seed=5)[0], vehicle_id="v1", captured_at=NOON, attributes={"n": 8, "t": "Ü"}
        )
        gallery.add([replace(own, ingested_at=NOON, viewpoint=np.array([0.2, 0.3, 0.5], dtype=np.float32))])
    assert copy(filled, target, "--gallery", "default") == 1
    told = capsys.readouterr().err
    assert f"not the same: {MANY} images with" in told
    assert "copy it anew" in told


def test_pictures_that_cannot_be_read_are_named(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(filled) as home:
        name, _ = home.get("default").crop("i9")
    crop = filled / "galleries" / "default" / CROPS / name[:2] / name
    whole = crop.read_bytes()
    crop.unlink()
    try:
        assert copy(filled, target, "--gallery", "default") == 1
    finally:
        crop.write_bytes(whole)
    told = capsys.readouterr()
    assert "1 could not be read" in told.out
    assert "i9 was not copied" in told.err
    assert copy(filled, target, "--gallery", "default") == 0


@pytest.fixture
def other_space(target: Path) -> Path:
    with closing(DataFolder(target, default_spec=replace(SPEC, embedding_space="another"))) as home:
        home.get("default").add([image("a")])
    return target


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--to", "local"), "both local"),
        (("--as", "copied"), "--gallery"),
        (("--gallery", "nothing"), "no gallery nothing"),
        (("--gallery", "default", "--as", "NO"), "NO"),
        (("--milvus-uri", "http://127.0.0.1:1"), "--milvus-uri is for --from milvus or --to milvus"),
        (("--crops-url", "somewhere"), "--crops-url is for"),
        (("--to", "milvus"), "needs --milvus-uri"),
        (("--to", "milvus", "--milvus-uri", "http://me@there"), "http://me@there"),
        (("--to", "milvus", "--milvus-uri", "http://127.0.0.1:1"), "needs --crops-url"),
        ((*NOWHERE, "--crops-access-key-file", "k"), "give both"),
        ((), "another"),
    ],
)
def test_what_cannot_be_is_refused(
    filled: Path, other_space: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], wanted: str
) -> None:
    assert copy(filled, other_space, *words) == 2
    assert wanted in capsys.readouterr().err


def test_a_folder_that_is_in_use_is_not_copied(filled: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(filled):
        assert copy(filled, target) == 2
    assert str(filled) in capsys.readouterr().err
