"""``vehicle-index backup`` and ``restore``, beside a running service."""

from pathlib import Path

import httpx
import pytest

from index.vehicle_index import main
from tests.pictures import jpeg
from tests.server_process import serving


def test_from_a_running_service_to_another_one(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, backup, new = (str(tmp_path / name) for name in ("data", "backup", "new"))
    images = "/v1/galleries/default/images"
    with serving(Path(data), tiny_model) as server:
        for n in range(4):
            assert httpx.put(f"{server}{images}/a{n}", content=jpeg(n)).status_code == 201
        assert main(["backup", backup, "--data-dir", data]) == 0
        assert capsys.readouterr().out == "default: 4 images, 4 crops (4 new, 0 forgotten), up to change 4\n"
        assert httpx.delete(f"{server}{images}/a1").status_code == 204
        assert httpx.put(f"{server}{images}/a2", content=jpeg(20)).status_code == 200
        assert main(["restore", backup, "--data-dir", new, "--since", data]) == 0
        assert capsys.readouterr().out == (
            "default: 3 images, up to change 5; erased since, left out: 1; replaced since, as they were: 1\n"
        )
        assert main(["backup", backup, "--data-dir", data]) == 0
        assert capsys.readouterr().out == "default: 3 images, 3 crops (1 new, 2 forgotten), up to change 7\n"
    assert main(["verify", "--data-dir", backup]) == main(["verify", "--data-dir", new]) == 0
    with serving(Path(new), tiny_model) as server:
        found = httpx.post(f"{server}/v1/galleries/default/search", content=jpeg(2)).json()["matches"]
        assert (found[0]["image_id"], found[0]["distance"]) == ("a2", 0)
        assert {match["image_id"] for match in found} == {"a0", "a2", "a3"}


def test_without_since_it_says_that_erased_images_are_back(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    shared = ["--data-dir", str(tmp_path / "data")]
    main(["add", str(tmp_path / "a.jpg"), "--model", str(tiny_model), "--device", "cpu", *shared])
    main(["backup", str(tmp_path / "backup"), *shared])
    main(["delete", "--all", *shared])
    capsys.readouterr()
    assert main(["restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new")]) == 0
    assert "what was erased after the backup is in it again (see --since)" in capsys.readouterr().out


def test_damage_is_told_and_the_exit_code_is_1(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    shared = ["--data-dir", str(tmp_path / "data")]
    main(["add", str(tmp_path / "a.jpg"), "--model", str(tiny_model), "--device", "cpu", *shared])
    (crop,) = (tmp_path / "data").rglob("*.jpg")
    crop.unlink()
    capsys.readouterr()
    assert main(["backup", str(tmp_path / "backup"), *shared]) == 1
    assert "an image's crop is missing on the disk  a.jpg" in capsys.readouterr().out
    assert main(["restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new")]) == 1
    assert "an image's crop is missing on the disk  a.jpg" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["backup", str(tmp_path / "b"), "--data-dir", str(tmp_path / "none")],
        ["restore", str(tmp_path / "none"), "--data-dir", str(tmp_path / "new")],
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith("vehicle-index: ")
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit):
        main(["restore", str(tmp_path / "none")])
