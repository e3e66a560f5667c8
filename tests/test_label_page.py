"""The page's server on a real port: who may use it, what it takes, what it answers."""

import importlib.resources
import io
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from index.errors import InvalidValue
from index.manifest import read_manifest
from model_export.annotating.annotation import Annotation
from model_export.annotating.label_file import open_label_file
from model_export.annotating.label_page import Description, LabelPage, keys_of
from model_export.annotating.work_list import pictures_of
from tests.pictures import jpeg, png

VIEWPOINTS = ("front", "rear", "side")


@dataclass(frozen=True)
class Served:
    """A running page, a client of it and the folder of its labels."""

    page: LabelPage
    client: httpx.Client
    folder: Path

    def next(self, count: int = 3, *, window: str = "w", holding: tuple[str, ...] = ()) -> dict[str, Any]:
        answer = self.client.post("/next", json={"window": window, "holding": list(holding), "count": count})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def labels(self) -> dict[str, str | None]:
        rows = read_manifest(self.folder / "labels.csv", required=("path",))
        return {row.path.name: row.viewpoint for row in rows}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Six pictures: a JPEG, a PNG, a part of a PNG, a damaged one, a missing one, a JPEG with a guess."""
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "3.jpg").write_bytes(jpeg(3)[:300])
    (tmp_path / "5.jpg").write_bytes(jpeg(5))
    (tmp_path / "manifest.csv").write_text(
        'path,box\n0.jpg,\n1.png,\n1.png,"10,20,30,40"\n3.jpg,\nmissing.jpg,\n5.jpg,\n'
    )
    rows = read_manifest(tmp_path / "manifest.csv", required=("path",))
    pictures = pictures_of(rows, tmp_path / "labels.csv")
    pictures[5] = replace(pictures[5], guess=(0.5, 0.5, 0.0))
    with (
        open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS, carried=["box"]) as labels,
        open_label_file(tmp_path / "labels.skipped.csv", viewpoints=(), carried=["box"]) as skipped,
    ):
        work = Annotation(pictures, labels, skipped, viewpoints=VIEWPOINTS)
        described = Description(labels="labels.csv", order="manifest", model="")
        with LabelPage(work, described, port=0) as page:
            thread = threading.Thread(target=page.serve_forever)
            thread.start()
            with httpx.Client(base_url=page.address, timeout=20) as client:
                yield Served(page, client, tmp_path)
            page.shutdown()
            thread.join()


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(served: Served) -> None:
    home = served.client.get("/")
    assert home.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', home.text)
    assert set(named) == {"icon.svg", "label.css", "label.js"}
    texts = [home.text]
    for name in named:
        answer = served.client.get(f"/{name}")
        assert answer.status_code == 200
        texts.append(answer.text)
    for text in texts:
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<style|<script(?![^>]*src)|\son\w+=|\sstyle=", home.text), "the policy would block it"
    folder = importlib.resources.files("model_export.annotating") / "page"
    assert {each.name for each in folder.iterdir()} == {"label.html", *named}


def test_every_answer_is_fenced_in(served: Served) -> None:
    picture = served.next(1)["pictures"][0]["id"]
    for path in ("/", "/label.js", "/work", f"/pictures/{picture}", "/nothing"):
        headers = served.client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_it_listens_on_loopback_and_answers_to_its_own_names_only(served: Served) -> None:
    assert served.page.server_address[0] == "127.0.0.1"
    port = served.page.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert served.client.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        for path in ("/", "/work", "/pictures/x"):
            assert served.client.get(path, headers={"Host": host}).status_code == 403, host
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /work HTTP/1.0\r\n\r\n")
        assert b" 403 " in connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_another_site_can_decide_nothing(served: Served, headers: dict[str, str]) -> None:
    name = served.next(1)["pictures"][0]["id"]
    body = {"picture": name, "viewpoint": "rear"}
    assert served.client.post("/decide", json=body, headers=headers).status_code == 403
    assert served.labels() == {}
    own = {"Origin": served.page.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert served.client.post("/decide", json=body, headers=own).status_code == 200
    assert served.labels() == {"0.jpg": "rear"}


def test_a_form_of_another_site_cannot_even_be_read(served: Served) -> None:
    name = served.next(1)["pictures"][0]["id"]
    text = f'{{"picture": "{name}", "viewpoint": "rear"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert served.client.post("/decide", content=text, headers={"Content-Type": kind}).status_code == 415
    assert served.labels() == {}


def test_a_picture_comes_as_it_is_and_a_box_is_cut(served: Served) -> None:
    first, second, third = (served.client.get(f"/pictures/{each['id']}") for each in served.next(3)["pictures"])
    assert first.headers["content-type"] == "image/jpeg"
    assert first.content == jpeg(0)
    whole = Image.open(io.BytesIO(second.content))
    part = Image.open(io.BytesIO(third.content))
    assert part.size == (30, 40)
    assert part.tobytes() == whole.crop((10, 20, 40, 60)).tobytes()


def test_deciding_skipping_and_undoing(served: Served) -> None:
    one, two, three = (each["id"] for each in served.next(3)["pictures"])

    def decide(name: str, viewpoint: str | None) -> httpx.Response:
        return served.client.post("/decide", json={"picture": name, "viewpoint": viewpoint})

    assert decide(one, "side").json()["progress"]["done"] == 1
    assert decide(two, None).json()["progress"]["skipped"] == 1
    assert decide(three, "rear").json()["progress"]["by_viewpoint"] == {"front": 0, "rear": 1, "side": 1}
    assert decide(one, "front").status_code == 409
    assert decide(one, "side").status_code == 200
    assert decide("none", "side").status_code == 404
    assert decide(one, "back").status_code == 422
    undone = served.client.post("/undo", json={"window": "w", "picture": None}).json()
    assert (undone["picture"]["id"], undone["viewpoint"]) == (three, "rear")
    undone = served.client.post("/undo", json={"window": "w", "picture": one}).json()
    assert (undone["picture"]["id"], undone["viewpoint"]) == (one, "side")
    assert served.labels() == {}
    assert served.client.post("/undo", json={"window": "w", "picture": one}).status_code == 404


def test_broken_pictures_are_named_and_not_asked_about_again(served: Served) -> None:
    found = served.next(9)["pictures"]
    damaged, missing = found[3]["id"], found[4]["id"]
    answer = served.client.get(f"/pictures/{damaged}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("3.jpg: ")
    assert served.client.get(f"/pictures/{missing}").json()["detail"] == "missing.jpg: No such file or directory"
    again = served.next(9)
    assert [each["path"] for each in again["pictures"]] == ["0.jpg", "1.png", "1.png", "5.jpg"]
    assert [each["path"] for each in again["broken"]] == ["3.jpg", "missing.jpg"]
    assert again["progress"]["total"] == 4
    assert served.client.get("/pictures/none").status_code == 404


def test_the_guess_comes_along(served: Served) -> None:
    *_, last = served.next(9)["pictures"]
    assert last["guess"] == [0.5, 0.5, 0.0]
    assert last["uncertainty"] == pytest.approx(0.6309, abs=1e-4)
    assert served.next(1, window="x", holding=(last["id"],))["pictures"] == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/decide", b"", 400),
        ("/decide", b"{", 400),
        ("/decide", b"[" * 50_000, 400),
        ("/decide", b"\xff\xfe", 400),
        ("/decide", b"[]", 422),
        ("/decide", b'{"picture": "x"}', 422),
        ("/decide", b'{"picture": "x", "viewpoint": 3}', 422),
        ("/decide", b'{"picture": "x", "viewpoint": null, "more": 1}', 422),
        ("/next", b'{"window": "w", "holding": [1, null], "count": true}', 422),
        ("/next", b'{"window": "w", "holding": [1, null, {}], "count": -5}', 200),
        ("/next", b'{"window": "w", "holding": [], "count": 99999999999999999999}', 200),
        ("/undo", b'{"window": "w", "picture": null}', 404),
        ("/nothing", b"{}", 404),
        ("/decide", b"x" * 70_000, 413),
    ],
)
def test_nonsense_is_refused_and_the_server_lives(served: Served, path: str, body: bytes, status: int) -> None:
    answer = served.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["detail"]
    assert served.client.get("/work").status_code == 200


def test_a_body_of_unknown_length_is_refused(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.page.port), timeout=10) as connection:
        host = f"127.0.0.1:{served.page.port}"
        connection.sendall(f"POST /decide HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\r\n".encode())
        assert b" 411 " in connection.makefile("rb").readline()


def test_keys() -> None:
    assert keys_of(VIEWPOINTS) == [["f", "1"], ["r", "2"], ["s", "3"]]
    assert keys_of(("rear", "rear-left", "up", "汽")) == [["r", "1"], ["e", "2"], ["p", "3"], ["汽", "4"]]
    assert keys_of(("h", "u", "12")) == [["1"], ["2"], ["3"]]


def test_a_port_that_is_taken_is_told(served: Served) -> None:
    for port in (served.page.port, 70_000):
        with pytest.raises(InvalidValue, match=rf"port {port} cannot be used"):
            LabelPage(served.page.annotation, served.page.description, port=port)
