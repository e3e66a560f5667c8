"""``vehicle-index stats``: table, JSON and page, beside a running service."""

import json
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from index.vehicle_index import main
from tests.pictures import jpeg
from tests.server_process import serving


class Page(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.charts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loaded += [value for name in ("src", "href") if (value := named.get(name))]
        if tag == "svg":
            self.charts.append(str(named["aria-label"]))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_beside_a_running_service(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, page = tmp_path / "data", tmp_path / "drawn/page.html"
    with serving(data, tiny_model) as server:
        for n in range(4):
            document = {
                "vehicle_id": f"v{n // 2}", "camera_id": "<north>", "captured_at": f"2026-05-04T0{n}:30:00Z",
            }  # fmt: skip
            parts = {"image": jpeg(n), "metadata": json.dumps(document).encode()}
            assert httpx.put(f"{server}/v1/galleries/default/images/a{n}", files=parts).status_code == 201
        assert main(["stats", "--data-dir", str(data), "--page", str(page)]) == 0
        out = capsys.readouterr().out
    assert out.startswith(
        "default: 4 images, 2 vehicles with a vehicle_id, 1 cameras, captured from 2026-05-04T00:30:00Z to "
        "2026-05-04T03:30:00Z\n"
    )
    assert "<north>  4  " in out
    assert "within a vehicle      2 " in out
    shown = Page(page.read_text())
    assert shown.loaded == []
    assert shown.charts == ["images by camera and hour", "shares of viewpoints", "distances"]
    assert "Gallery default" in shown.words
    assert "<north>" in shown.words
    assert main(["stats", "--data-dir", str(data), "--json", "--timezone", "Asia/Kolkata"]) == 0
    document = json.loads(capsys.readouterr().out)
    (camera,) = document["cameras"]
    assert camera["hours"][6:10] == [1, 1, 1, 1]
    assert document["captured"]["timezone"] == "Asia/Kolkata"
    assert document["distances"]["within"]["pairs"] == 2
    assert sum(document["distances"]["between"]["histogram"]) == pytest.approx(1)


def test_an_empty_gallery(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, page = tmp_path / "data", tmp_path / "page.html"
    with serving(data, tiny_model):
        pass
    assert main(["stats", "--data-dir", str(data), "--page", str(page)]) == 0
    assert "The gallery is empty." in capsys.readouterr().out
    shown = Page(page.read_text())
    assert (shown.charts, "The gallery is empty." in shown.words) == ([], True)
    assert main(["stats", "--data-dir", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["The gallery is empty."]


def test_mistakes_are_one_line(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path / "data")
    with serving(tmp_path / "data", tiny_model):
        pass
    for words, message in (
        (["--data-dir", data, "--timezone", "Moon/Sea"], "--timezone 'Moon/Sea' is not a time zone"),
        (["--data-dir", data, "--timezone", "../x"], "is not a time zone"),
        (["--data-dir", data, "--gallery", "none"], "there is no gallery 'none'"),
        (["--data-dir", str(tmp_path / "none")], "there is no data folder"),
        (["--data-dir", data, "--page", "/dev/null/x.html"], "File exists: '/dev/null'"),
    ):
        assert main(["stats", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1), err
        assert message in err
