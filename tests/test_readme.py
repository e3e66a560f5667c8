"""The README says what the code does: settings, routes, make targets, files."""

import argparse
import re
from pathlib import Path

import httpx
import pytest

from index.vehicle_index import _parser as index_parser
from model_export.training.configuration_keys import configuration_keys
from model_export.training.mnet_training import Training
from model_export.training.vnet_training import VNetTraining
from model_export.vehicle_model import _parser
from service.commands.query_command import _parser as query_parser
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


DOCUMENTS = [Path("README.md"), Path("deploy/README.md"), *sorted(Path("docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_and_options_exist(document: Path) -> None:
    """Every ``vehicle-model COMMAND --option`` that a document shows is one that the door knows."""
    parser = _parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    shown = re.findall(r"vehicle-model ([a-z][a-z-]*)((?: [^\s`]+)*)", document.read_text(encoding="utf-8"))
    for name, words in shown:
        assert name in commands.choices, name
        known = set(commands.choices[name]._option_string_actions)
        for sub in commands.choices[name]._actions:
            if isinstance(sub, argparse._SubParsersAction):
                for each in sub.choices.values():
                    known |= set(each._option_string_actions)
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert option in known, f"{name} {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_and_options_of_the_index_exist(document: Path) -> None:
    """Every ``vehicle-index COMMAND --option`` that a document shows is one that the door knows."""
    (commands,) = (each for each in index_parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, words in re.findall(r"vehicle-index ([a-z][a-z-]*)((?: [^\s`]+)*)", document.read_text(encoding="utf-8")):
        assert name in commands.choices, name
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert option in commands.choices[name]._option_string_actions, f"{name} {option}"


def test_every_command_of_the_index_is_in_the_table() -> None:
    (commands,) = (each for each in index_parser()._actions if isinstance(each, argparse._SubParsersAction))
    table = README.split("## Galleries on this machine")[1].split("## Data sets")[0]
    assert set(re.findall(r"`vehicle-index ([a-z]+)", table)) == set(commands.choices)


def test_configuration_keys_in_the_guide_exist() -> None:
    known = {key.name for kind in (Training, VNetTraining) for key in configuration_keys(kind)}
    guide = Path("docs/training.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b((?:fit|model|augment|sources\.0)\.[a-z_]+)", guide))
    assert len(named) >= 4
    assert named <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_options_of_a_query_exist(document: Path) -> None:
    """Every ``vehicle-search query --option`` that a document shows is one that the door knows."""
    known = set(query_parser()._option_string_actions)
    for words in re.findall(r"vehicle-search query((?: [^\s`]+)*)", document.read_text(encoding="utf-8")):
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert option in known, option
