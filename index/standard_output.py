"""What a program prints, where the reader may leave early: ``vehicle-index list | head``."""

import os
import sys
from collections.abc import Callable


def printed(run: Callable[[], int]) -> int:
    """The exit code of ``run`` with everything that it printed written out; 0 where the reader has seen enough."""
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own last flush fails
        return 0
    return code
