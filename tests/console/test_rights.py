"""A page offers what the caller may do, and says so where that is little."""

import shutil
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from index.access_key import Scope
from tests.console.conftest import MODEL, OpenPage, give_key, require_accessible, shoot
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving

IMAGES = ("v0000_00", "v0000_01")
PLACED = [
    {"camera_id": "c001", "latitude": 48.13, "longitude": 11.57},
    {"camera_id": "c002", "latitude": 48.15, "longitude": 11.57},
]
LOOKING = "Nothing can be changed"


@pytest.fixture
def data(demo_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo_data, tmp_path / "data")
    return tmp_path / "data"


def test_a_key_that_only_reads_is_shown_what_it_may_read(data: Path, open_page: OpenPage) -> None:
    token = kept_key(data, "read")
    with serving(data, MODEL) as address:
        page = open_page(f"{address}/gallery")
        give_key(page, token)
        looks_only(page, address)


def test_a_service_that_only_reads_offers_nothing_else(data: Path, open_page: OpenPage) -> None:
    with serving(data, MODEL, "--read-only") as address:
        looks_only(open_page(f"{address}/gallery"), address)


def looks_only(page: Page, address: str) -> None:
    """Go through the pages: what changes something is not there, what shows something is."""
    expect(page.get_by_text(LOOKING)).to_be_visible()
    expect(page.locator(".count")).to_have_text("119 images")
    for name in ("Add pictures…", "Add a folder…", "New gallery…", "Select all", "Correct the vehicle…", "Erase…"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    require_accessible(page)
    shoot(page, "gallery-looking-only")
    page.goto(f"{address}/gallery?image={IMAGES[0]}")
    details = page.get_by_role("dialog")
    expect(details.locator("dl")).to_contain_text("Vehiclev0000Camerac001")
    for name in ("Save", "Correct the vehicle…", "Erase…"):
        expect(details.get_by_role("button", name=name)).to_have_count(0)
    expect(details.get_by_label("Camera")).to_be_hidden()
    page.goto(f"{address}/?image_id={IMAGES[0]}")
    match = page.get_by_role("region", name="Results").locator(".match").first
    expect(match.get_by_role("button", name="More like this, match 1", exact=True)).to_be_visible()
    expect(match.get_by_role("button", name="Same vehicle")).to_have_count(0)
    page.goto(f"{address}/trail?image_id={IMAGES[0]}&image_id={IMAGES[1]}")
    expect(page.get_by_role("heading", name="Record")).to_be_visible()
    expect(page.get_by_role("heading", name="Cameras")).to_have_count(0)
    expect(page.get_by_role("button", name="Move cameras")).to_have_count(0)
    page.goto(f"{address}/model")
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-may", "read")
    for name in ("Make a key…", "Erase all…"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


@pytest.mark.parametrize(
    ("scopes", "galleries", "places"), [(("read", "write"), None, 1), (("read", "write"), ("default",), 0)]
)
def test_cameras_are_placed_by_who_may_for_all_galleries(
    data: Path, open_page: OpenPage, scopes: tuple[Scope, ...], galleries: tuple[str, ...] | None, places: int
) -> None:
    admin, token = kept_key(data, "admin"), kept_key(data, *scopes, galleries=galleries)
    with serving(data, MODEL) as address:
        httpx.put(f"{address}/v1/cameras", json={"cameras": PLACED}, headers=bearer(admin)).raise_for_status()
        page = open_page(f"{address}/trail?image_id={IMAGES[0]}&image_id={IMAGES[1]}")
        give_key(page, token)
        expect(page.get_by_role("heading", name="Where")).to_be_visible()
        expect(page.get_by_role("button", name="Move cameras")).to_have_count(places)
        expect(page.get_by_role("heading", name="Cameras")).to_have_count(places)
        expect(page.get_by_text(LOOKING)).to_be_hidden()


def test_a_key_that_only_writes_adds_and_is_told_what_it_lacks(data: Path, tmp_path: Path, open_page: OpenPage) -> None:
    admin, token = kept_key(data, "admin"), kept_key(data, "write")
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    with serving(data, MODEL) as address:
        page = open_page(address)
        give_key(page, token)
        expect(page.get_by_text("does not search; that takes one with the scope read")).to_be_visible()
        expect(page.get_by_role("button", name="Choose a picture")).to_have_count(0)
        page.get_by_role("link", name="Add pictures").click()
        expect(page.get_by_role("heading", name="This key adds pictures and shows none")).to_be_visible()
        require_accessible(page)
        shoot(page, "gallery-writing-only")
        page.locator("input[type=file][accept]").set_input_files(tmp_path / "a.jpg")
        page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("region", name="Pictures that are being added")).to_contain_text(
            "Done. 1 of 1 picture · 1 new"
        )
        total = httpx.get(f"{address}/v1/galleries/default/images?limit=1&total=true", headers=bearer(admin)).json()[
            "total"
        ]
        assert total == 120
        page.goto(f"{address}/trail")
        expect(page.get_by_text("does not search; that takes one with the scope read")).to_be_visible()
        expect(page.get_by_role("alert").locator("*")).to_have_count(0)


def test_who_has_every_right_is_offered_everything(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery")
    for name in ("Add pictures…", "New gallery…", "Select all", "Erase…"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-may", "read write cameras administer")
    expect(page.get_by_text(LOOKING)).to_be_hidden()
