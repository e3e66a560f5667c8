"""What a program prints, where the reader may leave early: ``vehicle-index list | head``."""

import os
import sys
from collections.abc import Callable


def printed(run: Callable[[], int]) -> int:
    """The exit code of ``run`` with everything that it printed written out; 0 where the reader has seen enough."""
    try:
        code = run()
        if sys.stdout is not None:  # closed by whoever started the program
            sys.stdout.flush()
    except BrokenPipeError:
        print_to_nobody()
        return 0
    return code


def tell(line: str) -> None:
    """Print a line of long work at once; the work goes on when the reader has left."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        print_to_nobody()


def print_to_nobody() -> None:
    """Drop what is printed from now on, and what could not be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered is written at the latest on exit
