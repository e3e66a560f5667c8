"""The Chromium that is installed, which tests and the screenshot drive."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright


def installed_chromium() -> Path | None:
    """The browser's program; None where none is installed. The environment's CHROMIUM goes first."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return None if found is None else Path(found)


def launched(playwright: Playwright, program: Path) -> Browser:
    """It, running, also as root and with a small /dev/shm, as in containers."""
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
