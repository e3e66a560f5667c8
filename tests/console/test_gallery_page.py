"""The page /gallery as a person uses it: look through it, correct, erase, add."""

import base64
import gzip
import io
import json
import re
import shutil
import struct
import tarfile
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec, Metadata, NewImage
from tests.archives import pack
from tests.console.conftest import DESK, MODEL, PHONE, SHOTS, OpenPage, give_key, require_accessible, shoot
from tests.key_holder import kept_key
from tests.pictures import jpeg
from tests.server_process import free_port, serving, started

MANY = 100_000
IMAGES = "/v1/galleries/default/images"


def grid(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Images of the gallery")


def cells(page: Page) -> Locator:
    return grid(page).get_by_role("option")


def cell(page: Page, image_id: str) -> Locator:
    return page.get_by_role("option", name=re.compile(f", {image_id}$"))


def say_count(page: Page, words: str) -> None:
    expect(page.locator(".count")).to_have_text(words)


def select(page: Page, *image_ids: str) -> None:
    for image_id in image_ids:
        cell(page, image_id).locator(".tick").click(force=True)


def stored(address: str, **filters: Any) -> list[str]:
    """Ids of the images that pass."""
    answer = httpx.get(f"{address}{IMAGES}", params={"limit": 1000, **filters})
    return [image["image_id"] for image in answer.raise_for_status().json()["images"]]


def until(page: Page, condition: str) -> None:
    """Wait for what a script says; the page's policy allows no script that asks again by itself."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def total(address: str, gallery: str = "default", **filters: Any) -> int:
    query = {"limit": 1, "total": "true", **filters}
    return int(httpx.get(f"{address}/v1/galleries/{gallery}/images", params=query).raise_for_status().json()["total"])


# Looking through


def test_pictures_come_with_what_is_known_of_them(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery?order=image_id")
    say_count(page, "119 images")
    first = cells(page).first
    expect(first).to_have_accessible_name(re.compile("^vehicle v0000, front .*camera c001, .*, v0000_00$"))
    expect(first).to_contain_text("v0000")
    expect(first).to_contain_text("c001")
    until(page, "[...document.querySelectorAll('.cell img[src]')].filter((each) => each.naturalWidth > 0).length > 12")
    expect(first).to_have_attribute("aria-setsize", "119")


def test_a_keyboard_goes_everywhere(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery?order=image_id")
    say_count(page, "119 images")
    ids = stored(demo)
    grid(page).focus()

    def active() -> str:
        name = page.evaluate("document.querySelector('.grid').getAttribute('aria-activedescendant')")
        return ids[int(name.removeprefix("cell-"))]

    columns = page.evaluate(
        "new Set([...document.querySelectorAll('.cell')].map((each) => each.getBoundingClientRect().x)).size"
    )
    assert active() == ids[0]
    for key, expected in (
        ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0), ("ArrowUp", 0), ("End", 118),
        ("ArrowRight", 118), ("Home", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert active() == ids[expected], key
    page.keyboard.press("End")
    expect(cell(page, ids[-1])).to_be_in_viewport()
    page.keyboard.press(" ")
    expect(cell(page, ids[-1])).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.get_by_role("button", name=f"Erase {columns + 1}…")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Erase…")).to_be_disabled()
    page.keyboard.press("Control+a")
    expect(page.get_by_role("button", name="Erase 119…")).to_be_enabled()
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=ids[0])
    expect(dialog).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name=ids[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert active() == ids[1]


def test_filters_stand_in_the_address_and_back_works(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery")
    say_count(page, "119 images")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("group", name="Only these cameras").get_by_label(re.compile("^c001 ")).check()
    say_count(page, f"{total(demo, camera_id='c001')} images pass the filters")
    page.get_by_role("group", name="Seen from").get_by_label(re.compile("^rear ")).check()
    both = total(demo, camera_id="c001", viewpoint="rear")
    say_count(page, f"{both} images pass the filters")
    assert "camera_id=c001&viewpoint=rear" in page.url
    page.get_by_label("Vehicle (several with commas)").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No image passes these filters")).to_be_visible()
    page.go_back()
    say_count(page, f"{both} images pass the filters")
    other = open_page(page.url)
    say_count(other, f"{both} images pass the filters")
    other.get_by_role("button", name="Clear all filters").click()
    say_count(other, "119 images")
    page.go_back()
    page.go_back()
    say_count(page, "119 images")


def test_an_attribute_is_a_filter(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Name", exact=True).fill("body")
    page.get_by_label("Value", exact=True).fill("audi")
    page.get_by_role("button", name="Add", exact=True).click()
    say_count(page, f"{total(demo, **{'attribute.body': 'audi'})} images pass the filters")
    assert "attribute.body=audi" in page.url
    page.get_by_role("button", name="Remove the filter body = audi").click()
    say_count(page, f"{total(demo)} images")
    page.get_by_label("Name", exact=True).fill("body")
    page.get_by_label("Value", exact=True).fill("sedan")
    page.get_by_label("Value", exact=True).press("Enter")
    say_count(page, f"{total(demo, **{'attribute.body': 'sedan'})} images pass the filters")


@pytest.mark.parametrize("name", ["Value", "Vehicle (several with commas)"])
def test_what_is_typed_while_the_filters_are_asked_for_stays(demo: str, open_page: OpenPage, name: str) -> None:
    held: list[Route] = []
    page = open_page("about:blank")
    page.route("**/facets", lambda route: held.append(route))
    page.goto(f"{demo}/gallery")
    page.get_by_text("Filters", exact=True).click()
    while not held:
        page.wait_for_timeout(10)
    field = page.get_by_label(name, exact=True)
    page.get_by_label("Name", exact=True).fill("body")
    field.press_sequentially("au")
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    field.press_sequentially("di")
    expect(field).to_have_value("audi")
    field.press("Enter")
    expect(page.locator(".count")).to_contain_text("the filters" if name == "Value" else "0 images")
    expect(page.get_by_role("checkbox", name=re.compile("c001"))).to_have_count(2)  # the cameras are there by now


def test_an_image_has_an_address(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery?order=image_id")
    cell(page, "v0000_02").click()
    dialog = page.get_by_role("dialog", name="v0000_02")
    expect(dialog.get_by_role("img")).to_have_js_property("complete", True)
    assert "image=v0000_02" in page.url
    search = dialog.get_by_role("link", name="Search with this picture")
    expect(search).to_have_attribute("href", "/?gallery=default&image_id=v0000_02")
    other = open_page(page.url)
    expect(other.get_by_role("dialog", name="v0000_02")).to_be_visible()
    page.go_back()
    expect(dialog).to_be_hidden()
    say_count(page, "119 images")  # it went no further back than that
    gone = open_page(f"{demo}/gallery?image=nobody")
    expect(gone.get_by_text("There is no image nobody in gallery default any more.")).to_be_visible()
    nowhere = open_page(f"{demo}/gallery?gallery=nowhere")
    expect(nowhere.get_by_role("heading", name="There is no gallery nowhere")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_who_cannot_see_or_has_a_phone_can_look_through_it(
    demo: str, open_page: OpenPage, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(f"{demo}/gallery?order=image_id", size=size, scheme=scheme, touch=size == PHONE)
    name = f"gallery-{size[0]}-{scheme}"
    say_count(page, "119 images")
    page.get_by_text("Filters", exact=True).click()
    select(page, "v0000_00", "v0000_01")
    expect(page.get_by_role("button", name="Erase 2…")).to_be_enabled()
    page.wait_for_load_state("networkidle")
    require_accessible(page)
    shoot(page, f"{name}-filters")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("button", name="Correct the vehicle of 2…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    require_accessible(page)
    shoot(page, f"{name}-correct")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Select none").click()
    cell(page, "v0000_03").click()
    expect(page.get_by_role("dialog", name="v0000_03").get_by_role("button", name="Save")).to_be_visible()
    page.wait_for_load_state("networkidle")
    require_accessible(page)
    shoot(page, f"{name}-image")


# Correcting


def test_what_is_known_of_an_image_is_corrected(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?order=image_id")
    cell(page, "v0000_00").click()
    dialog = page.get_by_role("dialog", name="v0000_00")
    dialog.get_by_label("Camera").fill("gate")
    dialog.get_by_label("Captured (your time zone)").fill("2026-05-05T12:00:00")
    dialog.get_by_role("button", name="Remove body").click()
    for name, value in (("lane", "2"), ("plate", '"7"')):
        dialog.get_by_role("button", name="Add an attribute").click()
        dialog.get_by_label("Name of the attribute").last.fill(name)
        dialog.get_by_label("Value of the attribute").last.fill(value)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("Saved.")).to_be_visible()
    image = httpx.get(f"{own_demo}{IMAGES}/v0000_00").json()
    assert (image["camera_id"], image["vehicle_id"], image["attributes"]) == (
        "gate",
        "v0000",
        {"lane": 2, "plate": "7"},
    )
    assert image["captured_at"] == "2026-05-05T10:00:00Z"
    page.keyboard.press("Escape")
    expect(cell(page, "v0000_00")).to_contain_text("gate")
    expect(page.get_by_label(re.compile("^gate "))).to_have_count(2)  # a new camera to filter by


def test_what_the_service_refuses_is_said_in_its_words(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?image=v0000_00")
    dialog = page.get_by_role("dialog", name="v0000_00")
    expect(dialog.get_by_label("Camera")).to_have_value("c001")
    attributes = {f"a{number}": 1 for number in range(63)}
    httpx.patch(f"{own_demo}{IMAGES}/v0000_00", json={"attributes": attributes}).raise_for_status()
    for name in ("x", "y"):
        dialog.get_by_role("button", name="Add an attribute").click()
        dialog.get_by_label("Name of the attribute").last.fill(name)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("attributes has 66 entries; the limit is 64")
    expect(dialog.get_by_label("Name of the attribute").last).to_have_value("y")  # nothing that was written is lost


def test_two_vehicles_that_are_one(own_demo: str, open_page: OpenPage) -> None:
    one, other = len(stored(own_demo, vehicle_id="v0000")), len(stored(own_demo, vehicle_id="v0001"))
    page = open_page(f"{own_demo}/gallery?order=image_id")
    select(page, "v0000_00", "v0001_00")
    page.get_by_role("button", name="Correct the vehicle of 2…").click()
    dialog = page.get_by_role("dialog", name="Correct the vehicle")
    expect(dialog).to_contain_text("2 images of gallery default: 1 of v0000, 1 of v0001.")
    merge = dialog.get_by_role("radio", name=re.compile("^Merge"))
    expect(merge).to_be_checked()  # who selects two means that
    expect(dialog).to_contain_text(f"All images of v0000 ({one} images), v0001 ({other} images) show one vehicle")
    dialog.get_by_label("Vehicle that stays").select_option("v0000")
    dialog.get_by_role("button", name="Correct").click()
    expect(page.get_by_text(f"{other} images of v0001 are now vehicle v0000.")).to_be_visible()
    assert len(stored(own_demo, vehicle_id="v0000")) == one + other
    expect(cell(page, "v0001_00")).to_contain_text("v0000")
    expect(page.get_by_role("button", name="Erase…")).to_be_disabled()  # nothing is selected any more
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text(f"{other} images are as they were.")).to_be_visible()
    assert [len(stored(own_demo, vehicle_id=each)) for each in ("v0000", "v0001")] == [one, other]
    expect(cell(page, "v0001_00")).to_contain_text("v0001")


def test_a_vehicle_that_is_two(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?order=image_id&vehicle_id=v0000")
    before = stored(own_demo, vehicle_id="v0000")
    select(page, *before[:2])
    page.get_by_role("button", name="Correct the vehicle of 2…").click()
    dialog = page.get_by_role("dialog", name="Correct the vehicle")
    new = dialog.get_by_label("Id of the new vehicle")
    expect(new).to_have_value("v0000-2")
    new.fill("v0001")
    dialog.get_by_role("button", name="Correct").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Vehicle v0001 is there already")
    new.fill("van")
    dialog.get_by_role("button", name="Correct").click()
    expect(page.get_by_text("2 images are now the new vehicle van.")).to_be_visible()
    say_count(page, f"{len(before) - 2} images pass the filters")
    assert stored(own_demo, vehicle_id="van") == before[:2]
    page.get_by_role("button", name="Undo").click()
    say_count(page, f"{len(before)} images pass the filters")
    assert stored(own_demo, vehicle_id="van") == []


def test_images_of_several_vehicles_get_each_its_own_back(own_demo: str, open_page: OpenPage) -> None:
    httpx.patch(f"{own_demo}{IMAGES}/v0000_00", json={"vehicle_id": None}).raise_for_status()
    page = open_page(f"{own_demo}/gallery?order=image_id")
    before = {each: stored(own_demo, vehicle_id=each) for each in ("v0000", "v0001", "v0002")}
    select(page, "v0000_00", "v0000_01", "v0001_00", "v0002_00")
    page.get_by_role("button", name="Correct the vehicle of 4…").click()
    dialog = page.get_by_role("dialog", name="Correct the vehicle")
    dialog.get_by_label("Vehicle id for these images").fill("van")
    dialog.get_by_role("button", name="Correct").click()
    expect(page.get_by_text("4 images are now of vehicle van.")).to_be_visible()
    assert len(stored(own_demo, vehicle_id="van")) == 4
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("4 images are as they were.")).to_be_visible()
    assert {each: stored(own_demo, vehicle_id=each) for each in before} == before
    assert httpx.get(f"{own_demo}{IMAGES}/v0000_00").json()["vehicle_id"] is None


def test_a_vehicle_is_the_same_as_one_that_is_not_selected(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?image=v0002_00")
    page.get_by_role("dialog", name="v0002_00").get_by_role("button", name="Correct the vehicle…").click()
    dialog = page.get_by_role("dialog", name="Correct the vehicle")
    dialog.get_by_label("Vehicle that it is the same as").fill("v9999")
    dialog.get_by_role("button", name="Correct").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is no vehicle v9999")
    dialog.get_by_label("Vehicle that it is the same as").fill("v0003")
    dialog.get_by_role("button", name="Correct").click()
    expect(page.get_by_role("dialog", name="v0002_00").get_by_label("Vehicle")).to_have_value("v0003")
    assert stored(own_demo, vehicle_id="v0002") == []


def test_a_correction_that_nobody_waits_for_is_told_and_undone(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?order=image_id")
    held: list[Route] = []
    page.route(
        "**/images?**", lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_()
    )
    select(page, "v0000_00", "v0001_00")
    page.get_by_role("button", name="Correct the vehicle of 2…").click()
    with page.expect_request(lambda request: request.method == "PATCH"):
        page.get_by_role("dialog").get_by_role("button", name="Correct").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    held[0].continue_()
    expect(page.get_by_text("images of v0001 are now vehicle v0000.")).to_be_visible()
    page.unroute("**/images?**")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("images are as they were.")).to_be_visible()
    assert len(stored(own_demo, vehicle_id="v0001")) == 5


def test_what_others_did_since_is_not_undone(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?order=image_id")
    select(page, "v0000_00", "v0000_01", "v0000_02")
    page.get_by_role("button", name="Correct the vehicle of 3…").click()
    page.get_by_role("dialog").get_by_role("button", name="Correct").click()
    expect(page.get_by_text("3 images are now the new vehicle v0000-2.")).to_be_visible()
    httpx.patch(f"{own_demo}{IMAGES}/v0000_00", json={"vehicle_id": "by-another"}).raise_for_status()
    httpx.delete(f"{own_demo}{IMAGES}/v0000_01").raise_for_status()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("1 image is as it was. 2 others were changed or erased since.")).to_be_visible()
    assert stored(own_demo, vehicle_id="by-another") == ["v0000_00"]
    assert stored(own_demo, vehicle_id="v0000-2") == []


BY_VEHICLE = """async ([most]) => {
  const { byVehicle } = await import("/console/gallery/gallery_api.js");
  const found = await byVehicle("default", { filters: new URLSearchParams() }, most);
  return found && [...found].map(([vehicle, ids]) => [vehicle, ids.length]);
}"""


def test_images_of_several_pages_are_told_by_vehicle_up_to_a_limit(
    tiny_model: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    home = DataFolder(
        tmp_path / "data", default_spec=GallerySpec.for_model(Embedder(tiny_model, device="cpu").contract)
    )
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2100, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    home.get("default").add([
        NewImage(
            image_id=f"i{number}", embedding=vector, viewpoint=np.array([1, 0, 0], np.float32), crop=jpeg(0),
            metadata=Metadata(vehicle_id=None if number % 3 == 0 else f"v{number % 3}"),
        )
        for number, vector in enumerate(vectors)
    ])  # fmt: skip
    home.close()
    with serving(tmp_path / "data", tiny_model) as address:
        page = open_page(f"{address}/gallery")
        assert dict(page.evaluate(BY_VEHICLE, [2100])) == {None: 700, "v1": 700, "v2": 700}
        assert page.evaluate(BY_VEHICLE, [2099]) is None


# Erasing


def test_erasing_asks_and_says_how_many_of_which_gallery(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?order=image_id")
    select(page, "v0000_00", "v0000_01", "v0000_02")
    page.get_by_role("button", name="Erase 3…").click()
    dialog = page.get_by_role("dialog", name="Erase 3 images?")
    expect(dialog).to_contain_text("gallery “default”")
    dialog.get_by_role("button", name="Cancel").click()
    assert total(own_demo) == 119
    page.get_by_role("button", name="Erase 3…").click()
    dialog.get_by_role("button", name="Erase 3 images").click()
    expect(page.get_by_text("3 images erased from gallery default.")).to_be_visible()
    say_count(page, "116 images")
    expect(cell(page, "v0000_01")).to_have_count(0)
    assert not {"v0000_00", "v0000_01", "v0000_02"} & set(stored(own_demo))


def test_what_filters_pass_and_the_whole_gallery_is_erased(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/gallery?camera_id=c001")
    there = total(own_demo, camera_id="c001")
    say_count(page, f"{there} images pass the filters")
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name=f"Erase {there}…").click()
    page.get_by_role("dialog").get_by_role("button", name=f"Erase {there} images").click()
    expect(page.get_by_role("heading", name="No image passes these filters")).to_be_visible()
    page.get_by_role("button", name="Clear all filters").first.click()
    say_count(page, f"{119 - there} images")
    assert stored(own_demo, camera_id="c001") == []


# Adding


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path) -> Iterator[str]:
    """A service with an empty gallery, which answers quickly."""
    with serving(tmp_path / "data", tiny_model, log=tmp_path / "log") as address:
        yield address
    assert "Traceback" not in (tmp_path / "log").read_text()


def add(page: Page, **said: str) -> None:
    dialog = page.get_by_role("dialog", name="Add to gallery default")
    for label, value in said.items():
        dialog.get_by_label(label).fill(value)
    dialog.get_by_role("button", name="Add", exact=True).click()


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_an_empty_gallery_says_what_to_do_and_does_it(
    own: str, open_page: OpenPage, tmp_path: Path, size: tuple[int, int]
) -> None:
    page = open_page(f"{own}/gallery", size=size, scheme="dark" if size == PHONE else "light")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    require_accessible(page)
    shoot(page, f"gallery-empty-{size[0]}")
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "broken.jpg").write_bytes(jpeg(4)[:300])
    (tmp_path / "note.txt").write_text("no picture")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add pictures…").last.click()
    chooser.value.set_files([tmp_path / name for name in ("0.jpg", "1.jpg", "2.jpg", "broken.jpg", "note.txt")])
    expect(page.get_by_role("dialog")).to_contain_text("4 pictures are added. What is the same for all of them?")
    expect(page.get_by_role("dialog")).to_contain_text("1 other file is left out.")
    add(page, Camera="c7")
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("Done. 4 of 4 pictures · 3 new · 1 failed")
    region.get_by_text("1 picture could not be added").click()
    expect(region.get_by_text("broken.jpg")).to_be_visible()
    expect(region.get_by_text("the JPEG is truncated: it ends within a segment")).to_be_visible()
    say_count(page, "3 images")
    require_accessible(page)
    shoot(page, f"gallery-added-{size[0]}")
    with page.expect_download() as saved:
        region.get_by_role("button", name="Save this list").click()
    assert "broken.jpg" in Path(saved.value.path()).read_text()
    assert total(own, camera_id="c7") == 3
    region.get_by_role("button", name="Close").click()
    expect(region).to_be_hidden()


def test_the_same_files_again_are_there_once(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"{own}/gallery")
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    region = page.get_by_role("region", name="Pictures that are being added")
    for words in ("1 new", "1 replaced"):
        page.locator("input[type=file][accept]").set_input_files(tmp_path / "a.jpg")
        add(page)
        expect(region).to_contain_text(words)
    assert total(own) == 1


def test_a_folder_with_a_manifest(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "monday"
    (folder / "crops").mkdir(parents=True)
    for number in range(40):
        (folder / "crops" / f"{number:02}.jpg").write_bytes(jpeg(number))
    rows = [f"crops/{number:02}.jpg,v{number % 4},c{number % 2},{number}" for number in range(39)]
    (folder / "manifest.csv").write_text("\n".join(["path,vehicle_id,camera_id,lane", *rows, "crops/none.jpg,v,c,1"]))
    page = open_page(f"{own}/gallery")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    add(page)
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("39 new")
    expect(region.locator("summary")).to_have_text("1 picture could not be added")
    assert stored(own, vehicle_id="v3", **{"attribute.lane": 7}) == ["crops:07.jpg"]
    assert total(own) == 39


def test_a_folder_without_one_is_named_by_its_paths(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "monday"
    (folder / "gate 1").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(0))
    (folder / "gate 1" / "a.jpg").write_bytes(jpeg(1))
    (folder / "._a.jpg").write_bytes(b"what macOS writes")
    page = open_page(f"{own}/gallery")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    expect(page.get_by_role("dialog")).to_contain_text("2 pictures of the folder monday")
    add(page, Vehicle="v1")
    expect(page.get_by_role("region", name="Pictures that are being added")).to_contain_text("2 new")
    found = stored(own, vehicle_id="v1")
    assert found[0] == "monday:a.jpg"
    assert re.fullmatch(r"monday:gate-1:a\.jpg-[0-9a-f]{16}", found[1])


def test_pictures_are_dropped_on_the_page(own: str, open_page: OpenPage) -> None:
    page = open_page(f"{own}/gallery")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        list(jpeg(0)),
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop pictures, a folder or an archive to add them")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop pictures, a folder or an archive to add them")).to_be_hidden()
    add(page)
    say_count(page, "1 image")
    assert stored(own)[0].startswith("dropped-")


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders of this machine on the page, as a file manager does."""
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 400, "data": data})


def test_a_folder_is_dropped_on_the_page(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "monday", 230)  # readers of folders give a hundred names at a time
    folder_of(folder / "gate", 3)
    (folder / "note.txt").write_text("no picture")
    page = open_page(f"{own}/gallery")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    drop(page, folder)
    expect(page.get_by_role("dialog")).to_contain_text("The pictures of the folder monday are added.")
    add(page, Camera="c1")
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("Done. 233 of 233 pictures · 233 new")
    assert {"monday:0229.jpg", "monday:gate:0002.jpg"} <= set(stored(own, camera_id="c1"))


def test_a_folder_with_a_manifest_is_dropped(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a first", 2)
    other = folder_of(tmp_path / "listed", 3)
    (other / "manifest.csv").write_text('path,image_id,vehicle_id,note\n0001.jpg,one,v1,"say ""hi"""\n0002.jpg,,v2,\n')
    page = open_page(f"{own}/gallery")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    drop(page, folder, other)
    add(page)
    expect(page.get_by_role("region", name="Pictures that are being added")).to_contain_text("4 of 4 pictures · 4 new")
    assert stored(own, vehicle_id="v1", **{"attribute.note": 'say "hi"'}) == ["one"]
    assert stored(own, vehicle_id="v2") == ["0002.jpg"]


def test_an_archive_is_imported_and_its_job_is_shown(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    files = {f"{number}.jpg": jpeg(number) for number in range(30)} | {"broken.jpg": jpeg(1)[:300]}
    archive = pack(tmp_path / "crops.zip", files)
    page = open_page(f"{own}/gallery")
    page.locator("input[type=file][accept]").set_input_files(archive)
    page.get_by_role("dialog", name="Import an archive").get_by_role("button", name="Import").click()
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("crops.zip → gallery default")
    expect(region).to_contain_text("Done. 31 of 31 pictures · 30 new · 1 failed")
    region.get_by_text("1 picture could not be added").click()
    expect(region.get_by_text("broken.jpg")).to_be_visible()
    expect(region.get_by_text("the JPEG is truncated: it ends within a segment")).to_be_visible()
    say_count(page, "30 images")


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_pictures_of_an_archive_that_fail_are_shown(own: str, open_page: OpenPage, tmp_path: Path, kind: str) -> None:
    name = f"{'long/' * 30}überall.jpg"
    manifest = f'path,box\n{name},"900,900,5,5"\ngood.jpg,\nbroken.jpg,\n'.encode()
    files = {"manifest.csv": manifest, name: jpeg(0, (320, 240)), "good.jpg": jpeg(1), "broken.jpg": b"none"}
    page = open_page(f"{own}/gallery")
    page.locator("input[type=file][accept]").set_input_files(pack(tmp_path / f"crops{kind}", files))
    page.get_by_role("dialog", name="Import an archive").get_by_role("button", name="Import").click()
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("1 new · 2 failed")
    region.get_by_text("2 pictures could not be added").click()
    row = region.locator(".failure", has_text=name)
    expect(row).to_contain_text("box")
    expect(row.locator("img")).to_have_js_property("naturalWidth", 320)
    expect(region.locator(".failure", has_text="broken.jpg").locator("img")).to_have_class("missing")
    shoot(page, f"gallery-archive-failures{kind.replace('.', '-')}")


def zipped(files: dict[str, bytes], *, large: bool = False, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of these; ``large``: every entry says its sizes as those of more than 4 GiB are said."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=large) as entry:
                entry.write(data)
    return file.getvalue()


def large_directory(archive: bytes) -> bytes:
    """The same with a list of entries that says sizes and places as an archive of more than 4 GiB does (ZIP64)."""
    end = archive.rindex(b"PK\5\6")
    size, at = struct.unpack_from("<II", archive, end + 12)
    entries, place = b"", at
    while archive[place : place + 4] == b"PK\1\2":
        packed, whole = struct.unpack_from("<II", archive, place + 20)
        name, extra, comment = struct.unpack_from("<HHH", archive, place + 28)
        (local,) = struct.unpack_from("<I", archive, place + 42)
        head = bytearray(archive[place : place + 46])
        struct.pack_into("<II", head, 20, 0xFFFFFFFF, 0xFFFFFFFF)
        struct.pack_into("<HHH", head, 28, name, 28, 0)
        struct.pack_into("<I", head, 42, 0xFFFFFFFF)
        entries += head + archive[place + 46 : place + 46 + name] + struct.pack("<HHQQQ", 1, 24, whole, packed, local)
        place += 46 + name + extra + comment
    count = struct.unpack_from("<H", archive, end + 10)[0]
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entries), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(entries), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert size
    return archive[:at] + entries + record + locator + last


def tarred(files: dict[str, bytes], form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


READ_ARCHIVE = """async ([archive, names]) => {
  const { archivedPictures } = await import("/console/gallery/archived_pictures.js");
  const bytes = Uint8Array.from(atob(archive), (letter) => letter.charCodeAt(0));
  const found = [];
  await archivedPictures(new Blob([bytes]), new Set(names), (name, picture) => found.push([name, picture]));
  return Promise.all(found.map(async ([name, picture]) => [name, [...new Uint8Array(await picture.arrayBuffer())]]));
}"""


def test_an_archive_is_read_as_the_service_reads_it(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery")
    noise = np.random.default_rng(0)
    files = {
        "a.jpg": noise.bytes(70_000),
        f"{'x' * 90}/{'y' * 90}/ü.jpg": b"1" * 513,
        "b\\c.jpg": b"",
        "d.jpg": noise.bytes(512),
    }
    wanted = {name: files[name] for name in list(files)[1:]} | {"none.jpg": b""}
    expected = {name.replace("\\", "/"): list(data) for name, data in wanted.items() if name != "none.jpg"}

    def read(archive: bytes) -> dict[str, list[int]]:
        names = [name.replace("\\", "/") for name in wanted]
        return dict(page.evaluate(READ_ARCHIVE, [base64.b64encode(archive).decode(), names]))

    for archive in (
        zipped(files), zipped(files, large=True), zipped(files, method=zipfile.ZIP_STORED),
        large_directory(zipped(files, method=zipfile.ZIP_STORED)),
        *(tarred(files, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)),
        gzip.compress(tarred(files, tarfile.PAX_FORMAT)),
    ):  # fmt: skip
        assert read(archive) == expected
    end = tarred(files, tarfile.PAX_FORMAT)
    assert read(end[: end.index(files["d.jpg"]) + 512]) == expected  # the last blocks, which say that it ends, are lost
    assert read(b"") == read(b"PK") == read(b"PK\3\4 and nothing of it") == read(bytes(2000)) == {}
    torn = zipped(files)
    assert read(torn[: len(torn) // 2]) == {}
    locked = bytearray(zipped({"d.jpg": b"secret"}))
    locked[locked.index(b"PK\1\2") + 8] |= 1
    assert read(bytes(locked)) == {}  # it is encrypted
    taken_apart = {unicodedata.normalize("NFD", name): data for name, data in files.items()}
    assert read(zipped(taken_apart)) == expected


def test_names_of_an_archive_without_unicode_are_those_of_its_time(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery")
    archive = bytearray(zipped({"Mnchen.jpg".replace("n", "XX", 1): b"picture"}))
    archive = bytearray(bytes(archive).replace(b"MXXchen.jpg", b"M\x81nchen.jpg"))  # ü as CP437 has it
    assert page.evaluate(READ_ARCHIVE, [base64.b64encode(archive).decode(), ["München.jpg"]]) == [
        ["München.jpg", list(b"picture")]
    ]


def test_an_import_is_cancelled_by_who_opens_the_page_later(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    archive = pack(tmp_path / "many.zip", {f"{number}.jpg": jpeg(number, (640, 480)) for number in range(400)})
    httpx.post(f"{own}/v1/galleries/default/imports", files={"archive": archive.read_bytes()}).raise_for_status()
    page = open_page(f"{own}/gallery")
    region = page.get_by_role("region", name="Pictures that are being added")
    region.get_by_role("button", name="Cancel the import").click()
    expect(region).to_contain_text("Cancelled; what was added stays.")


def test_an_archive_that_is_none_says_so(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "crops.zip").write_bytes(b"no archive")
    page = open_page(f"{own}/gallery")
    page.locator("input[type=file][accept]").set_input_files(tmp_path / "crops.zip")
    page.get_by_role("dialog", name="Import an archive").get_by_role("button", name="Import").click()
    expect(page.get_by_role("region", name="Pictures that are being added")).to_contain_text("neither a ZIP nor a TAR")


def folder_of(path: Path, count: int, size: tuple[int, int] = (640, 480)) -> Path:
    path.mkdir()
    data = [jpeg(seed, size) for seed in range(8)]
    for number in range(count):
        (path / f"{number:04}.jpg").write_bytes(data[number % 8])
    return path


def test_a_file_that_is_gone_by_then_fails_alone(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "many", 200, (64, 48))
    page = open_page(f"{own}/gallery")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    held: list[Route] = []
    page.route("**/images", lambda route: held.append(route))
    drop(page, folder)
    with page.expect_request(lambda request: request.method == "POST"):
        add(page)
    (folder / "0199.jpg").unlink()  # the folder has been listed, and its first pictures are on their way
    page.unroute("**/images")
    for route in held:
        route.continue_()
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("Done. 200 of 200 pictures · 199 new · 1 failed")
    region.get_by_text("1 picture could not be added").click()
    expect(region.locator(".failure")).to_contain_text("many/0199.jpgit cannot be read from the disk")


def test_a_folder_without_pictures_says_so(own: str, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("nothing")
    pack(tmp_path / "texts" / "more.zip", {"a.jpg": jpeg(1)})
    page = open_page(f"{own}/gallery")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()
    drop(page, tmp_path / "texts")
    add(page)
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text("No picture was found: JPEG, PNG, WebP, BMP and GIF are read.")
    region.get_by_text("1 picture could not be added").click()
    expect(region).to_contain_text("texts/more.zip is an archive in the folder: add it by itself")


def test_a_service_that_takes_less_is_sent_less(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    folder = folder_of(tmp_path / "many", 20, (320, 240))
    (folder / "huge.jpg").write_bytes(jpeg(0, (3000, 2000)))
    limit = 3 * max(path.stat().st_size for path in folder.glob("0*.jpg"))
    assert (folder / "huge.jpg").stat().st_size > limit
    with serving(tmp_path / "data", tiny_model, "--max-body-bytes", str(limit)) as address:
        page = open_page(f"{address}/gallery")
        page.locator("input[webkitdirectory]").set_input_files(folder)
        add(page)
        region = page.get_by_role("region", name="Pictures that are being added")
        expect(region).to_contain_text("Done. 21 of 21 pictures · 20 new · 1 failed")
        region.get_by_text("1 picture could not be added").click()
        expect(region).to_contain_text("the limit set by max_body_bytes")
        assert total(address) == 20


def test_a_key_that_only_reads(demo_data: Path, tmp_path: Path, open_page: OpenPage) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    token = kept_key(tmp_path / "data", "read")
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    with serving(tmp_path / "data", MODEL) as address:
        page = open_page(f"{address}/gallery?order=image_id")
        give_key(page, token)
        say_count(page, "119 images")
        until(page, "[...document.querySelectorAll('.cell img')].every((each) => each.naturalWidth > 0)")
        page.locator("input[type=file][accept]").set_input_files(tmp_path / "a.jpg")
        expect(page.get_by_role("alert")).to_contain_text("Pictures cannot be added here")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_service_that_is_busy_is_waited_for(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    with serving(tmp_path / "data", tiny_model, "--queue-size", "1", "--threads", "1") as address:
        page = open_page(f"{address}/gallery")
        refusals: list[int] = []
        page.on("response", lambda answer: refusals.append(answer.status) if answer.status == 429 else None)
        page.locator("input[webkitdirectory]").set_input_files(folder_of(tmp_path / "many", 400))
        add(page)
        region = page.get_by_role("region", name="Pictures that are being added")
        expect(region).to_contain_text("Done. 400 of 400 pictures · 400 new", timeout=60_000)
        assert total(address) == 400
        assert refusals


def test_an_upload_goes_on_when_the_service_comes_back(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    port = free_port()
    folder = folder_of(tmp_path / "many", 600)
    with started(tmp_path / "data", tiny_model, port=port) as (address, process):
        page = open_page(f"{address}/gallery")
        page.locator("input[webkitdirectory]").set_input_files(folder)
        add(page)
        region = page.get_by_role("region", name="Pictures that are being added")
        expect(region).to_contain_text(re.compile("[0-9]+ new"))
        process.kill()
        process.wait()
        expect(region).to_contain_text("Waiting: The service cannot be reached.")
        shoot(page, "gallery-waiting")
    with started(tmp_path / "data", tiny_model, port=port) as (address, _):
        expect(region).to_contain_text("Done. 600 of 600 pictures", timeout=60_000)
        expect(region).not_to_contain_text("failed")
        assert total(address) == 600


def test_an_upload_is_stopped(own: str, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(f"{own}/gallery")
    page.locator("input[webkitdirectory]").set_input_files(folder_of(tmp_path / "many", 1500))
    add(page)
    region = page.get_by_role("region", name="Pictures that are being added")
    expect(region).to_contain_text(re.compile("[0-9]+ new .* a second"))
    region.get_by_role("button", name="Stop adding").click()
    expect(region).to_contain_text("Stopped; what was added stays.")
    assert 0 < total(own) < 1500


def test_a_gallery_is_created(own: str, open_page: OpenPage) -> None:
    page = open_page(f"{own}/gallery")
    page.get_by_role("button", name="New gallery…").click()
    dialog = page.get_by_role("dialog", name="New gallery")
    dialog.get_by_label(re.compile("^Name")).fill("Yard!")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_be_visible()  # no name for a gallery
    dialog.get_by_label(re.compile("^Name")).fill("yard")
    dialog.get_by_label("Days that an image is kept").fill("30")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Gallery yard is empty")).to_be_visible()
    made = httpx.get(f"{own}/v1/galleries/yard").json()
    assert (made["kind"], made["retention_days"]) == ("auto", 30)
    page.get_by_role("combobox", name="Gallery").select_option("default")
    expect(page.get_by_role("heading", name="Gallery default is empty")).to_be_visible()


# Very many


@pytest.fixture(scope="module")
def many(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a hundred thousand images of a hundred pictures."""
    data = tmp_path_factory.mktemp("many") / "data"
    contract = Embedder(tiny_model, device="cpu", threads=1).contract
    home = DataFolder(data, default_spec=GallerySpec.for_model(contract))
    gallery, random = home.get("default"), np.random.default_rng(0)
    crops = [jpeg(seed) for seed in range(100)]
    for first in range(0, MANY, 2000):
        vectors = random.normal(size=(2000, contract.embedding_dim)).astype(np.float32)
        gallery.add([
            NewImage(
                image_id=f"i{number:06}", metadata=Metadata(vehicle_id=f"v{number // 10}", camera_id=f"c{number % 50}"),
                crop=crops[number % 100], embedding=vector / np.linalg.norm(vector), viewpoint=None,
            )
            for number, vector in enumerate(vectors, first)
        ])  # fmt: skip
    home.close()
    with serving(data, tiny_model) as address:
        yield address


SCROLL = """async ([frames, pixels]) => {
    const grid = document.querySelector(".grid"), long = [], gaps = [];
    const observer = new PerformanceObserver((list) => list.getEntries().forEach((each) => long.push(each.duration)));
    observer.observe({ type: "longtask" });
    let most = 0, before = await new Promise(requestAnimationFrame);
    const step = pixels || (grid.scrollHeight - grid.clientHeight) / frames;
    for (let frame = 1; frame <= frames; frame += 1) {
        grid.scrollTop = step * frame;
        const now = await new Promise(requestAnimationFrame);
        gaps.push(now - before);
        before = now;
        most = Math.max(most, grid.querySelectorAll(".cell").length);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    gaps.sort((one, other) => one - other);
    const tasks = { longer: long.length, longest: Math.max(0, ...long) };
    return { most, ...tasks, median: gaps[frames >> 1], high: gaps[Math.floor(frames * 0.99)], heap: performance.memory.usedJSHeapSize };
}"""


def test_a_hundred_thousand_are_scrolled_through(many: str, open_page: OpenPage) -> None:
    page = open_page(f"{many}/gallery?order=image_id")
    say_count(page, "100,000 images")
    told = {"as a wheel does": page.evaluate(SCROLL, [300, 60])}
    told["all in fifteen seconds"] = page.evaluate(SCROLL, [900, 0])
    expect(cell(page, f"i{MANY - 1:06}")).to_be_in_viewport()
    until(page, "[...document.querySelectorAll('.cell:not(.coming) img')].every((each) => each.naturalWidth > 0)")
    page.evaluate("document.querySelector('.grid').scrollTop = 0")
    expect(cell(page, "i000000")).to_be_in_viewport()
    told["all in two seconds"] = page.evaluate(SCROLL, [120, 0])
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "gallery-scroll.json").write_text(json.dumps(told, indent=1))
    for each in told.values():
        assert each["most"] < 150  # cells in the document
        assert each["heap"] < 64 << 20
        assert each["longest"] < 1000  # milliseconds that the page does not answer, on a machine that may be busy


def test_any_place_is_reached_by_key_and_by_scroll_bar(many: str, open_page: OpenPage) -> None:
    page = open_page(f"{many}/gallery?order=image_id", size=PHONE)
    say_count(page, "100,000 images")
    grid(page).focus()
    page.keyboard.press("End")
    expect(cell(page, f"i{MANY - 1:06}")).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=re.compile("^i09999"))).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate(
        "const grid = document.querySelector('.grid'); grid.scrollTop = (grid.scrollHeight - grid.clientHeight) / 2"
    )
    expect(cell(page, f"i{MANY // 2:06}")).to_be_attached()
    page.mouse.wheel(0, 50)
    expect(cell(page, f"i{MANY // 2:06}")).to_be_attached()


def test_a_grid_that_is_higher_than_browsers_draw(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/gallery", size=PHONE)
    page.evaluate(
        """async () => {
            const { VirtualGrid } = await import("/console/gallery/virtual_grid.js"), ignore = () => {};
            const own = new VirtualGrid({
                label: "own", draw: (cell, number) => { cell.textContent = number; }, clear: ignore, shown: ignore, opened: ignore,
                picked: ignore, wanted: ignore, picking: () => false,
            });
            document.querySelector("main").replaceChildren(own.element);
            await new Promise((resolve) => setTimeout(resolve, 100));
            own.setCount(5_000_000);
            window.own = own;
        }"""
    )
    own = page.get_by_role("listbox", name="own")
    last = own.get_by_role("option", name="4999999", exact=True)
    assert page.evaluate("own.height") > 30_000_000 > page.evaluate("own.track.offsetHeight")
    own.focus()
    page.keyboard.press("End")
    expect(last).to_be_in_viewport()
    page.keyboard.press("Home")
    expect(own.get_by_role("option", name="0", exact=True)).to_be_in_viewport()
    page.evaluate("own.element.scrollTop = (own.element.scrollHeight - own.element.clientHeight) / 2")
    expect(own.get_by_role("option", name="2500000", exact=True)).to_be_attached()
    until(page, "Math.abs(own.top - own.scrolled * own.ratio) < own.ratio")  # the track was set right
    before = page.evaluate("own.top")
    own.hover()
    page.mouse.wheel(0, 100)
    until(page, f"Math.round(own.top - {before}) === 100")
    page.evaluate("own.element.scrollTop = own.element.scrollHeight")
    expect(last).to_be_in_viewport()


def test_more_than_can_be_named_are_selected_by_their_filters(many: str, open_page: OpenPage) -> None:
    page = open_page(f"{many}/gallery")
    say_count(page, "100,000 images")
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Erase 100,000…").click()
    dialog = page.get_by_role("dialog", name="Erase the whole gallery default?")
    dialog.get_by_role("button", name="Erase 100,000 images").click()
    expect(dialog).to_be_visible()  # its name was not written
    dialog.get_by_role("button", name="Cancel").click()
    assert total(many) == MANY
