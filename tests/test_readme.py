"""The README says what the code does: settings, routes, make targets, files."""

import re
from pathlib import Path

import httpx

from service.settings import PREFIX, Settings

README = Path("README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_with_its_default_and_the_other_way_round() -> None:
    rows = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| (\S+) \|", README, re.MULTILINE))
    fields = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    assert rows.keys() == fields.keys()
    for name, default in fields.items():
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert rows[name] == shown, name


def test_every_route_is_named_and_exists(server: str) -> None:
    paths = httpx.get(f"{server}/openapi.json").json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = set()
    table = README.split("## What it answers")[1].split("Filters:")[0]
    for line in table.splitlines():
        if not line.startswith("| `"):
            continue
        methods: list[str] = []
        for words in re.findall(r"`([^`]+)`", line.split("|")[1]):
            path = next((word for word in words.split() if word.startswith("/")), None)
            own = [word for word in words.split() if word.isupper()]
            methods = own if path and own else [*methods, *own]
            if path:
                named |= {f"{method} {path}" for method in methods}
    assert served == named


def test_targets_and_files_exist() -> None:
    makefile = Path("Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert Path(link).exists(), link
    assert Path("examples/query.jpg").exists()
