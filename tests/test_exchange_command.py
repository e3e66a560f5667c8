"""``vehicle-index export`` and ``import``: out beside a running service, and in again, without the model."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from index.vehicle_index import main
from tests.pictures import jpeg
from tests.server_process import serving


def test_out_of_a_running_service_and_into_another_folder(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, new = (str(tmp_path / name) for name in ("data", "out", "new"))
    images = "/v1/galleries/default/images"
    with serving(Path(data), tiny_model) as server:
        for n in range(4):
            assert httpx.put(f"{server}{images}/a{n}", content=jpeg(n)).status_code == 201
        assert main(["export", out, "--data-dir", data]) == 0
        assert capsys.readouterr().out == f"default: 4 images, 4 crops, up to change 4: {out}\n"
        assert main(["import", out, "--data-dir", data]) == 2  # one process owns a data folder
        _, err = capsys.readouterr()
        assert "is in use by process" in err.splitlines()[-1]
        some = f"{out}-some"
        httpx.patch(f"{server}{images}/a2", json={"camera_id": "north", "attributes": {"lane": 3}}).raise_for_status()
        words = ["--camera-id", "north", "--attribute", "lane=3"]
        assert main(["export", some, "--data-dir", data, *words]) == 0
        assert capsys.readouterr().out == f"default: 1 of 4 images, 1 crops, up to change 5: {some}\n"
        assert main(["import", some, "--data-dir", f"{new}-some"]) == 0
        assert capsys.readouterr().out == "1 created, 0 updated, 0 there already; gallery default has 1\n"
    assert main(["import", out, "--check"]) == 0
    assert capsys.readouterr().out == "default: 4 images, 4 crops: sound\n"
    assert main(["import", out, "--data-dir", new]) == 0
    assert capsys.readouterr().out == "4 created, 0 updated, 0 there already; gallery default has 4\n"
    assert main(["import", out, "--data-dir", new, "--gallery", "again"]) == 0
    assert capsys.readouterr().out == "4 created, 0 updated, 0 there already; gallery again has 4\n"
    assert main(["verify", "--data-dir", new]) == 0
    with serving(Path(new), tiny_model) as server:
        for gallery in ("default", "again"):
            found = httpx.post(f"{server}/v1/galleries/{gallery}/search", content=jpeg(2)).json()["matches"]
            assert (found[0]["image_id"], found[0]["distance"]) == ("a2", 0)


@pytest.fixture
def out(tiny_model: Path, tmp_path: Path) -> Path:
    """An export of two images from the data folder ``data``."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(jpeg(ord(name[0])))
    pictures = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    data = str(tmp_path / "data")
    assert main(["add", *pictures, "--model", str(tiny_model), "--device", "cpu", "--data-dir", data]) == 0
    assert main(["export", str(tmp_path / "out"), "--data-dir", data]) == 0
    return tmp_path / "out"


def test_damage_is_told_and_the_exit_code_is_1(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((out / "crops").rglob("*.jpg")).unlink()
    capsys.readouterr()
    assert main(["import", str(out), "--check"]) == 1
    assert "an image's crop is missing on the disk" in capsys.readouterr().out
    assert main(["import", str(out), "--data-dir", str(tmp_path / "new")]) == 1
    told = capsys.readouterr().out
    assert "an image's crop is missing on the disk" in told
    assert "2 created" in told
    next((tmp_path / "data").rglob("*.jpg")).unlink()
    assert main(["export", str(tmp_path / "again"), "--data-dir", str(tmp_path / "data")]) == 1
    assert "an image's crop is missing on the disk" in capsys.readouterr().out


def test_mistakes_are_one_line(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-dir", str(tmp_path / "data")]
    for words, message in (
        (["export", str(out), *data], "is not an empty folder"),
        (["export", str(tmp_path / "x"), "--data-dir", str(tmp_path / "none")], "there is no data folder"),
        (["export", str(tmp_path / "x"), "--gallery", "none", *data], "there is no gallery 'none'"),
        (["export", str(tmp_path / "x"), "--viewpoint", "top", *data], "--viewpoint 'top': gallery default knows"),
        (["export", str(tmp_path / "x"), "--captured-after", "noon", *data], "--captured-after: "),
        (["import", str(tmp_path / "none"), *data], "is no export"),
        (["import", str(out), "--gallery", "A B", *data], "the name of a gallery must match"),
    ):
        capsys.readouterr()
        assert main(words) == 2
        printed, err = capsys.readouterr()
        assert (printed, len(err.splitlines())) == ("", 1)
        assert message in err
    assert not (tmp_path / "x").exists()


def test_without_pyarrow_it_says_how_to_install_it(tmp_path: Path) -> None:
    script = (
        "import sys, importlib.abc\n"
        "class None_(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'pyarrow': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, None_())\n"
        "from index.vehicle_index import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for words in (
        ["export", str(tmp_path / "x")],
        ["import", str(tmp_path)],
        ["embed", str(tmp_path), "--output", str(tmp_path / "x")],
    ):
        run = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert run.returncode == 2
        assert run.stderr.splitlines() == [
            f"vehicle-index: {words[0]} needs pyarrow, which is not installed: pip install 'vehicle-search[parquet]', "
            "or build the image with --build-arg MORE=parquet"
        ]


def test_the_note_is_readable(out: Path) -> None:
    note = json.loads((out / "export.json").read_text())
    assert (note["gallery"], note["images"], note["crops"], note["table"]["file"]) == (
        "default", 2, 2, "images.parquet",
    )  # fmt: skip
