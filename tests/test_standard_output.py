"""A reader that leaves early."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "program",
    [
        "from model_export.vehicle_model import main; sys.exit(main(['train', '--keys']))",
        "from index.standard_output import printed; sys.exit(printed(lambda: print('x' * 10**6) or 1))",
    ],
)
def test_a_reader_that_leaves_is_no_error(program: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; {program}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
