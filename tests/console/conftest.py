"""Chromium, a service with the demo gallery, and what pages are held against."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from index.vehicle_index import main as vehicle_index
from tests.console.chromium import installed_chromium, launched
from tests.server_process import serving

DEMO = Path("examples/demo-gallery/manifest.csv")
MODEL = Path("models/default.onnx")
SHOTS = Path(os.environ.get("SCREENSHOTS", "build/screenshots"))
DESK, PHONE = (1280, 900), (360, 740)
_SERIOUS = ("serious", "critical")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser that is installed; tests are left out, and say so, where there is none."""
    found = installed_chromium()
    if found is None:
        pytest.skip("the console is not tested: no Chromium is installed (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="package")
def browser(chromium: Path) -> Iterator[Browser]:
    """Started for the tests of the console only: while it runs no other test may have an event loop of its own."""
    expect.set_options(timeout=20_000)  # milliseconds, on a machine that may be busy
    with sync_playwright() as playwright:
        opened = launched(playwright, chromium)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the demo gallery; tests that change something serve a copy."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert vehicle_index(["add", "--data-dir", str(folder), "--model", str(MODEL), str(DEMO)]) == 0
    return folder


@pytest.fixture(scope="package")
def demo(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base address of a service with the demo gallery, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("console")
    shutil.copytree(demo_data, folder / "data")
    with serving(folder / "data", MODEL, log=folder / "log") as address:
        yield address
    log = (folder / "log").read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def own_demo(demo_data: Path, tmp_path: Path) -> Iterator[str]:
    """As ``demo``, for one test that changes it."""
    shutil.copytree(demo_data, tmp_path / "data")
    with serving(tmp_path / "data", MODEL, log=tmp_path / "log") as address:
        yield address
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a browser of its own: ``open_page(address, size=PHONE, scheme="dark")``.

    At the end the page has logged no error of its own: a script that broke, or something its policy refused. What the
    browser says of answers of the service (``Failed to load resource``) is the test's to expect.
    """
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(message.text)

    def opened(address: str, *, size: tuple[int, int] = DESK, scheme: str = "light", touch: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=touch, accept_downloads=True, locale="en-GB", timezone_id="Europe/Berlin",
        )  # fmt: skip
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def give_key(page: Page, token: str) -> None:
    """Answer the page that asks for a key."""
    dialog = page.get_by_role("dialog", name="API key")
    expect(dialog).to_be_visible()
    dialog.get_by_label("API key").fill(token)
    dialog.get_by_role("button", name="Use this key").click()


def shoot(page: Page, name: str) -> Path:
    """Keep a picture of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path


def require_accessible(page: Page) -> None:
    """As axe sees it there is no serious finding on the page as it is now, and nothing of it is wider than the window."""
    found = Axe().run(page).response["violations"]
    serious = [
        f"{each['impact']} {each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found
        if each["impact"] in _SERIOUS
    ]
    assert serious == []
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"the page is {wide} px wider than the window"
