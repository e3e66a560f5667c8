"""The page "Model and health" as people use it: what the model can do, how the service is, keys, jobs, the audit log."""

import contextlib
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Locator, Page, Route, expect

from index.access_key import SCOPES
from index.bulk.import_job import ImportFolder
from index.contract import MatchProbability
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec, Metadata, NewImage
from model_export.exporting.onnx_export import describe, stamp, write_file
from service.application import create_app
from service.gate.audit_trail import AUDITED
from service.settings import Settings
from tests.archives import pack
from tests.console.conftest import DESK, PHONE, OpenPage, give_key, require_accessible, shoot
from tests.http_client import parts
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import free_port, serving, started

MANY = 200  # images that take a while to come in, or to move
CURVE = [round(1 - 0.4 / rank, 4) for rank in range(1, 51)]
MEANING = MatchProbability(
    form="isotonic", parameters={"distances": [0.2, 0.4, 1.0], "probabilities": [0.95, 0.75, 0.01]}, ranks=10, prior=0.1,
    data_set="yard (30%)",
)  # fmt: skip


def section(page: Page, title: str) -> Locator:
    """The part of the page with this heading."""
    return page.get_by_role("region", name=title, exact=True)


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def enter_key(page: Page, token: str) -> None:
    give_key(page, token)
    expect(dialog(page)).to_have_count(0)


def settled(page: Page) -> None:
    """Wait until every part is there."""
    for title in ("How it is now", "Galleries", "Model", "Imports", "API keys", "Audit log"):
        expect(section(page, title).locator(".stack > *").first).to_be_visible()


@pytest.fixture(scope="module")
def told_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose contract has all the figures that there may be."""
    path = tmp_path_factory.mktemp("told") / "told.onnx"
    contract = describe(tiny_model)
    figures = {
        "rank_1": CURVE[0], "rank_5": CURVE[4], "rank_10": CURVE[9], "map": 0.5512, "interval": [0.55, 0.65],
        "map_interval": [0.5, 0.6], "probes": 262, "gallery": 874, "part": "30%", "cmc": CURVE,
    }  # fmt: skip
    naming = {
        "viewpoints": ["front", "rear", "side"], "confusion": [[90, 10, 0], [5, 95, 0], [1, 2, 47]], "mean": 0.93,
        "recall": {"front": 0.9, "rear": 0.95, "side": 0.94}, "pictures": 250, "unknown": 0,
    }  # fmt: skip
    bare = {name: value for name, value in figures.items() if name != "cmc"}  # as releases before wrote them
    metrics = {"yard": {**figures, "viewpoint": naming}, "lane": {**bare, "rank_1": 0.8}}
    proto = onnx.load(str(tiny_model))
    stamp(proto, replace(contract, metrics=metrics, probability=MEANING))
    write_file(proto, path)
    return path


@pytest.fixture
def tiny(tiny_model: Path, tmp_path: Path) -> Iterator[str]:
    """A service with a small model and an audit log, for one test."""
    with serving(tmp_path / "data", tiny_model, "--audit", log=tmp_path / "log") as address:
        yield address
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_what_the_model_is_and_can_do_is_told_in_words(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/model")
    model = section(page, "Model")
    for words in (
        "512 numbers, together of length 1",
        "256 × 256 pixels",
        "front, rear, side",
        "efficientnet_lite2",
        "CPUExecutionProvider",
    ):
        expect(model).to_contain_text(words)
    expect(model.get_by_text("embedding_space")).to_be_hidden()
    model.get_by_text("The whole contract").click()
    expect(model.get_by_text("embedding_space")).to_be_visible()
    found = section(page, "How well it finds vehicles")
    row = found.get_by_role("row", name="road-vehicles")
    expect(row).to_contain_text("96.6 % (93.6–98.2)")
    expect(row).to_contain_text("262 searches among 874 pictures, 30%")
    expect(found.get_by_role("img", name=re.compile("road-vehicles: 96.6 % among the first 1"))).to_be_visible()
    expect(found.get_by_role("table", name=re.compile("On renders: 82.4 % named right"))).to_be_visible()
    expect(found.get_by_role("img", name=re.compile("by its distance: 96 % at 0, 96 % at 0.2"))).to_be_visible()
    expect(found).not_to_contain_text("drawn as dots")
    expect(found).to_contain_text("What computing in int8 costs")
    settled(page)
    require_accessible(page)
    shoot(page, "model-demo")


def test_curves_and_viewpoints_are_drawn_where_the_file_has_them(
    told_model: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    with serving(tmp_path / "data", told_model) as address:
        page = open_page(f"{address}/model")
        found = section(page, "How well it finds vehicles")
        chart = found.get_by_role(
            "img", name=re.compile(r"yard: 60.0 % among the first 1, .* 99.2 % among the first 50")
        )
        expect(chart.locator("path.curve")).to_have_count(1)
        expect(chart.locator("circle")).to_have_count(3)
        found.get_by_text("The same as a table").first.click()
        table = found.get_by_role("table", name="Among the first … matches, as drawn above")
        expect(table.get_by_role("row", name="yard")).to_contain_text("60.0 %80.0 %86.7 %92.0 %96.0 %98.0 %99.2 %")
        expect(table.get_by_role("row", name="lane")).to_contain_text("80.0 %––92.0 %96.0 %––")
        expect(found).to_contain_text("Of lane the file holds ranks 1, 5 and 10 only, drawn as dots")
        table = found.get_by_role("table", name=re.compile("On yard: 93.0 % named right"))
        expect(table.get_by_role("row", name=re.compile("^rear"))).to_contain_text("95.0 % (95)")
        expect(found).not_to_contain_text("In fp32")
        meaning = found.get_by_role(
            "img", name=re.compile(r"by its distance: 95 % at 0, 95 % at 0.2, 75 % at 0.4, 50 % at 0.6")
        )
        expect(meaning.locator("path.curve")).to_have_count(1)
        expect(found).to_contain_text("the 10 nearest matches of each search of yard (30%), of which 10.0 % were right")
        shoot(page, "model-curves")


def test_a_file_without_figures_says_how_to_get_them(tiny: str, open_page: OpenPage) -> None:
    found = section(open_page(f"{tiny}/model"), "How well it finds vehicles")
    expect(found).to_contain_text("This file does not say how well it finds vehicles.")
    expect(found).to_contain_text("vehicle-model evaluate")


def test_what_happens_is_seen_without_a_reload(tiny: str, open_page: OpenPage) -> None:
    page = open_page(f"{tiny}/model")
    galleries = section(page, "Galleries")
    expect(galleries.get_by_role("row", name="default")).to_contain_text("0")
    httpx.post(f"{tiny}/v1/galleries/default/images", files=parts(*map(jpeg, range(3)))).raise_for_status()
    httpx.put(f"{tiny}/v1/galleries/yard").raise_for_status()
    httpx.post(f"{tiny}/v1/galleries/default/search", content=jpeg(0)).raise_for_status()
    expect(galleries.get_by_role("row", name="default").get_by_role("cell", name="3", exact=True)).to_be_visible()
    expect(galleries.get_by_role("link", name="yard")).to_have_attribute("href", "/gallery?gallery=yard")
    expect(galleries).to_contain_text("3 pictures in 2 galleries")
    now = section(page, "How it is now")
    for stage, pictures in (("goes through the model", "4"), ("is searched for", "1"), ("is stored", "3")):
        row = now.get_by_role("row", name=stage)
        expect(row.get_by_role("cell", name=pictures, exact=True)).to_be_visible()
        expect(row).to_contain_text(re.compile(r"\d ms.*\d ms"))
    expect(now).to_contain_text("asks nobody for a key")
    expect(now.get_by_role("progressbar", name="Disk of the data folder")).to_be_visible()


def test_what_has_the_focus_keeps_it_when_figures_change(tiny: str, open_page: OpenPage) -> None:
    page = open_page(f"{tiny}/model")
    link = section(page, "Galleries").get_by_role("link", name="default")
    link.focus()
    httpx.put(f"{tiny}/v1/galleries/aaa").raise_for_status()
    expect(section(page, "Galleries").get_by_role("link", name="aaa")).to_be_visible()
    expect(link).to_be_focused()


def test_a_page_that_nobody_sees_asks_for_nothing(tiny: str, open_page: OpenPage) -> None:
    page = open_page("about:blank")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{tiny}/model")
    settled(page)
    page.clock.run_for(20_000)
    page.wait_for_load_state("networkidle")
    assert sum(each.endswith("/v1/status") for each in asked) >= 2
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true}); "
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_load_state("networkidle")
    asked.clear()
    page.clock.run_for(60_000)
    page.wait_for_load_state("networkidle")
    assert asked == []
    with page.expect_request("**/v1/status"):
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: false}); "
            "document.dispatchEvent(new Event('visibilitychange'))"
        )


def test_damage_is_told_on_top(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    (tmp_path / "data" / "galleries" / "yard").mkdir(parents=True)
    (tmp_path / "data" / "galleries" / "yard" / "gallery.sqlite").write_bytes(b"no database" * 999)
    with serving(tmp_path / "data", tiny_model) as address:
        page = open_page(f"{address}/model")
        expect(page.get_by_role("alert").filter(has_text="Some galleries cannot be used. yard:")).to_be_visible()
        expect(section(page, "Galleries").get_by_role("row", name="yard")).to_contain_text("vehicle-index")
        require_accessible(page)
        shoot(page, "model-damage")


def test_a_service_that_is_not_ready_says_why_on_top(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    with running(tiny_model, tmp_path / "data") as (address, app):
        page = open_page(f"{address}/model")
        expect(section(page, "How it is now")).to_contain_text("answers")
        app.state.stopping = True
        expect(page.get_by_role("alert").filter(has_text="The service is stopping")).to_be_visible()
        expect(section(page, "How it is now")).to_contain_text("stopping")
        app.state.stopping = False
        expect(page.get_by_role("alert").filter(has_text="The service is stopping")).to_be_hidden()


@contextlib.contextmanager
def running(model: Path, data: Path) -> Iterator[tuple[str, FastAPI]]:
    """A service in a thread of this process: its address, and the application itself."""
    embedder = Embedder(model, device="cpu", threads=1)
    home = DataFolder(data, default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))
    server = uvicorn.Server(uvicorn.Config(app, port=(port := free_port()), log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{port}", app
    finally:
        server.should_exit = True
        thread.join(60)


def test_the_first_key_is_made_shown_once_and_used(tiny: str, open_page: OpenPage) -> None:
    page = open_page(f"{tiny}/model")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    keys = section(page, "API keys")
    expect(keys).to_contain_text("nobody is asked who calls")
    keys.get_by_role("button", name="Make a key").click()
    expect(dialog(page)).to_contain_text("It is the first key")
    dialog(page).get_by_label("Who will use it").fill("control room")
    require_accessible(page)
    shoot(page, "model-first-key")
    dialog(page).get_by_role("button", name="Make the key").click()
    token = dialog(page).get_by_label("API key").input_value()
    expect(dialog(page)).to_contain_text("It is shown this once.")
    expect(dialog(page)).to_contain_text("every request needs one from now on")
    dialog(page).get_by_role("button", name="Copy the key").click()
    expect(dialog(page)).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == token
    require_accessible(page)
    shoot(page, "model-token")
    dialog(page).get_by_role("button", name="I have kept it").click()
    row = keys.get_by_role("row", name="control room")
    expect(row).to_contain_text("this page's")
    expect(row).to_contain_text("works")
    expect(section(page, "How it is now")).to_contain_text("asks for a key")
    assert httpx.get(f"{tiny}/v1/model").status_code == 401
    assert httpx.get(f"{tiny}/v1/model", headers=bearer(token)).status_code == 200
    assert token not in page.content()


def test_a_key_is_made_as_somebody_wants_it_and_revoked(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    admin = kept_key(tmp_path / "data", *SCOPES, name="root")
    with serving(tmp_path / "data", tiny_model) as address:
        httpx.put(f"{address}/v1/galleries/yard", headers=bearer(admin)).raise_for_status()
        page = open_page(f"{address}/model")
        enter_key(page, admin)
        keys = section(page, "API keys")
        keys.get_by_role("button", name="Make a key").click()
        form = dialog(page)
        form.get_by_role("button", name="Make the key").click()  # the browser asks for a name
        form.get_by_label("Who will use it").fill("gate camera")
        form.get_by_label("read").uncheck()
        form.get_by_role("button", name="Make the key").click()
        expect(form.get_by_role("alert")).to_contain_text("scopes must be a list of one or more")
        form.get_by_label("write").check()
        form.get_by_label("only these").check()
        form.get_by_label("yard").check()
        form.get_by_label("It ends").select_option("in a week")
        form.get_by_text("How often it may ask").click()
        form.get_by_label("Requests a second").fill("2.5")
        form.get_by_role("button", name="Make the key").click()
        token = dialog(page).get_by_label("API key").input_value()
        dialog(page).get_by_role("button", name="I have kept it").click()
        row = keys.get_by_role("row", name="gate camera")
        for words in ("write", "yard", "2.5 a second, 3 at once", "works"):
            expect(row).to_contain_text(words)
        told = httpx.get(f"{address}/v1/caller", headers=bearer(token)).json()
        assert (told["scopes"], told["galleries"]) == (["write"], ["yard"])
        row.get_by_role("button", name="Revoke the key gate camera").click()
        expect(dialog(page)).to_contain_text("This cannot be undone")
        dialog(page).get_by_role("button", name="Cancel").click()
        expect(row).to_contain_text("works")
        row.get_by_role("button", name="Revoke the key gate camera").click()
        dialog(page).get_by_role("button", name="Revoke it").click()
        expect(row).to_contain_text("revoked")
        assert httpx.get(f"{address}/v1/caller", headers=bearer(token)).status_code == 401
        require_accessible(page)
        shoot(page, "model-keys")


def test_a_key_opens_the_parts_that_it_is_for(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    reader, writer = kept_key(tmp_path / "data", "read"), kept_key(tmp_path / "data", "write", galleries=("default",))
    with serving(tmp_path / "data", tiny_model) as address:
        page = open_page(f"{address}/model")
        enter_key(page, reader)
        expect(section(page, "Model")).to_contain_text("32 numbers")
        for title, scope in (
            ("Imports", "write"),
            ("Moves to another model", "admin"),
            ("API keys", "admin"),
            ("Audit log", "admin"),
        ):
            expect(section(page, title)).to_contain_text(f"needs a key with the scope {scope}")
        expect(page.locator(".notice.error")).to_have_count(0)
        require_accessible(page)
        shoot(page, "model-reader")
        page = open_page(f"{address}/model")
        enter_key(page, writer)
        expect(section(page, "Imports")).to_contain_text("No import is at work")
        expect(section(page, "Model")).to_contain_text(
            "needs a key with the scope read. The one of this page has write, for default."
        )
        page = open_page(f"{address}/model")
        dialog(page).get_by_role("button", name="Cancel").click()
        expect(section(page, "Model")).to_contain_text("A key is needed")


def test_an_import_is_watched_its_failures_read_and_another_cancelled(
    tiny: str, tmp_path: Path, open_page: OpenPage
) -> None:
    page = open_page(f"{tiny}/model")
    imports = section(page, "Imports")
    expect(imports.get_by_role("link", name="Bring pictures in")).to_have_attribute("href", "/gallery")

    def begin(name: str, pictures: dict[str, bytes]) -> None:
        files = {"archive": (name, pack(tmp_path / name, pictures).read_bytes())}
        httpx.post(f"{tiny}/v1/galleries/default/imports", files=files).raise_for_status()

    begin("large.zip", dict.fromkeys((f"{number}.jpg" for number in range(40 * MANY)), jpeg(0, (64, 48))))
    begin("later.zip", {"b.jpg": jpeg(1)})
    page.reload()
    later = imports.get_by_role("row", name="later.zip")
    later.get_by_role("button", name="Cancel the import of later.zip").click()
    dialog(page).get_by_role("button", name="Cancel the import").click()
    expect(later).to_contain_text("cancelled")
    large = imports.get_by_role("row", name="large.zip")
    expect(large.get_by_role("progressbar")).to_be_visible()
    expect(large).to_contain_text(re.compile(r"of 8,000.* a second"))
    large.get_by_role("button", name="Cancel the import of large.zip").click()
    shoot(page, "model-cancel-import")
    dialog(page).get_by_role("button", name="Cancel the import").click()
    expect(large).to_contain_text("cancelled")
    begin("good.zip", {"a.jpg": jpeg(0), "broken, really.jpg": b"no picture"})
    good = imports.get_by_role("row", name="good.zip")
    expect(good).to_contain_text("2 of 2: 1 new", timeout=20_000)
    good.get_by_role("button", name="1 picture of good.zip failed").click()
    expect(dialog(page).get_by_role("row", name="broken, really.jpg")).to_contain_text(re.compile("picture|type"))
    require_accessible(page)
    shoot(page, "model-failures")
    with page.expect_download() as saved:
        dialog(page).get_by_role("button", name="Save as a file").click()
    assert "broken, really.jpg" in Path(saved.value.path()).read_text()
    good.get_by_role("button", name="Forget the import of good.zip").click()
    dialog(page).get_by_role("button", name="Forget it").click()
    expect(good).to_have_count(0)


def test_a_gallery_is_moved_and_a_move_is_cancelled(
    tiny_model: Path, next_model: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model) as address:
        for name, count in (("small", 2), ("large", MANY)):
            httpx.put(f"{address}/v1/galleries/{name}").raise_for_status()
            files = parts(*(jpeg(number, (32, 24)) for number in range(count)))
            httpx.post(f"{address}/v1/galleries/{name}/images", files=files, timeout=60).raise_for_status()
    with contextlib.closing(DataFolder(data)) as home:  # so many that a person is quicker than the move
        one = NewImage(
            image_id="i", embedding=np.eye(32, dtype=np.float32)[0], viewpoint=np.eye(3, dtype=np.float32)[0],
            metadata=Metadata(), crop=jpeg(1, (32, 24)),
        )  # fmt: skip
        home.get("large").add([replace(one, image_id=f"i{number}") for number in range(30_000)])
    with serving(data, next_model, log=tmp_path / "log") as address:
        page = open_page(f"{address}/model")
        moves = section(page, "Moves to another model")
        expect(section(page, "Galleries").get_by_role("row", name="small")).to_contain_text("filled by another model")
        shoot(page, "model-moves")
        moves.get_by_role("button", name="Move small to the model that answers").click()
        expect(dialog(page)).to_contain_text("2 stored pictures are embedded anew")
        dialog(page).get_by_role("button", name="Begin").click()
        expect(moves.get_by_role("row", name="small")).to_have_count(0)
        expect(section(page, "Galleries").get_by_role("row", name="small")).to_contain_text("in order")
        moves.get_by_role("button", name="Move large to the model that answers").click()
        dialog(page).get_by_role("button", name="Begin").click()
        moves.get_by_role("button", name="Cancel moving large").click()
        dialog(page).get_by_role("button", name="Cancel the move").click()
        moves.get_by_text("Moves so far").click()
        for name, state in (("small", "finished"), ("large", "cancelled")):
            moves.get_by_label("Gallery").select_option(name)
            moves.get_by_role("button", name="Show").click()
            expect(moves.get_by_role("status")).to_contain_text(state)
        require_accessible(page)


def test_a_model_file_that_was_replaced_is_loaded(
    tiny_model: Path, told_model: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    model = Path(shutil.copy(tiny_model, tmp_path / "model.onnx"))
    with serving(tmp_path / "data", model) as address:
        page = open_page(f"{address}/model")
        button = section(page, "Model").get_by_role("button", name="Load the model file again")
        button.click()
        dialog(page).get_by_role("button", name="Load it").click()
        expect(page.get_by_role("status").filter(has_text="is the one that was loaded already")).to_be_visible()
        Path(shutil.copy(told_model, tmp_path / "next.onnx")).replace(model)
        button.click()
        dialog(page).get_by_role("button", name="Load it").click()
        expect(page.get_by_role("status").filter(has_text="tiny answers now")).to_be_visible()
        expect(section(page, "How well it finds vehicles").get_by_role("img").first).to_be_visible()
        (tmp_path / "none.onnx").write_bytes(b"no model")
        (tmp_path / "none.onnx").replace(model)
        button.click()
        dialog(page).get_by_role("button", name="Load it").click()
        expect(page.get_by_role("alert").filter(has_text="The model was not loaded")).to_be_visible()


def test_feedback_is_looked_through_saved_and_erased(tiny: str, open_page: OpenPage) -> None:
    names = [{"image_id": f"i{number}"} for number in range(30)]
    pictures = parts(*(jpeg(number, (64, 48)) for number in range(30)), metadata=names)
    httpx.post(f"{tiny}/v1/galleries/default/images", files=pictures).raise_for_status()
    page = open_page(f"{tiny}/model")
    said = section(page, "Feedback")
    expect(said).to_contain_text("Nobody has said anything")
    expect(said.get_by_role("button", name="Save as a data set")).to_be_disabled()
    for number in range(1, 30):
        answer = {"gallery": "default", "image_id": f"i{number}", "query_image_id": "i0", "same": number % 2 == 0}
        httpx.post(f"{tiny}/v1/feedback", json={**answer, "distance": 0.25}).raise_for_status()
    page.reload()
    rows = said.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(20)
    said.get_by_role("button", name="Older ones").click()
    expect(rows).to_have_count(29)
    expect(rows.first).to_contain_text("not the same")
    expect(rows.first.locator("img").first).to_have_js_property("complete", True)
    with page.expect_download() as saved:
        said.get_by_role("button", name="Save as a data set").click()
    assert saved.value.suggested_filename == "feedback-default.zip"
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert "manifest.csv" in archive.namelist()
    said.get_by_role("button", name="Erase what was said of i29").click()
    expect(rows).to_have_count(28)
    require_accessible(page)
    shoot(page, "model-feedback")
    said.get_by_role("button", name="Erase all").click()
    dialog(page).get_by_role("button", name="Erase it").click()
    expect(said).to_contain_text("Nobody has said anything")
    assert httpx.get(f"{tiny}/v1/feedback", params={"gallery": "default"}).json()["feedback"] == []


def test_the_audit_log_is_paged_through(tiny: str, open_page: OpenPage) -> None:
    for number in range(60):
        httpx.post(
            f"{tiny}/v1/galleries/default/search", params={"camera_id": f"c{number}"}, content=jpeg(0)
        ).raise_for_status()
    httpx.put(f"{tiny}/v1/galleries/yard").raise_for_status()
    page = open_page(f"{tiny}/model")
    audit = section(page, "Audit log")
    audit.get_by_label("What").select_option("search")
    audit.get_by_role("button", name="Look").click()
    rows = audit.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("camera id=c59".replace(" ", "_"))
    audit.get_by_role("button", name="Older entries").click()
    expect(rows).to_have_count(60)
    expect(audit.get_by_role("status")).to_contain_text("these are all")
    audit.get_by_label("What").select_option("create-gallery")
    audit.get_by_role("button", name="Look").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("yard")
    audit.get_by_label("Key", exact=True).fill("nobody")
    audit.get_by_role("button", name="Look").click()
    expect(audit.get_by_role("status")).to_contain_text("There is no such entry.")
    require_accessible(page)


def test_without_an_audit_log_the_page_says_how_to_have_one(demo: str, open_page: OpenPage) -> None:
    expect(section(open_page(f"{demo}/model"), "Audit log")).to_contain_text("--audit")


def test_every_action_can_be_chosen() -> None:
    text = Path("service/console/model/audit_view.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^const ACTIONS = \[(.*)\];$", text, re.MULTILINE)
    assert set(re.findall(r'"([^"]+)"', listed)) == set(AUDITED.values())


def test_it_goes_on_when_the_service_is_back(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    port = free_port()
    with started(tmp_path / "data", tiny_model, port=port) as (address, process):
        page = open_page(f"{address}/model")
        settled(page)
        process.kill()
        process.wait()
    expect(page.get_by_text("The service cannot be reached.")).to_be_visible()
    with started(tmp_path / "data", tiny_model, port=port) as (address, _):
        expect(page.get_by_text("The service cannot be reached.")).to_be_hidden()
        httpx.put(f"{address}/v1/galleries/new").raise_for_status()
        expect(section(page, "Galleries").get_by_role("link", name="new")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_filled_it_can_be_used_by_all(
    told_model: Path, tmp_path: Path, open_page: OpenPage, size: tuple[int, int], scheme: str
) -> None:
    data = tmp_path / "data"
    admin = kept_key(data, "admin", name="root")
    kept_key(data, "read", name="a camera with quite a long name", galleries=("default", "yard"), rate=5.0, burst=5)
    with serving(data, told_model, "--audit") as address:
        headers = bearer(admin)
        archive = pack(tmp_path / "a.zip", {"a.jpg": jpeg(0), "b.jpg": b"no picture"})
        httpx.post(
            f"{address}/v1/galleries/default/imports", files={"archive": archive.read_bytes()}, headers=headers
        ).raise_for_status()
        page = open_page(f"{address}/model", size=size, scheme=scheme)
        enter_key(page, admin)
        expect(section(page, "Imports").get_by_text("done")).to_be_visible()
        section(page, "Audit log").get_by_role("button", name="Look").click()
        expect(section(page, "Audit log").get_by_role("table")).to_be_visible()
        settled(page)
        require_accessible(page)
        shoot(page, f"model-filled-{size[0]}-{scheme}")


def test_by_keyboard_alone_a_part_is_reached_and_a_key_made(tiny: str, open_page: OpenPage) -> None:
    page = open_page(f"{tiny}/model")
    settled(page)
    page.get_by_role("navigation", name="On this page").get_by_role("link", name="API keys").focus()
    page.keyboard.press("Enter")
    button = section(page, "API keys").get_by_role("button", name="Make a key")
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("Who will use it")).to_be_focused()
    page.keyboard.type("keyboard")
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("API key")).to_be_visible()
    page.keyboard.press("Escape")
    expect(section(page, "API keys").get_by_role("row", name="keyboard")).to_be_visible()
    expect(
        section(page, "API keys").get_by_role("heading")
    ).to_be_focused()  # the button that was pressed is another one


def test_the_focus_stays_where_a_later_look_draws_the_keys(tiny: str, open_page: OpenPage) -> None:
    """With the first key the page meets its caller anew, and that look may be the last to answer."""
    callers: list[Route] = []
    looks: list[Route] = []
    page = open_page(f"{tiny}/model")
    settled(page)
    button = section(page, "API keys").get_by_role("button", name="Make a key")
    button.click()
    dialog(page).get_by_label("Who will use it").fill("first")
    page.route("**/v1/caller", lambda route: callers.append(route))
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("API key")).to_be_visible()
    page.route("**/v1/keys", lambda route: looks.append(route))
    page.keyboard.press("Escape")
    waited_for(page, looks, 1)
    for route in callers:
        route.continue_()
    waited_for(page, looks, 2)
    with page.expect_response("**/v1/keys"):
        looks[0].continue_()
    expect(button).to_be_focused()
    looks[1].continue_()
    expect(section(page, "API keys").get_by_role("row", name="first")).to_be_visible()
    expect(section(page, "API keys").get_by_role("heading")).to_be_focused()


def waited_for(page: Page, routes: list[Route], count: int) -> None:
    while len(routes) < count:
        page.wait_for_timeout(10)
