"""What every page of the console has: the way to the others, the key, colours, and what it says of a service that is gone."""

import gzip
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from index.access_key import SCOPES
from service.routes.console_routes import PAGES, Console
from service.settings import Settings
from tests.console.conftest import DESK, MODEL, PHONE, OpenPage, give_key, require_accessible, shoot
from tests.key_holder import bearer, kept_key
from tests.server_process import free_port, serving, started

MOST = 200_000  # bytes that a page may take, compressed


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_small_and_may_load_nothing_from_elsewhere(demo: str, path: str) -> None:
    page = httpx.get(demo + path)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;")
    assert "unsafe" not in policy
    addresses = set(re.findall(r'(?:href|src)="([^"]+)"', page.text)) - {"#main", "/docs"}
    assert f"/console/{PAGES[path].name}/{PAGES[path].name}.js" in addresses
    assert all(each.startswith("/console/") for each in addresses)
    sent = len(gzip.compress(page.content))
    for address in addresses:
        with httpx.stream("GET", demo + address) as answer:
            assert answer.status_code == 200, address
            assert answer.headers["content-encoding"] == "gzip"
            sent += sum(map(len, answer.iter_raw()))
    assert sent <= MOST


def test_every_module_that_a_page_needs_is_named_in_it(demo: str) -> None:
    console = Console()
    for path, page in PAGES.items():
        named = set(re.findall(rb'modulepreload" href="([^"]+)"', console.files[path].plain))
        text = console.files[f"/console/{page.name}/{page.name}.js"].plain
        own = {
            each.replace(b"./", f"/console/{page.name}/".encode())
            for each in re.findall(rb'from "(\./[a-z_]+\.js)"', text)
        }
        others = {each.replace(b"..", b"/console") for each in re.findall(rb'from "(\.\./[a-z_/]+\.js)"', text)}
        assert others
        assert own | others <= named


def test_a_file_that_the_browser_has_is_not_sent_again(demo: str) -> None:
    first = httpx.get(f"{demo}/console/shared/style.css")
    again = httpx.get(f"{demo}/console/shared/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = httpx.get(f"{demo}/console/shared/style.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content


@pytest.mark.parametrize(
    "path", ["/console/search/none.js", "/console/page.html", "/console/..%2f__init__.py", "/console/tsconfig.json"]
)
def test_there_are_no_other_files(demo: str, path: str) -> None:
    assert httpx.get(demo + path).status_code in {400, 404}


def test_an_operator_can_leave_the_pages_out(demo_data: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", MODEL, "--no-console") as address:
        assert httpx.get(address).status_code == 404
    assert Settings().console


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("path", PAGES)
def test_who_cannot_see_or_has_a_phone_can_use_it(
    demo: str, open_page: OpenPage, path: str, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(demo + path, size=size, scheme=scheme)
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    page.wait_for_load_state("networkidle")
    require_accessible(page)
    shoot(page, f"{PAGES[path].name}-{size[0]}-{scheme}")


def test_a_keyboard_gets_to_the_page_at_once_and_sees_where_it_is(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_colours_are_kept(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.get_by_role("button", name="Colours: system").click()
    page.get_by_role("button", name="Colours: light").click()
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"


def test_a_page_asks_for_the_key_that_the_service_wants(demo_data: Path, tmp_path: Path, open_page: OpenPage) -> None:
    token = kept_key(tmp_path / "data", *SCOPES)
    with serving(tmp_path / "data", MODEL) as address:
        page = open_page(f"{address}/gallery")
        give_key(page, "vsk_wrong")
        expect(page.get_by_role("dialog")).to_contain_text("key")
        give_key(page, token)
        expect(page.get_by_role("button", name="Key ✓")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("path", ["/", "/gallery", "/trail"])
def test_a_key_of_another_gallery_opens_that_one(
    tiny_model: Path, tmp_path: Path, open_page: OpenPage, path: str
) -> None:
    admin = kept_key(tmp_path / "data", "admin")
    token = kept_key(tmp_path / "data", "read", galleries=("yard",))
    with serving(tmp_path / "data", tiny_model) as address:
        httpx.put(f"{address}/v1/galleries/yard", json={}, headers=bearer(admin)).raise_for_status()
        page = open_page(address + path)
        give_key(page, token)
        page.wait_for_url(f"{address}{path}?gallery=yard")
        expect(page.locator("label", has_text="Gallery").locator("select").first).to_have_value("yard")
        expect(page.get_by_role("alert").filter(has_text="not for this gallery")).to_have_count(0)


def test_a_page_says_when_the_service_is_gone_and_goes_on_when_it_is_back(tmp_path: Path, open_page: OpenPage) -> None:
    port = free_port()
    with started(tmp_path / "data", MODEL, port=port) as (_, process):
        page = open_page(f"http://127.0.0.1:{port}/gallery")
        page.wait_for_load_state("networkidle")
        process.kill()
        process.wait()
    page.evaluate("import('/console/shared/api.js').then((api) => api.get('/v1/galleries').catch(() => null))")
    expect(page.get_by_text("The service cannot be reached.")).to_be_visible()
    with started(tmp_path / "data", MODEL, port=port):
        expect(page.get_by_text("The service answers again.")).to_be_visible()
        expect(page.get_by_text("The service cannot be reached.")).to_be_hidden()
