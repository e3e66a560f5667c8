"""``vehicle-index embed``: an export like the one of a gallery that ``add`` filled, in parts that outlive whoever made them."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from index.errors import ModelError, StorageError
from index.gallery import GallerySpec
from index.parts.part_embedding import PartEmbedding, PartWork
from index.parts.picture_part import PicturePart
from index.parts.run_folder import OwnedRun, RunFolder, RunNote
from index.vehicle_index import main
from tests.archives import pack
from tests.pictures import jpeg, png
from tests.same_galleries import require_same


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of eleven images, of which two fail, with a frame of two boxes, an archive, and one line that is wrong."""
    folder = tmp_path_factory.mktemp("cars")
    for n in range(4):
        (folder / f"p{n}.jpg").write_bytes(jpeg(n))
    (folder / "frame.png").write_bytes(png(9))
    (folder / "bad.jpg").write_bytes(jpeg(5)[:200])
    pack(folder / "more.tar.gz", {f"{n}.jpg": jpeg(20 + n) for n in range(3)})
    (folder / "manifest.csv").write_text(
        "path,image_id,vehicle_id,camera_id,captured_at,box,lane\n"
        "p0.jpg,a,v1,c 1,2026-05-04T10:11:12+02:00,,left\n"
        "more.tar.gz/2.jpg,z2,v2,,,,\n"
        'frame.png,,v3,c2,,"0,0,40,40",\n'
        'frame.png,,v4,c2,,"40,10,50,60",1.0\n'
        "bad.jpg,bad,,,,,\n"
        "p1.jpg,,,,,,\n"
        "none.jpg,none,,,,,right\n"
        "more.tar.gz/0.jpg,z0,,,,,\n"
        "p2.jpg,same,,,,,\n"
        "p3.jpg,,,,noon,,\n"
        "p2.jpg,again,,,,,\n"
    )
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def added(cars: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that ``add`` filled with the cars, ``failed.csv`` beside it."""
    data = tmp_path_factory.mktemp("added") / "data"
    words = ["add", str(cars), "--data-dir", str(data), "--model", str(tiny_model), "--device", "cpu"]
    assert main([*words, "--failures", str(cars.parent / "of-add.csv")]) == 1
    return data


@pytest.fixture
def embed(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> "Embed":
    return Embed(tiny_model, capsys)


class Embed:
    """Runs the command; ``code`` is how it ended, ``err`` what it said beside its result."""

    def __init__(self, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.model, self._capsys = model, capsys
        self.code, self.err = 0, ""

    def __call__(self, source: Path, output: Path, *words: str, model: Path | None = None) -> str:
        self._capsys.readouterr()
        own = ["--model", str(model or self.model), "--device", "cpu", "--part-images", "3"]
        self.code = main(["embed", str(source), "--output", str(output), *own, *words])
        out, self.err = self._capsys.readouterr()
        return out

    def refused(self, source: Path, output: Path, *words: str, model: Path | None = None) -> str:
        """Run it where it must end with 2 and one line."""
        assert self(source, output, *words, model=model) == ""
        assert self.code == 2
        (line,) = (line for line in self.err.splitlines() if "pictures/s" not in line)
        return line


@pytest.fixture(scope="module")
def whole(cars: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cars embedded; not to be changed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    words = ["embed", str(cars), "--output", str(output), "--model", str(tiny_model), "--device", "cpu"]
    assert main([*words, "--part-images", "3", "--failures", str(cars.parent / "of-embed.csv")]) == 1
    return output


@pytest.fixture(scope="module")
def other_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another file of the same training: its vectors may be compared, its fingerprint is another."""
    model = onnx.load(tiny_model)
    model.doc_string = "another"
    path = tmp_path_factory.mktemp("other") / "other.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def test_a_gallery_filled_from_it_is_as_add_would_have_filled_it(
    whole: Path, cars: Path, added: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(whole), "--check"]) == 0
    assert capsys.readouterr().out == "default: 8 images, 7 crops: sound\n"
    assert main(["import", str(whole), "--data-dir", str(tmp_path / "data")]) == 0
    require_same(tmp_path / "data", added)
    assert main(["verify", "--data-dir", str(tmp_path / "data")]) == 0
    failed, of_add = ((cars.parent / name).read_text() for name in ("of-embed.csv", "of-add.csv"))
    assert sorted(failed.splitlines()) == sorted(of_add.splitlines())
    assert len(failed.splitlines()) == 4


def test_what_is_whole_is_kept_and_the_rest_is_made(out: Path, cars: Path, embed: Embed) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert before.keys() == {"00000.parquet", "00001.parquet", "00002.parquet", "00003.parquet"}
    told = embed(cars, out)
    assert told == f"8 embedded, 3 failed, in 4 parts (4 there already): {out}\n"
    assert (embed.code, embed.err.count("none.jpg: No such file")) == (1, 1)
    (out / "parts/00000.parquet").unlink()
    cut = (out / "parts/00002.parquet").read_bytes()
    (out / "parts/00002.parquet").write_bytes(cut[: len(cut) // 2])
    shutil.copy(out / "parts/00001.parquet", out / "parts/00003.parquet")  # whole, and another part
    (out / "parts/00000.12345678.partial").mkdir()
    assert embed(cars, out) == f"8 embedded, 3 failed, in 4 parts (1 there already): {out}\n"
    after = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] == after[name]] == ["00001.parquet"]
    assert main(["import", str(out), "--check"]) == 0
    assert {path.name for path in out.iterdir()} == {"crops", "embed.json", "export.json", "parts"}


def test_killed_it_is_gone_on_with(cars: Path, added: Path, tiny_model: Path, tmp_path: Path, embed: Embed) -> None:
    """In the third part, when its crops are there and its table has no name yet."""
    out = tmp_path / "out"
    script = (
        "import os, signal, sys; from index.parts import part_embedding as p\n"
        "take = p.take_place\n"
        "p.take_place = lambda part, path: os.kill(os.getpid(), 9) if '00002' in path.name else take(part, path)\n"
        "from index.vehicle_index import main; main(sys.argv[1:])"
    )
    words = ["embed", str(cars), "--output", str(out), "--model", str(tiny_model), "--part-images", "3"]
    assert subprocess.run([sys.executable, "-c", script, *words], capture_output=True).returncode == -9
    assert {path.suffix for path in (out / "parts").iterdir()} == {".parquet", ".partial"}
    assert main(["import", str(out), "--check"]) == 2  # it is no export yet
    assert embed(cars, out) == f"8 embedded, 3 failed, in 4 parts (2 there already): {out}\n"
    assert main(["import", str(out), "--data-dir", str(tmp_path / "data")]) == 0
    require_same(tmp_path / "data", added)


def test_another_run_is_refused(
    out: Path, cars: Path, other_model: Path, tmp_path: Path, embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "was begun with the model " in embed.refused(cars, out, model=other_model)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(jpeg(1))
    assert "was begun with other sources or another manifest (10 images then, 1 now)" in embed.refused(other, out)
    assert "was begun with part_images 3, not 4" in embed.refused(cars, out, "--part-images", "4")
    assert "was begun with gallery default, not yard" in embed.refused(cars, out, "--gallery", "yard")
    assert "is no folder of `vehicle-index embed` (it has no file embed.json)" in embed.refused(cars, other)
    assert "lies in" in embed.refused(other, other / "x/out")
    assert "are of --engine ray" in embed.refused(cars, out, "--workers", "2")
    with monkeypatch.context() as patched:
        patched.setattr("index.parts.ray_engine.find_spec", lambda name: name)
        new = tmp_path / "new"
        assert "say how many --workers" in embed.refused(cars, new, "--engine", "ray", "--address", "auto")
        assert not new.exists()
    monkeypatch.setattr("index.parts.ray_engine.find_spec", lambda name: None)
    assert "pip install 'vehicle-search[ray]'" in embed.refused(cars, out, "--engine", "ray")
    with closing(OwnedRun(out)):
        assert "another `vehicle-index embed` fills" in embed.refused(cars, out)
    (out / "embed.json").write_text(json.dumps({"format": "vehicle-search embed", "version": 9}))
    assert "is of version 9, this release knows 1" in embed.refused(cars, out)


def test_a_worker_without_the_folder_or_the_model_says_so(
    out: Path, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    """As one on a machine that has not mounted what the others have."""
    document = json.loads((out / "embed.json").read_text())
    spec = GallerySpec(**{**document["spec"], "viewpoints": tuple(document["spec"]["viewpoints"])})
    note = RunNote(
        spec=spec, **{name: document[name] for name in ("gallery", "model", "listing", "images", "part_images")}
    )
    assert RunFolder(out).report(0, note) is not None
    assert RunFolder(out).report(0, replace(note, gallery="yard")) is None  # a part of another run
    part = PicturePart(number=7, images=())
    with pytest.raises(StorageError, match="is not the folder of this run"):
        PartEmbedding(PartWork(folder=tmp_path / "elsewhere", note=note, model=tiny_model)).embed(part)
    with pytest.raises(ModelError, match="is not the model of this run"):
        PartEmbedding(PartWork(folder=out, note=note, model=other_model)).embed(part)
