"""A reader that leaves early."""

import subprocess
import sys
from pathlib import Path

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


def test_long_work_goes_on_when_the_reader_has_left(tmp_path: Path) -> None:
    done = tmp_path / "done"
    program = f"""
from pathlib import Path
from index.standard_output import printed, tell
def work():
    for number in range(3):
        tell(f"{{number}}")
    Path({str(done)!r}).touch()
    return 0
raise SystemExit(printed(work))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert done.exists()
