"""``docs/openapi.json``, the OpenAPI file for who reads it without a service; run as a module, it writes it."""

import json
from pathlib import Path
from typing import Final

from service.application import routed_app

FILE: Final = Path(__file__).resolve().parents[2] / "docs/openapi.json"


def written() -> str:
    """The file's text."""
    return json.dumps(routed_app().openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
