"""A command of ``vehicle-index`` killed before each thing that it does to the names of files.

``python -m tests.cut_off TEMPLATE WORK COMMAND …`` makes WORK/1, WORK/2 and so on: copies of the folder TEMPLATE on
which the command was killed, the later the higher the number; in the last it came to its end. ``{}`` among the words
stands for the copy.
"""

import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from index.vehicle_index import main

_NAMES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}  # audit events
_CREATING = os.O_CREAT | os.O_TRUNC


def cut_off(template: Path, work: Path, *words: str) -> list[Path]:
    """The copies, in order."""
    command = [sys.executable, "-m", "tests.cut_off", str(template), str(work), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return sorted(work.iterdir(), key=lambda copy: int(copy.name))


def _run(template: Path, work: Path, words: list[str]) -> None:
    for number in count(1):
        copy = work / str(number)
        shutil.copytree(template, copy)
        child = os.fork()
        if child == 0:
            _die_before(number, copy)
            main([word.replace("{}", str(copy)) for word in words])
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            return


def _die_before(number: int, folder: Path) -> None:
    done = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event not in _NAMES or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _CREATING):
            return
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
