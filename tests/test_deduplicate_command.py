"""``vehicle-index deduplicate``: tells, shows, and acts only when told to."""

import json
from pathlib import Path

import faiss
import pytest

from index.vehicle_index import main
from tests.pictures import encoded, photograph
from tests.server_process import serving
from tests.test_stats_command import Page


@pytest.fixture
def data(tiny_model: Path, tmp_path: Path) -> Path:
    """A and b are one file, c is scaled, d another picture; e and f are one file of two vehicles."""
    pictures = {"a": photograph(1), "b": photograph(1), "c": photograph(1, (192, 144)), "d": photograph(2)}
    pictures |= dict.fromkeys("ef", photograph(3))
    lines = ["path,vehicle_id,note"]
    for name, picture in pictures.items():
        (tmp_path / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=92))
        lines.append(f"{name}.jpg,{'' if name in 'ab' else name},<{name}>")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    words = ["--model", str(tiny_model), "--device", "cpu", "--data-dir", str(tmp_path / "data")]
    assert main(["add", str(tmp_path / "manifest.csv"), *words]) == 0
    return tmp_path / "data"


def test_it_tells_before_it_acts(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["deduplicate", "--data-dir", str(data), "--max-distance", "1"]
    sheet = tmp_path / "sheet.html"
    capsys.readouterr()
    assert main([*words, "--sheet", str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [
        ["c.jpg", "a.jpg", "near"], ["c.jpg", "b.jpg", "near"], ["e.jpg", "f.jpg", "same"],
    ]  # fmt: skip
    assert lines[-2].endswith("disagree, left alone: vehicle_id: e, f")
    assert lines[-1] == (
        "6 images: 1 there again as the same picture, 2 as nearly the same. 1 groups disagree about vehicle or camera "
        f"and are left alone. Shown: {sheet}. Nothing was changed; --apply erases 2."
    )
    page = Page(sheet.read_text())
    assert len(page.loaded) == 5
    assert all(each.startswith("data:image/jpeg;base64,") for each in page.loaded)
    assert "They disagree, so they are left alone: vehicle_id: e, f" in page.words
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["erased"]) == (6, 0)
    assert document["groups"][0]["kept"] == "c.jpg"
    assert main([*words, "--apply"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 2 erased.")
    assert main(["list", "--data-dir", str(data), "--json"]) == 0
    left = [json.loads(line)["image_id"] for line in capsys.readouterr().out.splitlines()]
    assert left == ["c.jpg", "d.jpg", "e.jpg", "f.jpg"]
    assert main([*words]) == 0
    assert "--apply" not in capsys.readouterr().out


def test_a_running_service_is_named(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path / "data", tiny_model):
        assert main(["deduplicate", "--data-dir", str(tmp_path / "data")]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "is in use by process" in err


def test_mistakes_are_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--max-distance", "-1"], "--max-distance must be a finite number from 0, not -1.0"),
        (["--within", "nan"], "--within must be a finite number from 0, not nan"),
        (["--gallery", "none"], "there is no gallery none"),
    ):
        capsys.readouterr()
        assert main(["deduplicate", "--data-dir", str(data), *words]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert message in err


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deduplicate", "--data-dir", str(tmp_path), "--index-device", "cuda"]) == 2
    assert "index_device is cuda, but " in capsys.readouterr().err
    assert main(["deduplicate", "--data-dir", str(tmp_path), "--gpu-index-memory", "-1"]) == 2
    assert "--gpu-index-memory must be 0 or more bytes, not -1" in capsys.readouterr().err
