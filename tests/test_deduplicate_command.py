"""``vehicle-index deduplicate``: tells, shows, and acts only when told to."""

import json
from pathlib import Path

import faiss
import httpx
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
    assert "The kept picture stands first" in "".join(page.words)
    assert main(["delete", "e.jpg", "--data-dir", str(data)]) == 0
    assert main([*words, "--sheet", str(sheet)]) == 0
    assert "--apply" not in capsys.readouterr().out
    nothing = Page(sheet.read_text())
    assert nothing.loaded == []
    assert "stands first" not in "".join(nothing.words)


def test_beside_a_running_service_it_tells_and_does_not_act(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    words = ["deduplicate", "--data-dir", str(data), "--max-distance", "1"]
    assert main(words) == 0
    alone = capsys.readouterr().out.splitlines()
    images = "/v1/galleries/default/images"
    with serving(data, tiny_model) as server:
        sheet = tmp_path / "sheet.html"
        assert main([*words, "--sheet", str(sheet)]) == 0
        beside = capsys.readouterr().out.splitlines()
        assert beside[1:-1] == alone[1:-1]
        assert beside[-1].endswith(
            f"Shown: {sheet}. Nothing was changed: another process has the data folder. DELETE {images}/{{image_id}} erases "
            "(--json names all 2), or stop it and use --apply."
        )
        assert len(Page(sheet.read_text()).loaded) == 5
        capsys.readouterr()
        assert main([*words, "--apply"]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert "is in use by process" in err
        assert f"DELETE {images}/{{image_id}} erases it" in err
        assert main([*words, "--json"]) == 0
        for other in json.loads(capsys.readouterr().out)["groups"][0]["others"]:
            assert httpx.delete(f"{server}{images}/{other['image_id']}").status_code == 204
        assert main([*words, "--gallery", "none"]) == 2
        assert "there is no gallery 'none'" in capsys.readouterr().err
        assert main(words) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("4 images: 1 there again as the same picture, 0 as")
    assert list(temporary.iterdir()) == []


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
