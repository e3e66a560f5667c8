"""Whether this commit can be released: what nobody should have to remember, one line each.

python -m scripts.check_release

It changes nothing. After it: git tag -a v$(cat vehicle_search_client/VERSION), push the tag, upload dist/.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from scripts import check_upgrade, make_dist
from scripts.make_dist import VERSION

CHANGELOG = Path("CHANGELOG.md")
_RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)

Check = Callable[[], str | None]
"""What is wrong; None where nothing is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """One line a check; 1 where one is not met."""
    parser = argparse.ArgumentParser(
        description="Say what keeps this commit from being released; `make check` and `make test` are among it."
    )
    parser.parse_args(arguments)  # there is nothing to say: whoever asks for help does not want the tests
    failed = 0
    for name, check in checks():
        problem = check()
        failed += problem is not None
        print(
            f"{'ok     ' if problem is None else 'NOT YET'}  {name}{'' if problem is None else f': {problem}'}",
            flush=True,
        )
    return 1 if failed else 0


def checks() -> Iterator[tuple[str, Check]]:
    """In the order of what they cost."""
    yield "everything is committed", uncommitted
    yield "the version is one that no tag has", tagged
    yield "the changelog has it as its newest, with a date", changelog_lacks
    yield "what is installed here is that version", installed_is_another
    yield "docs/openapi.json says it", openapi_is_another
    yield "make check", lambda: failure("make", "check")
    yield "a data folder of the last release is opened", lambda: None if check_upgrade.main([]) == 0 else "see above"
    yield "wheels and sdists have everything", dist_lacks
    yield "make test", lambda: failure("make", "test")


def uncommitted() -> str | None:
    """Files that are not committed."""
    told = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return told.splitlines()[0] if told else None


def tagged() -> str | None:
    """The tag of this version, on another commit."""
    tag = f"v{wanted()}"
    told = subprocess.run(["git", "tag", "--list", tag], capture_output=True, text=True, check=True).stdout.strip()
    return f"{tag} is there already: write the next one into {VERSION}" if told else None


def changelog_lacks() -> str | None:
    """What the changelog says instead."""
    newest = _RELEASE.search(CHANGELOG.read_text(encoding="utf-8"))
    if newest is None or newest[1] != wanted():
        return f"{CHANGELOG} has {'no release' if newest is None else newest[1]}: make [Unreleased] a section [{wanted()}] - DATE"
    return None


def installed_is_another() -> str | None:
    """The other version."""
    found = version("vehicle-search")
    return None if found == wanted() else f"{found} is installed: pip install -e ."


def openapi_is_another() -> str | None:
    """The version of the OpenAPI file."""
    found = json.loads(Path("docs/openapi.json").read_text(encoding="utf-8"))["info"]["version"]
    return None if found == wanted() else f"it says {found}: make openapi"


def dist_lacks() -> str | None:
    """That something is missing; ``make_dist`` has said what."""
    with tempfile.TemporaryDirectory() as folder:
        return None if make_dist.main(["--out", folder]) == 0 else "see above"


def failure(*command: str) -> str | None:
    """The last line of a command that failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return None if done.returncode == 0 else f"{' '.join(command)}: {lines[-1] if lines else done.returncode}"


def wanted() -> str:
    """The version that is to be released."""
    return VERSION.read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
