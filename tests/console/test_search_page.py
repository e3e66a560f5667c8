"""The page that searches, as people use it: pictures in, boxes, filters, matches, and all of it in the address."""

import base64
import io
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.conftest import DESK, MODEL, PHONE, OpenPage, give_key, require_accessible, shoot
from tests.key_holder import kept_key
from tests.server_process import free_port, serving, started

QUERY = Path("examples/query.jpg")
PICTURES = Path("examples/demo-gallery/images")
OWN_VEHICLE = {"v0015_01", "v0015_02", "v0015_03", "v0015_04"}  # of the query


def choose(page: Page, *pictures: Path, button: str = "Choose a picture") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files(list(pictures))


def searched(page: Page, picture: Path = QUERY) -> None:
    """A picture has been searched with, and is kept."""
    choose(page, picture)
    expect(matches(page).first).to_be_visible()
    page.wait_for_url(re.compile("query_id=[0-9a-f]{32}"))


def matches(page: Page) -> Locator:
    return page.get_by_role("region", name="Results").locator(".match")


def found(page: Page) -> list[str]:
    """The images that are shown, nearest first, once the search has ended."""
    expect(page.get_by_role("region", name="Results")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".results .status")).not_to_be_empty()
    return [str(each.get_attribute("data-image")) for each in matches(page).all()]


def told(page: Page) -> Locator:
    """How many matches there are, as it is announced."""
    return page.get_by_role("region", name="Results").get_by_role("status").first


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def query(page: Page) -> Locator:
    return page.get_by_role("region", name="Query")


def settled(page: Page, does: Callable[[], Any]) -> None:
    """Do something that searches, and wait for the answer to be shown."""
    with page.expect_response(lambda answer: "/search" in answer.url and answer.ok):
        does()
    expect(page.get_by_role("region", name="Results")).to_have_attribute("aria-busy", "false")


def press(page: Page, *keys: str) -> None:
    for each in keys:
        page.keyboard.press(each)


def enter(field: Locator, text: str) -> None:
    """Type into a field and leave it."""
    field.fill(text)
    field.press("Tab")


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """A frame with two vehicles of the gallery beside each other: v0003 on the left, v0009 on the right."""
    whole = Image.new("RGB", (620, 260), (90, 95, 100))
    for name, left in (("v0003_01", 20), ("v0009_02", 340)):
        vehicle = Image.open(PICTURES / f"{name}.jpg")
        vehicle.thumbnail((260, 220))
        whole.paste(vehicle, (left, 20))
    path = tmp_path / "frame.png"
    whole.save(path)
    return path


def test_a_picture_in_matches_out_within_a_second(
    demo: str, open_page: OpenPage, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    for _ in range(3):
        page = open_page(demo)
        expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
        page.wait_for_load_state("networkidle")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a picture").click()
        began = time.perf_counter()
        chooser.value.set_files(QUERY)
        image = matches(page).first.locator("img")
        expect(image).to_have_attribute("src", re.compile("crop"))
        image.evaluate("each => each.decode()")
        took.append(time.perf_counter() - began)
    with capsys.disabled():
        sys.stdout.write(f"\nfirst picture to first match seen: {', '.join(f'{each:.2f} s' for each in took)}\n")
    assert set(found(page)[:4]) == OWN_VEHICLE
    assert len(found(page)) == 24
    expect(told(page)).to_contain_text("The 24 nearest matches, from a distance of 0.2")
    first = matches(page).first
    for words in ("0.2", "96 % same", "Camera c005", "front", "4 May 2026", "Vehicle v0015", "body: pickup"):
        expect(first).to_contain_text(words)
    expect(query(page)).to_contain_text("Seen from: front")


def test_a_picture_is_dropped(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    drop(page, QUERY)
    assert set(found(page)[:4]) == OWN_VEHICLE
    drop(page, PICTURES / "v0015_02.jpg", x=DESK[0] - 100)  # the right half: another one of the same vehicle
    expect(query(page)).to_contain_text("2 pictures are searched for as one vehicle.")


def drop(page: Page, picture: Path, x: int = 100) -> None:
    """As a browser does when a file is dropped from elsewhere."""
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    page.evaluate(
        """async ([data, name, x]) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], name, { type: "image/jpeg" }));
            const at = { dataTransfer: files, bubbles: true, cancelable: true, clientX: x, clientY: 300 };
            for (const kind of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, at));
        }""",
        [base64.b64encode(picture.read_bytes()).decode(), picture.name, x],
    )
    expect(page.locator(".veil")).to_be_hidden()


def test_a_picture_is_pasted(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copied = io.BytesIO()
    Image.open(QUERY).save(copied, "PNG")
    page.evaluate(
        """async (data) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
        }""",
        base64.b64encode(copied.getvalue()).decode(),
    )
    page.keyboard.press("Control+V")
    assert set(found(page)[:4]) == OWN_VEHICLE


def test_who_has_no_picture_tries_one_of_the_gallery(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.get_by_role("button", name=re.compile("^Try it with vehicle")).first.click()
    assert found(page)
    (image,) = asked(page)["image_id"]
    assert image not in found(page)
    assert found(page)[0].startswith(image.split("_")[0])


def test_a_phone_photographs(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, size=PHONE, touch=True)
    expect(page.get_by_text("Photograph a vehicle, or choose a picture of one.")).to_be_visible()
    expect(page.get_by_text("Ctrl+V")).to_be_hidden()
    camera = page.locator("input[capture=environment]").first
    assert camera.get_attribute("accept") == "image/*"
    camera.set_input_files(QUERY)
    assert set(found(page)[:4]) == OWN_VEHICLE


def test_a_box_is_drawn_pulled_and_moved_and_the_next_vehicle_searched_for(
    demo: str, open_page: OpenPage, frame: Path
) -> None:
    page = open_page(demo)
    searched(page, frame)
    settled(page, lambda: drag(page, (10, 10), (300, 250)))
    expect(page.get_by_role("button", name="Vehicle 1", exact=True)).to_have_attribute("aria-pressed", "true")
    assert found(page)[0].startswith("v0003")
    settled(page, lambda: drag(page, (330, 10), (610, 250)))
    assert found(page)[0].startswith("v0009")
    assert len(asked(page)["boxes"][0].split(";")) == 2

    corner = page.locator(".box.chosen .handle[data-x='1'][data-y='1']").bounding_box()
    assert corner is not None
    before = box(page)
    settled(page, lambda: pull(page, corner, -30, -20))
    after = box(page)
    assert after[:2] == before[:2]
    assert after[2] < before[2]
    assert after[3] < before[3]
    inside = page.locator(".box.chosen").bounding_box()
    assert inside is not None
    settled(page, lambda: pull(page, inside, -20, 5))
    moved = box(page)
    assert moved[2:] == after[2:]
    assert moved[0] < after[0]

    settled(page, page.get_by_role("button", name="Vehicle 1", exact=True).click)
    assert found(page)[0].startswith("v0003")
    settled(page, page.get_by_role("button", name="Whole picture").click)
    assert "box" not in asked(page)
    settled(page, page.locator(".box").nth(1).click)
    assert box(page) == moved
    settled(page, page.get_by_role("button", name="Remove box").click)
    assert len(page.locator(".box").all()) == 1


def box(page: Page) -> list[int]:
    return [int(each) for each in asked(page)["box"][0].split(",")]


def drag(page: Page, start: tuple[int, int], end: tuple[int, int]) -> None:
    """From and to these pixels of the picture of the frame."""
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    scale = stage["width"] / 620
    page.mouse.move(stage["x"] + start[0] * scale, stage["y"] + start[1] * scale)
    page.mouse.down()
    page.mouse.move(stage["x"] + 50 * scale, stage["y"] + 60 * scale)
    page.mouse.move(stage["x"] + end[0] * scale, stage["y"] + end[1] * scale)
    page.mouse.up()


def pull(page: Page, where: Any, right: int, down: int) -> None:
    """Drag the middle of something by so many pixels of the window."""
    x, y = where["x"] + where["width"] / 2, where["y"] + where["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right / 2, y + down / 2)
    page.mouse.move(x + right, y + down)
    page.mouse.up()


def test_a_box_is_given_in_numbers_and_stays_in_the_picture(demo: str, open_page: OpenPage, frame: Path) -> None:
    page = open_page(demo)
    searched(page, frame)
    settled(page, page.get_by_role("button", name="Add a box").click)
    page.get_by_text("Box by keyboard or in numbers").click()
    settled(page, lambda: enter(page.get_by_label("Left"), "330"))
    assert box(page)[0] == 620 - box(page)[2]  # as far to the right as there is room
    settled(page, lambda: enter(page.get_by_label("Width"), "200"))
    expect(page.get_by_label("Height")).to_be_focused()
    expect(page.get_by_label("Width")).to_have_value("200")
    assert box(page)[2] == 200


def test_the_keyboard_alone_gets_from_a_picture_to_a_trail(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        tab_to(page, "Choose a picture")
        page.keyboard.press("Enter")
    chooser.value.set_files(QUERY)
    assert set(found(page)[:4]) == OWN_VEHICLE
    page.wait_for_url(re.compile("query_id=[0-9a-f]{32}"))
    expect(query(page)).to_be_focused()

    tab_to(page, "Add a box", most=6)
    settled(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator(".box.chosen")).to_be_focused()
    x, y, width, height = box(page)
    settled(page, lambda: press(page, "ArrowLeft", "ArrowUp"))
    settled(page, lambda: press(page, *["Shift+ArrowRight"] * 3))
    step = 2  # a hundredth of 215 pixels
    assert box(page) == [x - step, y - step, width + 3 * step, height]
    settled(page, lambda: page.keyboard.press("Delete"))
    assert "box" not in asked(page)

    tab_to(page, "Match 1, compare", most=60)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Query and match")
    expect(dialog).to_contain_text("Match 2 of 24")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("Match 3 of 24")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Match 2, compare")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 match chosen")).to_be_visible()
    tab_to(page, "Show their trail", most=200, within=".chosen-bar")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/trail"))
    assert asked(page)["image_id"] == ["v0015_01"]


def tab_to(page: Page, name: str, most: int = 40, within: str = "body") -> None:
    """Press Tab until something of this name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(
            "([name, within]) => { const on = document.activeElement; return on.closest(within) !== null "
            "&& (on.getAttribute('aria-label') ?? on.textContent).trim().startsWith(name); }", [name, within],
        ):  # fmt: skip
            return
    raise AssertionError(f"{most} times Tab, and nothing called {name!r} had the focus")


def test_a_finger_does_it_on_a_phone(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, size=PHONE, touch=True)
    page.get_by_role("button", name=re.compile("^Try it with vehicle")).nth(1).tap()
    found(page)
    choose(page, QUERY, button="New picture")
    page.wait_for_url(re.compile("query_id="))
    found(page)
    settled(page, page.get_by_role("button", name="Add a box").tap)
    before = box(page)
    handle = page.locator(".box.chosen .handle[data-x='1'][data-y='0']")
    handle.scroll_into_view_if_needed()
    place = handle.bounding_box()
    assert place is not None
    settled(page, lambda: swipe(page, place, -40, 0))
    assert box(page)[2] < before[2]
    page.get_by_role("link", name="Results ↓").tap()
    page.get_by_label("Choose match 1", exact=True).tap()
    expect(page.get_by_text("1 match chosen")).to_be_visible()
    require_accessible(page)
    shoot(page, "search-phone")


def swipe(page: Page, where: Any, right: int, down: int) -> None:
    x, y = where["x"] + where["width"] / 2, where["y"] + where["height"] / 2
    finger = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.0), ("touchMove", 0.5), ("touchMove", 1.0), ("touchEnd", 1.0)):
        points = [] if kind == "touchEnd" else [{"x": x + share * right, "y": y + share * down}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_filters_narrow_what_is_found(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    page.get_by_text("Filters", exact=True).click()
    only = page.get_by_role("group", name="Only these cameras")
    only.get_by_label("c002 (24)").focus()
    settled(page, lambda: press(page, "Space"))
    expect(only.get_by_label("c002 (24)")).to_be_focused()
    assert asked(page)["camera_id"] == ["c002"]
    assert all(each.endswith("_01") for each in found(page))
    settled(page, page.get_by_role("group", name="Seen from").get_by_label(re.compile("^side")).check)
    assert 0 < len(found(page)) < 24
    page.get_by_role("button", name="Clear all filters").focus()
    settled(page, lambda: press(page, "Enter"))
    expect(page.locator(".filters summary")).to_be_focused()
    start = page.get_by_label("Captured: From (inclusive)")
    settled(page, lambda: enter(start, "2026-05-04T12:00:00"))
    assert asked(page)["captured_after"] == ["2026-05-04T10:00:00.000Z"]  # Berlin's clock is two hours ahead
    assert "v0012_00" not in found(page)
    group = page.get_by_role("group", name="Attributes")
    group.get_by_label("Name").fill("body")
    group.get_by_label("Value").fill("bus")
    settled(page, group.get_by_role("button", name="Add").click)
    expect(page.get_by_text("No matches.")).to_be_visible()
    settled(page, page.get_by_role("button", name="Search without filters").click)
    assert len(found(page)) == 24


def test_what_lies_beyond_the_threshold_fades(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    page.get_by_label("Distance threshold").fill("0.7")
    expect(page.locator("#within")).to_have_text("0.700 · 4 of 24 matches")
    beyond = page.locator(".match.beyond")
    expect(beyond).to_have_count(20)
    expect(beyond.first).to_contain_text("beyond")
    assert asked(page)["threshold"] == ["0.7"]
    require_accessible(page)
    page.get_by_role("button", name="Choose all within").click()
    expect(page.get_by_text("4 matches chosen")).to_be_visible()


def test_one_result_for_each_vehicle_and_more_results(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    settled(page, page.get_by_role("button", name="More results").click)
    assert len(found(page)) == 48
    assert asked(page)["top_k"] == ["48"]
    settled(page, page.get_by_label("One result for each vehicle").check)
    vehicles = [each.split("_")[0] for each in found(page)]
    assert len(set(vehicles)) == len(vehicles) == 24
    expect(told(page)).to_contain_text("24 vehicles")
    expect(page.get_by_role("button", name="More results")).to_be_hidden()


def test_matches_are_searched_with_and_added_to_the_query(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    first, second = found(page)[:2]
    settled(page, page.get_by_role("button", name="+ Query, match 1", exact=True).click)
    assert asked(page)["image_id"] == [first]
    assert first not in found(page)
    expect(query(page)).to_contain_text("2 pictures are searched for as one vehicle.")
    settled(page, page.get_by_role("button", name="Remove picture 2 from the query").click)
    assert found(page)[:2] == [first, second]
    settled(page, page.get_by_role("button", name="More like this, match 2", exact=True).click)
    assert asked(page) == {"image_id": [second]}
    expect(page.get_by_role("region", name="Results")).to_be_focused()
    assert second not in found(page)


def test_several_pictures_of_one_vehicle_each_with_its_box(demo: str, open_page: OpenPage, frame: Path) -> None:
    page = open_page(demo)
    choose(page, QUERY, PICTURES / "v0015_02.jpg")
    page.wait_for_url(re.compile("query_id=[0-9a-f]{32}&query_id=[0-9a-f]{32}"))
    assert set(found(page)[:4]) == OWN_VEHICLE
    page.get_by_role("button", name="Show picture 2 of the query").click()
    settled(page, page.get_by_role("button", name="Add a box").click)
    assert len(asked(page)["box"]) == 1  # of the second; the first is searched for whole
    assert parse_qs(urlsplit(page.url).query, keep_blank_values=True)["box"][0] == ""
    shared = page.url
    again = open_page(shared)
    assert found(again) == found(page)


def test_back_forward_and_a_second_tab_show_the_same(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    first = found(page)
    settled(page, page.get_by_label("One result for each vehicle").check)
    grouped, shared = found(page), page.url
    settled(page, page.get_by_role("button", name="More like this, match 1", exact=True).click)
    page.go_back()
    expect(page.get_by_label("One result for each vehicle")).to_be_checked()
    expect(matches(page)).to_have_count(len(grouped))
    assert found(page) == grouped
    settled(page, page.go_back)
    assert found(page) == first
    expect(page.get_by_label("One result for each vehicle")).not_to_be_checked()
    page.go_back()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    settled(page, page.go_forward)
    assert found(page) == first

    other = open_page(shared)
    assert found(other) == grouped
    expect(query(other).get_by_role("img")).to_be_visible()


def test_a_broken_picture_is_told_and_changes_nothing(demo: str, open_page: OpenPage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(QUERY.read_bytes()[:900])
    page = open_page(demo)
    choose(page, broken)
    expect(page.get_by_role("alert").filter(has_text="“broken.jpg” cannot be searched with: ")).to_contain_text(
        re.compile("damaged|truncated")
    )
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    searched(page)
    before, address = found(page), page.url
    choose(page, QUERY, broken, PICTURES / "v0015_02.jpg", button="New picture")
    page.wait_for_url(re.compile("query_id=[0-9a-f]{32}&query_id=[0-9a-f]{32}$"))  # those that can be read
    expect(query(page)).to_contain_text("2 pictures are searched for as one vehicle.")
    settled(page, page.go_back)
    text = tmp_path / "notes.jpg"
    text.write_text("no picture")
    choose(page, text, button="New picture")
    expect(page.get_by_text("“notes.jpg” cannot be searched with: ")).to_be_visible()
    assert (found(page), page.url) == (before, address)


def test_a_service_that_goes_away_and_comes_back(demo_data: Path, tmp_path: Path, open_page: OpenPage) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    port = free_port()
    with started(tmp_path / "data", MODEL, port=port) as (address, process):
        page = open_page(address)
        searched(page)
        before = found(page)
        process.kill()
        process.wait()
    page.get_by_label("One result for each vehicle").check()
    expect(page.get_by_role("region", name="Results").get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_text("What you see may be old")).to_be_visible()
    assert "group_by" not in asked(page)
    with started(tmp_path / "data", MODEL, port=port):
        expect(page.get_by_text("The service answers again.")).to_be_visible()
        expect(matches(page).first).to_be_visible()
        page.wait_for_url(re.compile("group_by=vehicle_id"))
        assert found(page)[0] == before[0]
        choose(page, PICTURES / "v0003_01.jpg", button="New picture")
        expect(matches(page).first).to_have_attribute("data-image", "v0003_01")


def test_an_older_answer_never_covers_a_newer_one(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    held: list[Route] = []
    page.route(re.compile(r"/search\?.*group_by"), lambda route: held.append(route))
    page.get_by_label("One result for each vehicle").check()
    expect(page.get_by_role("region", name="Results")).to_have_attribute("aria-busy", "true")
    while not held:
        page.wait_for_timeout(10)
    settled(page, page.get_by_label("One result for each vehicle").uncheck)
    newer = found(page)
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    assert found(page) == newer
    assert "group_by" not in asked(page)


def test_where_the_model_looked_lies_on_query_and_matches(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    button = page.get_by_role("button", name="Where the model looked")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    for place in (query(page), matches(page).first):
        expect(place.locator("canvas.map")).to_be_visible()
        assert painted(place.locator("canvas.map")) > 100
    drawn = matches(page).first.locator("canvas.map")
    both = drawn.evaluate("each => each.toDataURL()")
    page.get_by_label("Which attention").select_option("global")
    expect(drawn).to_have_attribute("data-kind", "global")
    assert drawn.evaluate("each => each.toDataURL()") != both
    matches(page).first.locator(".look").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("canvas.map")).to_have_count(2)
    for each in dialog.locator("canvas.map").all():
        expect(each).to_be_visible()
    require_accessible(page)
    shoot(page, "search-comparison")
    dialog.get_by_role("button", name="Where the model looked").click()
    expect(dialog.locator("canvas.map").first).to_be_hidden()
    dialog.get_by_role("button", name="Close", exact=True).click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator("canvas.map:visible")).to_have_count(0)


def painted(canvas: Locator) -> int:
    """How many different colours a canvas has."""
    return int(
        canvas.evaluate(
            "each => new Set(new Uint32Array(each.getContext('2d').getImageData(0, 0, each.width, each.height).data.buffer)).size"
        )
    )


def test_a_map_lies_on_the_part_that_the_model_saw(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    seen = "([w, h, resize]) => import('/console/search/attention_map.js').then((maps) => maps.seenPart(w, h, resize))"
    whole = {"size": [256, 256], "crop": [256, 256], "aspect": "stretch"}
    assert page.evaluate(seen, [400, 200, whole]) == {"x": 0, "y": 0, "width": 400, "height": 200}
    centre = {"size": [256, 256], "crop": [224, 224], "aspect": "stretch"}
    assert page.evaluate(seen, [512, 256, centre]) == {"x": 32, "y": 16, "width": 448, "height": 224}
    padded = {"size": [100, 100], "crop": [100, 100], "aspect": "pad"}
    assert page.evaluate(seen, [200, 100, padded]) == {"x": 0, "y": -50, "width": 200, "height": 200}


def test_chosen_matches_of_several_searches_go_to_the_trail(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    searched(page)
    page.get_by_label("Choose match 1", exact=True).check()
    page.get_by_label("Choose match 3", exact=True).check()
    chosen = [found(page)[0], found(page)[2]]
    settled(page, page.get_by_role("button", name="More like this, match 2", exact=True).click)
    expect(page.get_by_text("2 matches chosen")).to_be_visible()
    (like,) = asked(page)["image_id"]
    link = page.get_by_role("region", name="Chosen matches").get_by_role("link", name="Show their trail")
    wanted = parse_qs(urlsplit(str(link.get_attribute("href"))).query)
    assert wanted == {"gallery": ["default"], "image_id": [like, *chosen], "query_image_id": [like]}
    page.go_back()
    page.wait_for_url(re.compile("query_id="))
    found(page)
    kept = asked(page)["query_id"]
    link.click()
    page.wait_for_url(re.compile("/trail"))
    assert asked(page) == {"gallery": ["default"], "image_id": chosen, "query_id": kept}
    assert like not in chosen
    page.goto(demo + f"/?image_id={like}")
    expect(page.get_by_text("2 matches chosen")).to_be_visible()
    page.get_by_role("button", name="Choose none").click()
    expect(page.get_by_role("region", name="Chosen matches")).to_be_hidden()


def test_what_a_person_says_of_a_match_is_stored(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_demo}/?image_id=v0015_04")
    assert found(page)
    first = matches(page).first
    same, other = first.get_by_role("button", name="Same vehicle"), first.get_by_role("button", name="Not the same")
    same.click()
    expect(same).to_have_attribute("aria-pressed", "true")
    (given,) = feedback(own_demo)
    assert (given["image_id"], given["query_image_id"], given["same"]) == (found(page)[0], "v0015_04", True)
    assert 0 < given["distance"] < 1
    other.click()
    expect(same).to_have_attribute("aria-pressed", "false")
    assert [each["same"] for each in feedback(own_demo)] == [False]
    with page.expect_request(re.compile(r"/v1/feedback\?.*query_image_id=v0015_04")):  # however much was said of others
        page.reload()
    expect(other).to_have_attribute("aria-pressed", "true")  # it is known to whoever comes later
    other.click()
    expect(other).to_have_attribute("aria-pressed", "false")
    assert feedback(own_demo) == []


def test_what_is_said_of_a_box_names_the_box(own_demo: str, open_page: OpenPage, frame: Path) -> None:
    page = open_page(own_demo)
    searched(page, frame)
    settled(page, lambda: drag(page, (10, 10), (300, 250)))
    matches(page).nth(1).get_by_role("button", name="Not the same").click()
    expect(page.get_by_text("Noted: match 2 is not the same vehicle.")).to_be_visible()
    (given,) = feedback(own_demo)
    assert (given["image_id"], given["same"]) == (found(page)[1], False)
    assert (given["query_id"], given["box"]) == (asked(page)["query_id"][0], box(page))
    page.reload()
    expect(page.locator(".verdict[aria-pressed=true]")).to_have_count(1)
    settled(page, page.get_by_role("button", name="Whole picture").click)
    expect(page.locator(".verdict[aria-pressed=true]")).to_have_count(0)  # that was said of another query


def feedback(address: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{address}/v1/feedback", params={"gallery": "default"}).raise_for_status()
    return list(answer.json()["feedback"])


def test_where_no_pictures_are_kept_the_page_searches_all_the_same(
    demo_data: Path, tmp_path: Path, open_page: OpenPage, frame: Path
) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    with serving(tmp_path / "data", MODEL, "--query-hours", "0") as address:
        page = open_page(address)
        choose(page, frame)
        expect(query(page)).to_contain_text("This search cannot be shared:")
        settled(page, lambda: drag(page, (10, 10), (300, 250)))
        assert found(page)[0].startswith("v0003")
        first = found(page)
        settled(page, page.get_by_role("button", name="+ Query, match 1", exact=True).click)
        assert first[0] not in found(page)
        assert found(page)[0].startswith("v0003")
        settled(page, page.go_back)
        assert found(page) == first
        page.reload()
        expect(page.get_by_text("a picture that the service has not kept. Choose the picture again.")).to_be_visible()
        expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()


def test_a_gallery_that_keeps_no_pictures_is_searched_all_the_same(own_demo: str, open_page: OpenPage) -> None:
    httpx.put(f"{own_demo}/v1/galleries/yard", json={"keep_crops": False}).raise_for_status()
    for name in ("v0015_01", "v0015_02", "v0003_01"):
        picture = (PICTURES / f"{name}.jpg").read_bytes()
        httpx.put(f"{own_demo}/v1/galleries/yard/images/{name}", content=picture).raise_for_status()
    page = open_page(f"{own_demo}/?gallery=yard")
    searched(page)
    assert len(found(page)) == 3
    matches(page).first.locator(".look").click()
    frame = page.get_by_role("dialog").get_by_role("img", name="match 1")
    expect(frame).to_have_attribute("title", "this gallery keeps no pictures")
    bounds = frame.bounding_box()
    assert bounds is not None
    assert bounds["width"] > 300  # as large as a picture would be
    page.keyboard.press("Escape")
    settled(page, page.get_by_role("button", name="More like this, match 1", exact=True).click)
    assert found(page)[0].startswith("v0015")
    require_accessible(page)
    shoot(page, "search-no-crops")


def test_a_kept_picture_is_erased_on_request(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(own_demo)
    searched(page)
    shared = page.url
    (kept,) = asked(page)["query_id"]
    page.get_by_role("button", name="Erase it now").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    assert httpx.get(f"{own_demo}/v1/queries/{kept}").status_code == 404
    other = open_page(shared)
    expect(other.get_by_role("region", name="Results").get_by_role("alert")).to_contain_text("hours")


def test_where_a_key_is_wanted_pictures_come_with_it_and_its_limits_are_told(
    demo_data: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    token = kept_key(tmp_path / "data", "read")
    with serving(tmp_path / "data", MODEL) as address:
        page = open_page(address)
        give_key(page, token)
        searched(page)
        expect(matches(page).first.locator("img")).to_have_attribute("src", re.compile("^blob:"))
        again = page.context.new_page()  # a tab of its own has no key
        again.goto(page.url)
        expect(again.get_by_role("dialog", name="API key")).to_be_visible()
        page.reload()
        assert set(found(page)[:4]) == OWN_VEHICLE
        expect(query(page).get_by_role("img").first).to_have_js_property("naturalWidth", 215)


def test_a_picture_that_the_service_has_forgotten_is_sent_again(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(own_demo)
    searched(page)
    (first,) = asked(page)["query_id"]
    httpx.delete(f"{own_demo}/v1/queries/{first}").raise_for_status()
    page.get_by_label("One result for each vehicle").check()
    page.wait_for_url(lambda address: "query_id=" in address and first not in address)
    assert found(page)[0] in OWN_VEHICLE
    page.reload()  # kept anew
    expect(page.get_by_label("One result for each vehicle")).to_be_checked()
    assert found(page)[0] in OWN_VEHICLE
    expect(page.get_by_role("alert").locator("*")).to_have_count(0)


def test_pictures_that_the_service_cannot_keep_together_are_sent_with_the_search(
    demo_data: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    pictures = [PICTURES / "v0015_01.jpg", PICTURES / "v0015_02.jpg"]
    room = max(path.stat().st_size for path in pictures) + 100
    with serving(tmp_path / "data", MODEL, "--max-query-bytes", str(room)) as address:
        page = open_page(address)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        choose(page, *pictures)
        expect(matches(page).first).to_be_visible()
        assert set(found(page)[:4]) == OWN_VEHICLE
        assert len(sent) < 10
        expect(page.get_by_text("This search cannot be shared: the service has no room to keep it")).to_be_visible()


def test_a_picture_that_is_too_large_to_be_kept_is_searched_with(
    demo_data: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    with serving(tmp_path / "data", MODEL, "--max-query-bytes", "1024") as address:
        page = open_page(address)
        choose(page, PICTURES / "v0015_01.jpg", PICTURES / "v0015_02.jpg")
        assert set(found(page)[:4]) == OWN_VEHICLE
        expect(page.get_by_text("This search cannot be shared")).to_contain_text("max_query_bytes")


def test_a_large_picture_is_sent_once(demo: str, tmp_path: Path, open_page: OpenPage) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 512 * 1024
    page = open_page(demo)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(urlsplit(request.url).path) if request.method == "POST" else None)
    searched(page, tmp_path / "large.png")
    assert sent == ["/v1/queries"]


def test_another_gallery_is_searched_with_the_same_picture(own_demo: str, open_page: OpenPage) -> None:
    httpx.put(f"{own_demo}/v1/galleries/night", json={}).raise_for_status()
    stored = httpx.put(
        f"{own_demo}/v1/galleries/night/images/n1", content=(PICTURES / "v0015_02.jpg").read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    )  # fmt: skip
    stored.raise_for_status()
    page = open_page(own_demo)
    searched(page)
    settled(page, page.get_by_role("button", name="+ Query, match 1", exact=True).click)
    choice = page.get_by_role("region", name="Options").get_by_label("Gallery")
    settled(page, lambda: choice.select_option("night"))
    assert found(page) == ["n1"]
    assert set(asked(page)) == {"gallery", "query_id"}  # the other gallery's picture is left out, and that is told
    expect(page.get_by_text("Pictures of the other gallery are no longer part of the query.")).to_be_visible()
    pages = page.get_by_role("navigation", name="Pages")
    expect(pages.get_by_role("link", name="Gallery")).to_have_attribute("href", "/gallery?gallery=night")
    settled(page, page.go_back)
    assert len(found(page)) == 24
    expect(choice).to_have_value("default")
    expect(pages.get_by_role("link", name="Gallery")).to_have_attribute("href", "/gallery")


def test_an_empty_gallery_says_what_to_do(tmp_path: Path, open_page: OpenPage) -> None:
    with serving(tmp_path / "data", MODEL) as address:
        page = open_page(address)
        expect(page.get_by_text("The gallery default has no pictures yet")).to_be_visible()
        choose(page, QUERY)
        expect(page.get_by_text("This gallery has no other pictures.")).to_be_visible()
        page.get_by_role("link", name="Add pictures on the page Gallery").click()
        page.wait_for_url(re.compile("/gallery"))


def look_at_all(page: Page) -> None:
    """Scroll by every match, so that all pictures are there."""
    for each in matches(page).all()[::3]:
        each.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    page.evaluate("scrollTo(0, 0)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_cannot_see_can_use_the_results(demo: str, open_page: OpenPage, frame: Path, scheme: str) -> None:
    page = open_page(demo, scheme=scheme)
    searched(page, frame)
    settled(page, lambda: drag(page, (10, 10), (300, 250)))
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Choose match 2", exact=True).check()
    page.get_by_label("Distance threshold").fill("0.8")
    look_at_all(page)
    require_accessible(page)
    shoot(page, f"search-found-{scheme}")
