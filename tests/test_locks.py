"""Locks pin what pyproject.toml asks for, and name nobody to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docker_files import EXTRAS, LOCKS, normalised, pins

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
ELSEWHERE = {"dev", "deep", "hed", "render"}  # extras that no image is for
MORE = PROJECT["optional-dependencies"].keys() - ELSEWHERE - set().union(*EXTRAS.values())
LOCKED = {**EXTRAS, "train-cuda": {"train"}, **{f"more-{extra}": {extra} for extra in MORE}}
ADVICE = "run `make lock` and commit docker/locks"


def test_every_extra_that_an_image_may_have_is_locked() -> None:
    assert {path.stem for path in LOCKS.glob("*.lock")} == {"build", *LOCKED}, ADVICE


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_a_lock_has_what_its_extras_ask_for(name: str) -> None:
    locked = pins(LOCKS / f"{name}.lock")
    asked = [
        *PROJECT["dependencies"],
        *(line for extra in LOCKED[name] for line in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, asked):
        version = locked.get(normalised(requirement.name))
        assert version is not None, f"{name}.lock lacks {requirement.name}: {ADVICE}"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{name}.lock has {version} for {requirement}: {ADVICE}"
        )


def test_what_builds_the_images_is_pinned() -> None:
    locked = pins(LOCKS / "build.lock")
    for requirement in map(Requirement, re.findall(r"^[a-z].*", (LOCKS / "build.in").read_text(), re.MULTILINE)):
        assert requirement.specifier.contains(locked[normalised(requirement.name)]), ADVICE


@pytest.mark.parametrize("extra", sorted(MORE))
def test_more_extras_fit_every_image(extra: str) -> None:
    """They are installed over any of them, in the versions that are there."""
    more = pins(LOCKS / f"more-{extra}.lock")
    for name in LOCKED.keys() - {f"more-{extra}"}:
        there = pins(LOCKS / f"{name}.lock")
        assert {found: there[found] for found in more.keys() & there.keys()} == {
            found: more[found] for found in more.keys() & there.keys()
        }, f"{name}: {ADVICE}"


def test_locks_name_no_address() -> None:
    for path in LOCKS.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE), path


def test_services_have_no_torch() -> None:
    for name in LOCKED.keys() - {"train", "train-cuda"}:
        assert not pins(LOCKS / f"{name}.lock").keys() & {"torch", "onnx", "onnxscript", "scipy", "tensorboard"}, name
    assert pins(LOCKS / "train.lock")["torch"].endswith("+cpu"), "CUDA's libraries would make the image some GB larger"
