"""The page /trail as people use it: sightings on a time line and a plan, cameras placed, the record saved."""

import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.console.conftest import DESK, MODEL, PHONE, OpenPage, give_key, require_accessible, shoot
from tests.key_holder import kept_key
from tests.pictures import encoded, photograph
from tests.server_process import serving

IMAGES = ("v0000_00", "v0000_01", "v0000_02", "v0000_03")
GLOBE = [
    {"camera_id": "c001", "name": "South gate", "latitude": 48.1301, "longitude": 11.5701},
    {"camera_id": "c002", "name": "Überführung Nord", "latitude": 48.1574, "longitude": 11.5755},
    {"camera_id": "c003", "name": "Ring road", "latitude": 48.2904, "longitude": 11.5202},
    {"camera_id": "c004", "latitude": 48.1411, "longitude": 11.6001},
]


def address(base: str, *image_ids: str, **more: str) -> str:
    query = "&".join(
        [*(f"image_id={each}" for each in image_ids), *(f"{name}={value}" for name, value in more.items())]
    )
    return f"{base}/trail?{query}"


def place(base: str, cameras: list[dict[str, object]]) -> None:
    httpx.put(f"{base}/v1/cameras", json={"cameras": cameras}).raise_for_status()


def in_address(page: Page, name: str) -> list[str]:
    return parse_qs(urlsplit(page.url).query).get(name, [])


def shown(page: Page) -> None:
    """Wait until the trail is there."""
    expect(page.get_by_role("group", name="Time line")).to_be_visible()


def test_who_has_chosen_nothing_is_told_what_to_do(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/trail")
    expect(page.get_by_text("No sightings are chosen yet.")).to_be_visible()
    expect(page.get_by_role("link", name="Search for a vehicle")).to_have_attribute("href", "/")
    page.get_by_label("Add a sighting").fill("v0000_01")
    page.get_by_role("button", name="Add", exact=True).click()
    shown(page)
    assert in_address(page, "image_id") == ["v0000_01"]
    page.go_back()
    expect(page.get_by_text("No sightings are chosen yet.")).to_be_visible()


def test_chosen_matches_stand_in_the_order_of_time_with_the_ways_between_them(
    own_demo: str, open_page: OpenPage
) -> None:
    place(own_demo, GLOBE)
    page = open_page(address(own_demo, *reversed(IMAGES), query_image_id="v0000_00"))
    shown(page)
    cards = page.locator(".sighting")
    expect(cards).to_have_count(4)
    assert [each.get_attribute("aria-label") for each in cards.all()] == [
        each.get_attribute("aria-label") for each in page.locator(".point").all()
    ]
    served = httpx.post(
        f"{own_demo}/v1/galleries/default/trail", json={"image_ids": list(IMAGES), "query_image_ids": ["v0000_00"]}
    ).json()
    for card, sighting in zip(cards.all(), served["sightings"], strict=True):
        expect(card).to_contain_text(sighting["image_id"])
        expect(card).to_contain_text(f"{sighting['distance']:.3f}")
        expect(card.get_by_role("img")).not_to_have_js_property("naturalWidth", 0)
    impossible = [leg for leg in served["legs"] if leg["impossible"]]
    assert impossible
    expect(page.get_by_text(f"✕ Impossible: {impossible[0]['reason']}")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="4 sightings")).to_contain_text("impossible at up to 150 km/h")
    assert page.locator(".time-line .way.impossible .cross").count() == len(impossible)
    assert (
        page.locator(".time-line .way.impossible line").first.evaluate("e => getComputedStyle(e).strokeDasharray")
        != "none"
    )
    expect(page.get_by_role("group", name="Map").get_by_text("South gate")).to_be_visible()
    assert page.locator(".place .way").count() == 3
    shoot(page, "trail-map")


def test_matches_of_a_stored_picture_come_with_their_distances(demo: str, open_page: OpenPage) -> None:
    page = open_page(f"{demo}/?image_id=v0000_00")
    page.get_by_label("Choose match 1", exact=True).check()
    page.get_by_role("region", name="Chosen matches").get_by_role("link", name="Show their trail").click()
    shown(page)
    assert in_address(page, "query_image_id") == ["v0000_00"]
    expect(page.locator(".sighting")).to_have_count(2)
    expect(page.locator(".sighting", has_text="v0000_00").get_by_text("0.000")).to_be_visible()
    page.locator(".sighting").nth(1).get_by_role("link", name="Search with it").click()
    expect(page).to_have_url(re.compile(r"/\?image_id=v\d+_\d+$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_who_cannot_see_or_has_a_phone_can_use_a_trail(
    own_demo: str, open_page: OpenPage, size: tuple[int, int], scheme: str
) -> None:
    place(own_demo, GLOBE)
    page = open_page(address(own_demo, *IMAGES, "gone", query_image_id="v0000_00"), size=size, scheme=scheme)
    shown(page)
    expect(page.get_by_text("Not in the gallery (any more): gone")).to_be_visible()
    page.get_by_role("heading", name="Cameras").click()
    page.get_by_role("button", name="Move cameras").click()
    page.wait_for_load_state("networkidle")
    require_accessible(page)
    shoot(page, f"trail-full-{size[0]}-{scheme}")
    page.get_by_role("button", name="Leave them out").click()
    expect(page.get_by_text("Not in the gallery (any more): gone")).to_have_count(0)
    assert in_address(page, "image_id") == list(IMAGES)


def test_a_sighting_is_removed_and_brought_back(demo: str, open_page: OpenPage) -> None:
    page = open_page(address(demo, *IMAGES))
    shown(page)
    page.get_by_role("button", name="Remove sighting 2").click()
    expect(page.locator(".sighting")).to_have_count(3)
    assert len(in_address(page, "image_id")) == 3
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".sighting")).to_have_count(4)
    page.go_back()
    expect(page.locator(".sighting")).to_have_count(3)


def test_by_keyboard_alone_points_are_walked_and_lead_to_their_sightings(demo: str, open_page: OpenPage) -> None:
    page = open_page(address(demo, *IMAGES))
    shown(page)
    points = page.locator(".point")
    assert [each.get_attribute("tabindex") for each in points.all()] == ["0", "-1", "-1", "-1"]
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('point')"):
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    expect(points.nth(3)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(points.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#sighting-3")).to_be_focused()
    page.keyboard.press("Tab")  # to the first button of it
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove sighting 3")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".sighting")).to_have_count(3)


def test_cameras_are_named_and_placed_by_fields(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(address(own_demo, *IMAGES))
    shown(page)
    expect(page.get_by_text("No camera of this trail has a position yet")).to_be_visible()
    expect(page.get_by_text("3 ways not measured for want of positions")).to_be_visible()
    field = page.get_by_role("group", name="c001")
    field.get_by_label("Name").fill("South gate")
    field.get_by_label("Name").press("Tab")
    expect(page.get_by_text("South gate (c001) is saved.")).to_be_visible()
    for camera_id, latitude in (("c001", "48.13"), ("c002", "48.14")):
        field = page.get_by_role("group", name=camera_id)
        field.get_by_label("Position").select_option("latitude and longitude")
        field.get_by_label("Latitude (degrees)").fill(latitude)
        field.get_by_label("Longitude (degrees)").fill("11.57")
        field.get_by_label("Longitude (degrees)").press("Tab")
        expect(
            page.get_by_text(f"({camera_id}) is saved." if camera_id == "c001" else f"{camera_id} is saved.").last
        ).to_be_visible()
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    known = {each["camera_id"]: each for each in httpx.get(f"{own_demo}/v1/cameras").json()["cameras"]}
    assert (known["c001"]["name"], known["c001"]["latitude"], known["c002"]["longitude"]) == (
        "South gate",
        48.13,
        11.57,
    )
    field = page.get_by_role("group", name="c001")
    field.get_by_label("Latitude (degrees)").fill("95")
    field.get_by_label("Latitude (degrees)").press("Tab")
    assert field.get_by_label("Latitude (degrees)").evaluate("e => e.validity.rangeOverflow")
    assert httpx.get(f"{own_demo}/v1/cameras").json()["cameras"][0]["latitude"] == 48.13


def test_what_somebody_else_has_placed_meanwhile_stays(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(address(own_demo, *IMAGES))
    shown(page)
    place(own_demo, [{"camera_id": "c009", "x": 1, "y": 2}])
    field = page.get_by_role("group", name="c001")
    field.get_by_label("Name").fill("Gate")
    field.get_by_label("Name").press("Tab")
    expect(page.get_by_text("Gate (c001) is saved.")).to_be_visible()
    assert [each["camera_id"] for each in httpx.get(f"{own_demo}/v1/cameras").json()["cameras"]] == ["c001", "c009"]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("c001 is saved.").last).to_be_visible()
    assert httpx.get(f"{own_demo}/v1/cameras").json()["cameras"][0]["name"] is None


def test_a_plan_is_added_and_cameras_are_placed_on_it_by_click_drag_and_keys(
    own_demo: str, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "plan.png").write_bytes(encoded(photograph(5, (800, 400)), "PNG"))
    page = open_page(address(own_demo, *IMAGES))
    shown(page)
    page.get_by_label("Picture of the plan").set_input_files(tmp_path / "plan.png")
    page.get_by_label("Metres from its left to its right side").fill("200")
    page.get_by_role("button", name="Add the plan").click()
    expect(page.get_by_text("The plan shows 200 m × 100 m.")).to_be_visible()
    plan = page.get_by_role("group", name="Plan")
    expect(plan.locator("image")).to_have_attribute("href", re.compile("^blob:"))
    page.get_by_role("button", name="Move cameras").click()
    page.get_by_label("A click places").select_option("c001")
    frame = plan.bounding_box()
    assert frame is not None
    plan.click(position={"x": frame["width"] / 4, "y": frame["height"] / 2})
    expect(page.get_by_text("c001 is saved.")).to_be_visible()
    site = page.get_by_role("button", name=re.compile("^c001"))
    x, y = camera_at(own_demo, "c001")
    assert [x, y] == pytest.approx([50, 50], abs=1)
    box = site.locator("circle").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + frame["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    wait_for_camera(page, own_demo, "c001", x + 100, y)
    site = page.get_by_role("button", name=re.compile("^c001"))
    site.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    metres = 24 * 200 / frame["width"]
    wait_for_camera(page, own_demo, "c001", x + 100, y - metres)
    expect(page.get_by_role("button", name=re.compile("^c001"))).to_be_focused()
    shoot(page, "trail-plan")
    page.get_by_role("button", name="Remove the plan…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("There is no plan.")).to_be_visible()
    expect(page.get_by_role("group", name="Plan").locator(".grid").first).to_be_attached()


def camera_at(base: str, camera_id: str) -> tuple[float, float]:
    (camera,) = (each for each in httpx.get(f"{base}/v1/cameras").json()["cameras"] if each["camera_id"] == camera_id)
    return camera["x"], camera["y"]


def wait_for_camera(page: Page, base: str, camera_id: str, x: float, y: float) -> None:
    """Until the service has it there, give or take half a metre."""
    for _ in range(200):
        here = camera_at(base, camera_id)
        if abs(here[0] - x) < 0.5 and abs(here[1] - y) < 0.5:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{camera_id} stands at {here}, not at {x}, {y}")


def test_the_record_is_saved_as_pdf_and_csv_with_what_was_written_into_it(own_demo: str, open_page: OpenPage) -> None:
    place(own_demo, GLOBE)
    page = open_page(address(own_demo, *IMAGES, query_image_id="v0000_00"))
    shown(page)
    page.get_by_label("Title").fill("Red car – Überführung")
    page.get_by_label("Who asks").fill("Officer Łukasik")
    page.get_by_label("Note").fill("Handed over on paper.")
    page.get_by_label("Greatest speed thought possible (km/h)").fill("1999")
    page.get_by_label("Greatest speed thought possible (km/h)").press("Tab")
    expect(page.get_by_text("✕ Impossible")).to_have_count(0)
    assert (in_address(page, "title"), in_address(page, "max_speed")) == (["Red car – Überführung"], ["1999"])
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as PDF").click()
    assert saved.value.suggested_filename.startswith("trail-default-")
    reader = PdfReader(saved.value.path())
    text = " ".join(" ".join(each.extract_text().split()) for each in reader.pages)
    for words in (
        "Red car – Überführung",
        "Officer Łukasik",
        "Handed over on paper.",
        "Ring road",
        "at up to 1999 km/h: 0",
    ):
        assert words in text, words
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_bytes().decode("utf-8-sig"), newline="")))
    assert [row["image_id"] for row in rows] == sorted(IMAGES)
    assert {row["asked_by"] for row in rows} == {"Officer Łukasik"}
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as ZIP with pictures").click()
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert len([name for name in archive.namelist() if name.startswith("pictures/")]) == len(IMAGES)
    page.reload()
    expect(page.get_by_label("Title")).to_have_value("Red car – Überführung")
    expect(page.get_by_label("Who asks")).to_have_value("Officer Łukasik")


def test_another_key_is_followed(demo_data: Path, tmp_path: Path, open_page: OpenPage) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    token = kept_key(tmp_path / "data", "read")
    with serving(tmp_path / "data", MODEL) as base:
        page = open_page(address(base, *IMAGES))
        expect(page.get_by_role("dialog", name="API key")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Key…").click()
        give_key(page, token)
        shown(page)


def test_on_paper_there_is_the_trail_and_no_form(own_demo: str, open_page: OpenPage) -> None:
    place(own_demo, GLOBE)
    page = open_page(address(own_demo, *IMAGES), scheme="dark")
    shown(page)
    page.get_by_label("Who asks").fill("Officer Łukasik")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(page.get_by_text("Officer Łukasik")).to_be_visible()
    expect(page.get_by_text("Europe/Berlin, GMT+2; PDF and CSV have them in UTC")).to_be_visible()
    expect(page.get_by_text(httpx.get(f"{own_demo}/v1/model").json()["fingerprint"])).to_be_visible()
    for hidden in ("Record", "Cameras"):
        expect(page.get_by_role("heading", name=hidden, exact=True)).to_be_hidden()
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    expect(page.get_by_role("heading", name="Time line")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shoot(page, "trail-print")


def test_a_search_that_is_kept_no_more_leaves_out_distances(own_demo: str, open_page: OpenPage) -> None:
    page = open_page(address(own_demo, *IMAGES, query_id="0" * 32))
    shown(page)
    expect(page.get_by_text(re.compile("Distances are left out: .*kept"))).to_be_visible()
    assert in_address(page, "query_id") == []


def test_kept_pictures_are_shown_and_measured_to(own_demo: str, open_page: OpenPage) -> None:
    query = httpx.post(f"{own_demo}/v1/queries", content=Path("examples/query.jpg").read_bytes()).json()["query_id"]
    page = open_page(address(own_demo, *IMAGES, query_id=query, box="10,10,60,60"))
    shown(page)
    looked_for = page.get_by_role("img", name="what was looked for, picture 1")
    expect(looked_for).not_to_have_js_property("naturalWidth", 0)
    wish = {"image_ids": list(IMAGES), "query_ids": [query], "boxes": [[10, 10, 60, 60]]}
    served = httpx.post(f"{own_demo}/v1/galleries/default/trail", json=wish).json()
    expect(page.locator("#sighting-1")).to_contain_text(f"{served['sightings'][0]['distance']:.3f}")


def test_what_is_wrong_is_said_in_the_services_words(demo: str, open_page: OpenPage) -> None:
    page = open_page(address(demo, "gone"))
    expect(page.get_by_role("alert").filter(has_text="has none of the 1 images")).to_be_visible()
    page.get_by_role("button", name="Begin anew").click()
    expect(page.get_by_text("No sightings are chosen yet.")).to_be_visible()
    page = open_page(address(demo, "v0000_00", "..."))
    expect(page.get_by_role("alert").filter(has_text="must match")).to_be_visible()


def test_a_map_is_loaded_from_where_the_setting_says_and_from_nowhere_else(
    demo_data: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    shutil.copytree(demo_data, tmp_path / "data")
    tiles = "https://tiles.example/{z}/{x}/{y}.png"
    with serving(tmp_path / "data", MODEL, "--map-tiles", tiles) as base:
        place(base, GLOBE)
        policy = httpx.get(f"{base}/trail").headers["content-security-policy"]
        assert "img-src 'self' blob: data: https://tiles.example;" in policy
        asked: list[str] = []
        page = open_page("about:blank")
        picture = encoded(photograph(1, (256, 256)), "PNG")
        page.route("https://tiles.example/**", lambda route: route.fulfill(body=picture, content_type="image/png"))
        page.on("request", lambda request: asked.extend([request.url] if "tiles" in request.url else []))
        page.goto(address(base, *IMAGES))
        expect(page.get_by_role("group", name="Map").locator("image").first).to_be_attached()
        page.wait_for_load_state("networkidle")
        assert asked
        for url in asked:
            assert re.fullmatch(r"https://tiles\.example/\d+/\d+/\d+\.png", url), url
        expect(page.get_by_text("The map's pictures come from tiles.example.")).to_be_visible()
        shoot(page, "trail-tiles")


def test_a_page_without_the_setting_asks_nobody_for_a_map(own_demo: str, open_page: OpenPage) -> None:
    place(own_demo, GLOBE)
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address(own_demo, *IMAGES))
    shown(page)
    page.wait_for_load_state("networkidle")
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("blob:", "data:"))} == {
        urlsplit(own_demo).netloc
    }
    assert json.loads(httpx.get(f"{own_demo}/v1/cameras").text)["map_tiles"] is None
