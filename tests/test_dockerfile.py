"""The Dockerfile keeps the promises that can be read off it; `make test-images` builds it and looks at the rest."""

import fnmatch
import json
import tomllib
from pathlib import Path

import pytest

from tests.docker_files import EXTRAS, lineage, stages

STAGES = stages()
COMPILERS = ("gcc", "g++", "build-essential", "clang", "cargo", "nvcc", "make ")


def copied(rest: str) -> tuple[str | None, list[str], str]:
    """Stage that a COPY takes from (None: the build's folder), what, where to."""
    words = rest.split()
    stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    *what, where = [word for word in words if not word.startswith("--")]
    return stage, what, where


def test_targets() -> None:
    assert STAGES.keys() >= EXTRAS.keys()


@pytest.mark.parametrize("target", EXTRAS)
def test_an_image_runs_as_a_user_by_number_with_one_volume(target: str) -> None:
    """By number, because Kubernetes cannot tell that a name is not root."""
    made_of = lineage(target, STAGES)
    assert [words for stage in made_of for words in stage.all("USER")][-1] == "10001:10001"
    assert [words for stage in made_of for words in stage.all("VOLUME")] == ["/data"]
    assert not [words for stage in made_of for words in stage.all("RUN")], "what RUN leaves differs from build to build"


@pytest.mark.parametrize("target", EXTRAS)
def test_a_door_is_started_without_a_shell(target: str) -> None:
    """A shell as process 1 would keep SIGTERM from it."""
    made_of = lineage(target, STAGES)
    doors = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads([words for stage in made_of for words in stage.all("ENTRYPOINT")][-1])[0] in doors
    [health] = [words for stage in made_of for words in stage.all("HEALTHCHECK")]
    assert (
        health == "NONE"
        if target == "train"
        else health.endswith('CMD ["python3", "-I", "/srv/vehicle-search/healthcheck.py"]')
    )


@pytest.mark.parametrize("target", EXTRAS)
def test_only_the_last_layer_changes_with_the_source(target: str) -> None:
    """Packages come from a stage that has not seen it, and what is copied after it is nothing."""
    layers = [copied(words) for words in STAGES[target].all("COPY")]
    assert layers[0] == (f"{target}-packages", ["/opt/venv"], "/opt/venv")
    assert layers[-1] == ("source", ["/opt/package"], "/opt/venv")
    for stage in lineage(f"{target}-packages", STAGES):
        for came_from, what, _ in map(copied, stage.all("COPY")):
            assert came_from is None
            assert all(path.startswith("docker/") for path in what), what


def test_nothing_is_installed_without_hashes() -> None:
    installs = [words for stage in STAGES.values() for words in stage.all("RUN") if "pip" in words]
    installs.append(Path("docker/packages.sh").read_text().replace("\\\n", " "))
    lines = [part for words in installs for part in words.split("&&") if " install " in part]
    assert len(lines) == 3
    for line in lines:
        assert "--require-hashes" in line or ("--no-deps" in line and "--no-index" in line), line


def test_no_compiler_is_fetched() -> None:
    said = " ".join(words for stage in STAGES.values() for words in stage.all("RUN"))
    assert [name for name in COMPILERS if name in said] == []


def test_what_is_copied_is_there_and_not_ignored_and_the_other_way_round() -> None:
    ignored = Path(".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    used: set[str] = set()
    for stage in STAGES.values():
        for came_from, what, _ in map(copied, stage.all("COPY")):
            for path in what if came_from is None else ():
                assert list(Path().glob(path)), path
                used.add(next((kept for kept in let_in if path == kept or path.startswith(f"{kept}/")), path))
    assert used == let_in


def test_every_package_is_in_the_images() -> None:
    find = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in Path().glob("*/__init__.py")}
    packages = {name for name in packages if any(fnmatch.fnmatch(name, pattern) for pattern in find)}
    assert packages <= {what[0] for _, what, _ in map(copied, STAGES["source"].all("COPY"))}
