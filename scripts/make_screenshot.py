"""Draw ``docs/console.jpg``: the console as it searches the demo gallery for the example query.

    python -m scripts.make_screenshot

A service of its own is started for it, and the Chromium that is installed.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from index.vehicle_index import main as vehicle_index
from tests.console.chromium import installed_chromium, launched
from tests.server_process import serving

MODEL, QUERY = Path("models/default.onnx"), Path("examples/query.jpg")
WINDOW, SCALE = (1360, 900), 1.5  # CSS pixels, and how many of the picture's one takes
MOST = 250_000  # bytes
THRESHOLD = "0.7"


def main() -> int:
    """Serve, search, photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/console.jpg"))
    out: Path = parser.parse_args().out
    program = installed_chromium()
    if program is None:
        print("no Chromium is installed (Debian: apt-get install chromium), or name one by CHROMIUM", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        vehicle_index(["add", "--data-dir", folder, "--model", str(MODEL), "examples/demo-gallery/manifest.csv"])
        with serving(Path(folder), MODEL) as address:
            browser = launched(playwright, program)
            shown = photograph(browser, address)
            browser.close()
    out.write_bytes(packed(shown))
    print(f"{out}: {out.stat().st_size:,} bytes")
    return 0


def photograph(browser: Browser, address: str) -> bytes:
    """A PNG of the page that has searched for the example query, with a threshold and chosen matches."""
    page = browser.new_page(
        viewport={"width": WINDOW[0], "height": WINDOW[1]}, device_scale_factor=SCALE, locale="en-GB",
        timezone_id="UTC", color_scheme="light",
    )  # fmt: skip
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(QUERY)
    expect(page.locator(".match").first).to_be_visible()
    page.get_by_label("Distance threshold").fill(THRESHOLD)
    page.get_by_role("button", name="Choose all within").click()
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    return page.screenshot()


def packed(png: bytes) -> bytes:
    """A JPEG of it, the best one that is small enough."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in range(90, 40, -5):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        if file.tell() <= MOST:
            return file.getvalue()
    raise ValueError(f"the screenshot takes more than {MOST:,} bytes at any quality")


if __name__ == "__main__":
    sys.exit(main())
