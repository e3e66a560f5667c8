"""Cameras, vehicles and attributes whose names nobody expects, on every page: text stays text, and can be asked for."""

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import DESK, PHONE, OpenPage, require_accessible

PICTURES = sorted(Path("examples/demo-gallery/images").glob("v0000_0*.jpg"))
MARKUP = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
COMMAS = 'gate 1, "north", left'
REVERSED = "\N{RIGHT-TO-LEFT OVERRIDE}yard"
LINES = "two\nlines"
NAMES = {"markup": MARKUP, "commas": COMMAS, "reversed": REVERSED, "lines": LINES, "long": "x" * 256}


def image(address: str, name: str) -> str:
    return f"{address}/v1/galleries/odd/images/{name}"


@pytest.fixture
def odd(own_demo: str) -> str:
    """A service with a gallery of such names."""
    httpx.put(f"{own_demo}/v1/galleries/odd", json={}).raise_for_status()
    for (name, text), picture in zip(NAMES.items(), PICTURES, strict=True):
        attributes = {"note": text, "quoted": '"a"', "<b>": 1}
        known = {"camera_id": text, "vehicle_id": text, "captured_at": "2026-05-04T08:00:00Z", "attributes": attributes}
        parts = {"image": picture.read_bytes(), "metadata": json.dumps(known).encode()}
        httpx.put(image(own_demo, name), files=parts).raise_for_status()
    return own_demo


def require_text(page: Page) -> None:
    """Nothing of a name has become an element, and the page is as wide as the window."""
    assert page.evaluate("window.broken") is None
    assert page.locator("main script, main b, img[src=x]").count() == 0
    require_accessible(page)


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_names_stay_text_and_in_their_place(odd: str, open_page: OpenPage, size: tuple[int, int]) -> None:
    page = open_page(f"{odd}/?gallery=odd&image_id=markup", size=size)
    expect(page.locator(".match")).to_have_count(len(NAMES) - 1)
    page.get_by_text("Filters", exact=True).click()
    expect(page.get_by_role("group", name="Only these cameras").get_by_label(re.compile("^<script>"))).to_be_visible()
    require_text(page)
    page.goto(f"{odd}/gallery?gallery=odd")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_count(len(NAMES))
    require_text(page)
    page.goto(f"{odd}/gallery?gallery=odd&image=markup")
    expect(page.get_by_role("dialog").get_by_label("Camera")).to_have_value(MARKUP)
    require_text(page)
    page.goto(f"{odd}/trail?gallery=odd&" + "&".join(f"image_id={name}" for name in NAMES))
    expect(page.locator(".sighting")).to_have_count(len(NAMES))
    page.locator("details", has_text="Cameras").evaluate("each => { each.open = true }")
    require_text(page)


def test_a_name_keeps_its_direction_to_itself(odd: str, open_page: OpenPage) -> None:
    page = open_page(f"{odd}/?gallery=odd&image_id=markup")
    expect(page.locator("[data-image=reversed] bdi").first).to_have_text(REVERSED)
    page.goto(f"{odd}/gallery?gallery=odd")
    expect(page.get_by_role("option").locator("bdi", has_text="yard")).to_have_text(REVERSED)


def test_a_name_with_commas_is_filtered_by(odd: str, open_page: OpenPage) -> None:
    page = open_page(f"{odd}/gallery?gallery=odd")
    page.get_by_text("Filters", exact=True).click()
    field = page.get_by_label("Vehicle (several with commas)")
    field.fill('"gate 1, ""north"", left", markup')
    field.press("Tab")
    expect(page.locator(".count")).to_have_text("1 image passes the filters")
    expect(field).to_have_value('"gate 1, ""north"", left", markup')
    page.reload()
    expect(field).to_have_value('"gate 1, ""north"", left", markup')
    field.fill(f"{'x' * 256}, {MARKUP}")
    field.press("Tab")
    expect(page.locator(".count")).to_have_text("2 images pass the filters")


def test_what_nobody_touches_stays_as_it_was(odd: str, open_page: OpenPage) -> None:
    page = open_page(f"{odd}/gallery?gallery=odd&image=lines")
    dialog = page.get_by_role("dialog", name="lines")
    dialog.get_by_role("button", name="Add an attribute").click()
    dialog.get_by_label("Name of the attribute").last.fill("lane")
    dialog.get_by_label("Value of the attribute").last.fill("2")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("Saved.")).to_be_visible()
    kept = httpx.get(image(odd, "lines")).json()
    assert (kept["camera_id"], kept["vehicle_id"]) == (LINES, LINES)
    assert kept["attributes"] == {"note": LINES, "quoted": '"a"', "<b>": 1, "lane": 2}
