"""``vehicle-model annotate`` as a process: killed, started again, filling, feeding the training."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.manifest import read_manifest
from model_export.data_sets.selection import read_rows
from model_export.training.fitting import FitConfig
from model_export.training.vnet_training import LabelledSource, VNetTraining, train_vnet
from tests.conftest import TINY

COMMAND = [sys.executable, "-m", "model_export.vehicle_model", "annotate"]


@contextlib.contextmanager
def annotating(data: Path, labels: Path, *options: str) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """A running page; a test that lets it live sees it end well at Ctrl-C."""
    command = [*COMMAND, str(data / "manifest.csv"), "--labels", str(labels), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = None
            for line in process.stdout:
                if match := re.search(r"label at (http://127\.0\.0\.1:\d+/)", line):
                    address = match[1]
                    break
            assert address, process.stderr.read() if process.stderr else ""
            with httpx.Client(base_url=address, timeout=20) as client:
                yield client, process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 0


def ran(*words: str, code: int = 0) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def ask(client: httpx.Client, count: int = 1, holding: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    answer = client.post("/next", json={"window": "w", "holding": list(holding), "count": count})
    found: list[dict[str, Any]] = answer.json()["pictures"]
    return found


def said(labels: Path) -> dict[str, str | None]:
    return {row.path.name: row.viewpoint for row in read_rows(labels, "viewpoint")}


def truth(data: Path) -> dict[str, str | None]:
    return {row.path.name: row.viewpoint for row in read_manifest(data / "manifest.csv")}


def test_kill_9_at_any_moment_loses_no_label_that_was_acknowledged(data: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    right = truth(data)
    acknowledged: list[str] = []
    turns = itertools.count(1)
    for wait in (0.02, 0.11, 0.07, 0.15):
        with annotating(data, labels) as (client, process):
            killer = threading.Timer(wait, process.kill)
            killer.start()
            with contextlib.suppress(httpx.HTTPError):
                while found := ask(client):
                    name = Path(found[0]["path"]).name
                    answer = client.post("/decide", json={"picture": found[0]["id"], "viewpoint": right[name]})
                    assert answer.status_code == 200
                    acknowledged.append(name)
                    if next(turns) % 5 == 0:  # the other way of writing: the whole file anew
                        acknowledged.pop()  # before it is asked for: a kill may come before the answer
                        assert client.post("/undo", json={"window": "w", "picture": None}).status_code == 200
            killer.join()
            assert process.wait(20) == -signal.SIGKILL
    with annotating(data, labels) as (client, _):
        there = said(labels)
        assert there.items() <= right.items()
        assert set(acknowledged) <= set(there)
        assert len(there) - len(acknowledged) <= 4  # at each kill one that was saved and not yet acknowledged
        assert len(acknowledged) > 10
        assert not {Path(each["path"]).name for each in ask(client, 50)} & set(there)
        last = client.post("/undo", json={"window": "w", "picture": None}).json()
        assert Path(last["picture"]["path"]).name == list(there)[-1]
        assert said(labels) == dict(list(there.items())[:-1])


def test_a_model_orders_by_uncertainty_and_says_its_guess(data: Path, tmp_path: Path, tiny_model: Path) -> None:
    manifest = data / "manifest.csv"
    with annotating(data, tmp_path / "labels.csv", "--model", str(tiny_model)) as (client, _):
        found = ask(client, 50)
        assert [each["uncertainty"] for each in found] == sorted((each["uncertainty"] for each in found), reverse=True)
        assert found[0]["uncertainty"] > found[-1]["uncertainty"] + 0.1
        assert sum(found[0]["guess"]) == pytest.approx(1, abs=1e-5)
        assert client.get("/work").json()["model"] == "tiny.onnx"
    reordered = ("--viewpoints", "side,front,rear", "--order", "manifest", "--sample", "7")
    with annotating(data, tmp_path / "labels.csv", "--model", str(tiny_model), *reordered) as (client, _):
        sampled = ask(client, 50)
        assert len(sampled) == 7
        guess = {each["path"]: each["guess"] for each in found}
        both = [each for each in sampled if each["path"] in guess]
        assert both
        for each in both:
            front, rear, side = guess[each["path"]]
            assert each["guess"] == [side, front, rear]
        order = [row.path.name for row in read_manifest(manifest)]
        places = [order.index(Path(each["path"]).name) for each in sampled]
        assert places == sorted(places)


def test_broken_pictures_are_named_and_work_goes_on(data: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    good = os.path.relpath(data / "v0_0_front.png", tmp_path)
    (tmp_path / "manifest.csv").write_text(f"path\nbad.jpg\n{good}\ngone.jpg\n")
    done = ran(
        str(tmp_path / "manifest.csv"), "--labels", str(tmp_path / "labels.csv"), "--model", str(tiny_model),
        "--auto", "0.01",
    )  # fmt: skip
    assert "left out 1 (as " in done.splitlines()[0]
    assert "gone.jpg)" in done.splitlines()[0]
    assert "cannot be read, 1 picture left out:\n  bad.jpg: the JPEG is damaged" in done
    assert "filled 1" in done
    with annotating(tmp_path, tmp_path / "other.csv", "--model", str(tiny_model)) as (client, _):
        assert [Path(each["path"]).name for each in ask(client, 9)] == ["v0_0_front.png"]


def test_auto_fills_measures_and_leaves_the_hand_alone(data: Path, tmp_path: Path, tiny_model: Path) -> None:
    labels = tmp_path / "labels.csv"
    with annotating(data, labels, "--model", str(tiny_model), "--order", "random") as (client, _):
        guesses = ask(client, 30)
        for number, each in enumerate(guesses):
            best = ("front", "rear", "side")[each["guess"].index(max(each["guess"]))]
            answer = {"picture": each["id"], "viewpoint": best if number % 10 else None}
            assert client.post("/decide", json=answer).status_code == 200
    sure = sum(max(each["guess"]) >= 0.9 for number, each in enumerate(guesses) if number % 10)
    words = (str(data / "manifest.csv"), "--labels", str(labels), "--model", str(tiny_model))
    before = labels.read_bytes()
    dry = ran(*words, "--auto", "0.9", "--dry-run")
    assert labels.read_bytes() == before
    assert "would fill" in dry
    assert f"{sure} of {sure} = 100.0%" in dry
    told = ran(*words, "--auto", "0.9")
    assert "27 labelled by hand, 3 skipped, 0 cannot be read" in told
    rows = read_rows(labels, "viewpoint")
    filled = [row for row in rows if row.attributes["source"] == "auto"]
    assert f"filled {len(filled)} at confidence 0.9" in told
    assert f"left for a person: {72 - 30 - len(filled)}" in told
    assert all(float(row.attributes["confidence"]) >= 0.9 for row in filled)
    assert labels.read_bytes().startswith(before)
    assert len({row.path for row in rows}) == len(rows)


def test_training_reads_the_labels_as_they_are(data: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    right = truth(data)
    with annotating(data, labels) as (client, _):
        for each in ask(client, 50):
            name = Path(each["path"]).name
            client.post("/decide", json={"picture": each["id"], "viewpoint": right[name]}).raise_for_status()
    rows = read_rows(labels, "viewpoint", "vehicle_id", "camera_id")
    assert {row.attributes["part"] for row in rows} == {"test", "train"}
    config = VNetTraining(
        out=tmp_path / "vnet.pt", sources=(LabelledSource(data=str(labels), hold_out="part=test"),), model=TINY,
        batch=8, fit=FitConfig(iterations=2, warm_up=1),
    )  # fmt: skip
    checkpoint = train_vnet(config)
    with annotating(data, labels, "--vnet", str(checkpoint)) as (client, _):
        assert len(ask(client, 50)[0]["guess"]) == 3
    told = ran(
        str(data / "manifest.csv"), "--labels", str(labels), "--vnet", str(checkpoint), "--auto", "1", "--dry-run"
    )
    assert f"vnet.pt was trained on labels of {tmp_path.name}" in told


def test_what_cannot_work_is_told_in_one_line(data: Path, tmp_path: Path, tiny_model: Path) -> None:
    manifest, labels = str(data / "manifest.csv"), str(tmp_path / "labels.csv")
    for words, complaint in (
        ((str(tmp_path / "none.csv"), "--labels", labels), "none.csv does not exist"),
        ((manifest, "--labels", manifest), "is the manifest itself"),
        ((manifest, "--labels", labels, "--part", "query"), "it has train"),
        ((manifest, "--labels", labels, "--auto", "0.9"), "need a V-Net; name one with --model or --vnet"),
        ((manifest, "--labels", labels, "--order", "uncertain"), "need a V-Net"),
        ((manifest, "--labels", labels, "--dry-run"), "--dry-run goes with --auto"),
        ((manifest, "--labels", labels, "--viewpoints", "front"), "2 to 9 different names"),
        ((manifest, "--labels", labels, "--viewpoints", "front,front"), "2 to 9 different names"),
        ((manifest, "--labels", labels, "--viewpoints", "front,re ar"), "'re ar' is not a name"),
        ((manifest, "--labels", labels, "--model", str(tiny_model), "--viewpoints", "a,b"), "tiny.onnx knows front,rear"),
        ((manifest, "--labels", labels, "--model", str(tiny_model), "--auto", "1.5"), "--auto 1.5"),
        ((manifest, "--labels", labels, "--port", "99999"), "port 99999 cannot be used"),
    ):  # fmt: skip
        lines = ran(*words, code=2).splitlines()
        assert complaint in lines[-1], lines
        assert lines[-1].startswith("vehicle-model: ")
        assert len(lines) == 1 or words[-1] == "1.5"  # the progress bar of asking V-Net comes first


def test_a_second_process_is_refused(data: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    with annotating(data, labels):
        told = ran(str(data / "manifest.csv"), "--labels", str(labels), "--port", "0", code=2)
        assert "labels.csv is open in another `vehicle-model annotate`" in told
