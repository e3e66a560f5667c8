"""Docker Compose, as it is called on this machine, for tests of docker-compose.yml. ``COMPOSE_CHECK`` may say how."""

import functools
import os
import shlex
import shutil
import subprocess

import pytest


@functools.cache
def composer() -> list[str]:
    """How it is called here. Tests are left out where there is none."""
    asked = os.environ.get("COMPOSE_CHECK")
    for words in [shlex.split(asked)] if asked else [["docker", "compose"], ["docker-compose"]]:
        if shutil.which(words[0]) is None:
            continue
        version = subprocess.run(
            [*words, "version", "--short"], capture_output=True, text=True, timeout=300, check=False
        )
        if version.returncode == 0 and not version.stdout.startswith("1"):
            return words
    assert not asked, f"COMPOSE_CHECK={asked} is no Docker Compose of version 2 or newer"
    pytest.skip("no Docker Compose (`docker compose`, version 2): the schema is checked all the same")


def compose(*words: str, timeout: float = 60, **variables: str) -> "subprocess.CompletedProcess[str]":
    """What Docker Compose says."""
    return subprocess.run(
        [*composer(), *words], capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip
