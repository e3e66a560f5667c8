"""``vehicle-search query`` as somebody types it, against a running service."""

import io
import json
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.settings import API_KEY
from service.vehicle_search import main
from tests.pictures import jpeg, photograph
from tests.server_process import free_port
from vehicle_search_client import NewImage, VehicleSearch

CAPTURED = "2026-05-04T10:11:12Z"


@pytest.fixture(scope="module")
def yard(server: str) -> Iterator[str]:
    """A gallery of four pictures of two vehicles."""
    with VehicleSearch(server) as service:
        service.create_gallery("query-yard")
        images = [
            NewImage(picture=jpeg(n), image_id=f"i{n}", vehicle_id=f"v{n // 2}", camera_id=f"c{n % 2}",
                     captured_at=CAPTURED if n == 1 else None, attributes={"lane": n, "note": "<b>&"})
            for n in range(4)
        ]  # fmt: skip
        service.add_images(images, gallery="query-yard")
        yield "query-yard"
        service.drop_gallery("query-yard", confirm="query-yard")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    (tmp_path / "car.jpg").write_bytes(jpeg(1))
    return str(tmp_path / "car.jpg")


def asked(*words: str) -> int:
    return main(["query", *words])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command ends."""
    assert asked(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def test_matches_are_a_table(server: str, yard: str, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(picture, "--url", server, "--gallery", yard, "--top-k", "3") == 0
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "distance", "image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at"]
    assert first.split()[:5] == ["1", "0.0000", "i1", "v0", "c1"]
    assert first.split()[-1] == CAPTURED
    assert len(rest) == 2


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--image-id", "i0", "--image-id", "i3"), {"i0", "i3"}),
        (("--camera-id", "c0"), {"i0", "i2"}), (("--exclude-camera-id", "c0"), {"i1", "i3"}),
        (("--vehicle-id", "v1", "--camera-id", "c1"), {"i3"}), (("--captured-after", "2026-01-01T00:00:00Z"), {"i1"}),
        (("--captured-before", CAPTURED), set()), (("--attribute", "lane=2"), {"i2"}), (("--attribute", 'lane="2"'), set()),
        (("--max-distance", "0"), {"i1"}), (("--box", "0,0,96,72", "--max-distance", "0.01"), {"i1"}),
    ],
)  # fmt: skip
def test_options_reach_the_service(
    server: str, yard: str, picture: str, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], found: set[str]
) -> None:
    assert asked(picture, "--url", server, "--gallery", yard, "--json", *options) == 0
    assert {match["image_id"] for match in json.loads(capsys.readouterr().out)} == found


def test_several_pictures_are_one_vehicle(
    server: str, yard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    both = [str(tmp_path / f"{number}.jpg") for number in (0, 1)]
    assert asked(*both, "--url", server, "--gallery", yard, "--group-by", "vehicle_id", "--json") == 0
    matches = json.loads(capsys.readouterr().out)
    assert [match["vehicle_id"] for match in matches] == ["v0", "v1"]
    assert matches[0]["distance"] > 0
    assert "up to 8" in refused(capsys, *both * 5, "--url", server)
    assert "--box" in refused(capsys, *both, "--url", server, "--box", "0,0,9,9")


def test_nothing_is_no_error(server: str, yard: str, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(picture, "--url", server, "--gallery", yard, "--camera-id", "nowhere") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"nothing in gallery {yard} matches\n")


def test_the_page_shows_the_pictures(server: str, yard: str, picture: str, tmp_path: Path) -> None:
    page = tmp_path / "made" / "matches.html"
    words = (picture, "--url", server, "--gallery", yard, "--html", str(page), "--box", "10,0,80,72", "--json")
    assert asked(*words) == 0
    text = page.read_text()
    shown = [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]
    assert [image.size for image in shown] == [(80, 72)] + [(96, 72)] * 4  # the query as it was cut, and all crops
    assert "4 matches, nearest first" in text
    assert "note &lt;b&gt;&amp;" in text
    assert "<script" not in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)


def test_a_gallery_without_crops_has_matches_without_pictures(server: str, picture: str, tmp_path: Path) -> None:
    with VehicleSearch(server) as service:
        service.create_gallery("bare", keep_crops=False)
        service.put_image("a", jpeg(0), gallery="bare")
        assert asked(picture, "--url", server, "--gallery", "bare", "--html", str(tmp_path / "x.html")) == 0
        service.drop_gallery("bare", confirm="bare")
    text = (tmp_path / "x.html").read_text()
    assert "no crop is kept" in text
    assert "1 match, nearest first" in text


def test_what_is_wrong_is_one_line(
    server: str, yard: str, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ("--url", server, "--gallery", yard)
    (tmp_path / "notes.txt").write_text("no picture")
    assert "cannot read the picture" in refused(capsys, str(tmp_path / "none.jpg"), *here)
    assert "not a picture" in refused(capsys, str(tmp_path / "notes.txt"), *here).lower()
    assert "nowhere" in refused(capsys, picture, "--url", server, "--gallery", "nowhere")
    assert "top" in refused(capsys, picture, *here, "--viewpoint", "top")
    assert "--top-k" in refused(capsys, picture, *here, "--top-k", "0")
    assert "--captured-after" in refused(capsys, picture, *here, "--captured-after", "yesterday")
    assert "box" in refused(capsys, picture, *here, "--box", "0,0,1000,1000")
    assert "address of a service" in refused(capsys, picture, "--url", "localhost:8000")
    (tmp_path / "file").touch()
    assert "file" in refused(capsys, picture, *here, "--html", str(tmp_path / "file" / "x.html"))


def test_where_no_service_is(picture: str) -> None:
    command = [
        sys.executable,
        "-m",
        "service.vehicle_search",
        "query",
        picture,
        "--url",
        f"http://127.0.0.1:{free_port()}",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(
        r"vehicle-search: http://127.0.0.1:\d+ cannot be reached: .* is the service running there\?\n", run.stderr
    )


def test_the_key_of_the_environment_does_not_keep_a_service_from_starting(
    server: str, yard: str, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.settings import read_settings

    monkeypatch.setenv(API_KEY, "secret")
    assert read_settings([], prog="x").port == 8000
    assert asked(picture, "--url", server, "--gallery", yard) == 0


def test_a_photograph_that_lies_on_its_side_is_shown_upright(server: str, yard: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(0).save(tmp_path / "side.jpg", exif=exif)
    assert (
        asked(str(tmp_path / "side.jpg"), "--url", server, "--gallery", yard, "--html", str(tmp_path / "x.html")) == 0
    )
    assert "side.jpg, 72 × 96" in (tmp_path / "x.html").read_text()
