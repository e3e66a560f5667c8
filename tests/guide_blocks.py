"""Blocks of the guides, what they are said to print, and what runs them as a person would.

A block is one of these:

- ``sh`` or ``python``: run, and must end well. A block of ``text`` after it is what it prints, from the beginning on.
- ``console``: each line after ``$`` is run, what follows it is all that it prints.
- one with a comment right before it that says why not (``<!-- not run: Docker -->``) or where else
  (``<!-- run by tests/test_x.py -->``). A page can say so of all its blocks: ``<!-- no block is run: Kubernetes -->``,
  ``<!-- all blocks are run by tests/test_x.py -->``.

In what is printed … stands for anything; of ``console`` random ids, times and numbers with a point may be others, and spaces.

``vehicle-search serve`` goes on for the blocks after it, until another one or ``<!-- the service stops -->``; without one, what
is at the usual address is a service that pages share. ``<!-- ends with 1 -->`` is for the block after it, and commands in
``<!-- run first`` … ``-->`` are run before it: they make what a person would have, or break what is to be mended.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.wire.problems import TYPES
from tests.server_process import started

ADDRESS: Final = "127.0.0.1:8000"
SERVE: Final = "vehicle-search serve"
TRAIN: Final = "vehicle-model "
HTTP_ERROR: Final = 22  # with which curl ends
_FENCE: Final = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"^ *<!-- (.*?)\s*-->$", re.MULTILINE | re.DOTALL)
_PAGE: Final = re.compile(r"<!-- (?:no block is run: (.*?)|all blocks are run by (.*?)) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text, the line it begins at, what it prints, and what comments say of it."""

    language: str
    text: str
    line: int
    printed: str | None = None
    not_run: str | None = None
    run_by: str | None = None
    first: tuple[str, ...] = ()  # commands before it, or "" where the service stops
    ends: int = 0


def blocks_of(page: Path) -> list[Block]:
    """Every block of a page. Raises ValueError where nobody can tell what is to become of one."""
    text = page.read_text(encoding="utf-8")
    whole = _PAGE.search(text)
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        indent, language, content = fence.groups()
        said = _said(text[end : fence.start()])
        end, line = fence.end(), text.count("\n", 0, fence.start()) + 1
        if language.startswith("{"):  # of Sphinx
            continue
        content = re.sub(rf"^{indent}", "", content, flags=re.MULTILINE)
        block = Block(language, content, line, **said)  # type: ignore[arg-type]
        if whole:
            block = Block(language, content, line, not_run=whole[1], run_by=whole[2])
        elif block.not_run or block.run_by or language in ("sh", "python", "console"):
            pass
        elif language == "text" and found and found[-1].language in ("sh", "python") and found[-1].printed is None:
            before = found.pop()
            block = Block(
                before.language, before.text, before.line, content, before.not_run, before.run_by, before.first
            )
        else:
            raise ValueError(
                f"{page}:{line}: a block of {language or 'no language'} that neither is run nor says why not"
            )
        found.append(block)
    return found


def _said(between: str) -> dict[str, object]:
    """What comments before a block say of it."""
    said: dict[str, object] = {}
    first: list[str] = []
    last = 0
    for comment in _COMMENT.finditer(between):
        what, last = comment[1], comment.end()
        if _PAGE.fullmatch(comment[0]):
            continue
        if what.startswith("run first\n"):
            first.append(what.removeprefix("run first\n"))
        elif what == "the service stops":
            first.append("")
        elif what.startswith("not run: "):
            said["not_run"] = what.removeprefix("not run: ")
        elif what.startswith("run by "):
            said["run_by"] = what.removeprefix("run by ")
        elif what.startswith("ends with "):
            said["ends"] = int(what.removeprefix("ends with "))
        else:
            raise ValueError(f"a comment that nobody understands: {what}")
    if said and between[last:].strip():
        raise ValueError(f"text between a comment and its block: {between[last:].strip()}")
    return {**said, "first": tuple(first)}


def commands_of(console: str) -> Iterator[tuple[str, str]]:
    """What a person types in a ``console`` block, and what it prints."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, printed = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        yield command, printed


def as_printed(told: str) -> re.Pattern[str]:
    """What matches a text in which … stands for anything."""
    return re.compile(".*?".join(map(re.escape, told.strip().split("…"))), re.DOTALL)


def shape(text: str) -> str:
    """A text without what differs from run to run: random ids, times, numbers with a point, spaces."""
    for what, instead in (
        (r"^.*\d%\|.*\|.*$", ""),  # how far it is
        (r"\d{4}-\d\d-\d\d[T ][\d:.,]+Z?", "TIME"),
        (r"\b[0-9a-f]{12,}\b|(?<=_)[0-9a-f]{12}(?=_)", "ID"),
        (r"\d+\.\d+", "0.0"),
        (r"\s+", ""),
    ):
        text = re.sub(what, instead, text, flags=re.MULTILINE)
    return text


class Workplace:
    """A folder in which a page's blocks are run, one after the other, and the service that runs there."""

    def __init__(
        self, folder: Path, shared: str, environment: dict[str, str], *, trainer: Callable[[list[str]], int]
    ) -> None:
        """``shared`` is the address (host:port) of a service for pages that start none; ``trainer`` the door of the trainer."""
        self._folder, self._shared, self._trainer = folder, shared, trainer
        self._service = ExitStack()
        self.address = shared
        (folder / ".curlrc").write_text("silent\nfail-with-body\n")
        self._environment = {
            **os.environ, "CURL_HOME": str(folder), "PYTHONPATH": str(Path.cwd()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment,
        }  # fmt: skip

    def stop(self) -> None:
        """Stop the service that a block started."""
        self._service.close()
        self.address = self._shared

    def run(self, block: Block) -> None:
        """Run a block. Raises AssertionError where it ends or prints otherwise than it says."""
        for commands in block.first:
            if not commands:
                self.stop()
                continue
            for part in re.split(rf"^({SERVE}.*)$", commands, flags=re.MULTILINE):
                if part.startswith(SERVE):
                    self._serve(part)
                else:
                    self._shell(part, block.line)
        if block.language == "console":
            *some, last = commands_of(block.text)
            for command, printed in some:
                self._typed(command, printed, block.line, 0)
            self._typed(*last, block.line, block.ends)
        elif block.language == "sh" and block.text.startswith(SERVE):
            self._serve(block.text)
        elif block.language == "sh" and all(line.startswith(TRAIN) for line in block.text.splitlines()):
            with chdir(self._folder):  # in this process, which has torch: it takes seconds to import
                for line in block.text.splitlines():
                    assert self._trainer(shlex.split(line.removeprefix(TRAIN))) == 0, line
        elif block.language == "sh":
            refused = block.printed is not None and TYPES in block.printed
            self._compare(block, self._shell(block.text, block.line, HTTP_ERROR if refused else block.ends))
        else:
            self._compare(block, self._done([sys.executable, "-c", self._here(block.text)], block.line, block.ends))

    def _compare(self, block: Block, output: str) -> None:
        if block.printed is not None:
            assert as_printed(block.printed).match(output.strip()), f"line {block.line}: {output}"

    def _typed(self, command: str, printed: str, line: int, ends: int) -> None:
        if command.startswith(SERVE):
            self._serve(command)
            return
        output = self._shell(f"{{ {command}\n}} 2>&1", line, ends)
        assert as_printed(shape(self._here(printed))).fullmatch(shape(output)), f"line {line}: {output}"

    def _serve(self, command: str) -> None:
        """Start a service as a command says, on a free port."""
        self.stop()
        options = [
            str(self._folder / word) if (self._folder / word).exists() else word
            for word in shlex.split(command.removeprefix(SERVE).replace("\\\n", " "), comments=True)
        ]
        address, _ = self._service.enter_context(
            started(self._folder / "data", self._folder / "models/default.onnx", *options, log=self._folder / "log")
        )
        self._service.callback(lambda: _no_bugs(self._folder / "log"))
        self.address = address.removeprefix("http://")

    def _shell(self, text: str, line: int, ends: int = 0) -> str:
        """What commands of a shell print; its variables are there in the next block."""
        kept = f"[ ! -e .kept ] || . ./.kept\nset -a\n{self._here(text)}\nexport -p > .kept"
        return self._done(["bash", "-euo", "pipefail", "-c", kept], line, ends)

    def _done(self, command: list[str], line: int, ends: int) -> str:
        run = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == ends, f"line {line} ended with {run.returncode}: {run.stderr or run.stdout}"
        return run.stdout

    def _here(self, text: str) -> str:
        return text.replace(ADDRESS, self.address).replace(" /backup/", f" {self._folder}/backup/")


def _no_bugs(log: Path) -> None:
    assert "Traceback" not in log.read_text(encoding="utf-8")
