"""A real service process for tests."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

COMMAND = [sys.executable, "-m", "service.vehicle_search", "serve"]
EARLY_COMMAND = [sys.executable, "-m", "tests.early_service", "serve"]


def free_port() -> int:
    """A port that nothing listens on."""
    (port,) = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below those that Linux gives to whoever connects: one of them could come first."""
    found = set[int]()
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


@contextlib.contextmanager
def started(
    data_dir: Path, model: Path, *options: str, log: Path | None = None, door: Sequence[str] = COMMAND,
    port: int | None = None, code: Path | None = None,
) -> Iterator[tuple[str, subprocess.Popen[str]]]:  # fmt: skip
    """A running service's base address and its process; killed at the end where it still runs.

    ``port`` None: a free one. ``code``: the checkout that serves (None: this one).
    """
    port = port or free_port()
    command = [*door, "--port", str(port), "--data-dir", str(data_dir), "--model", str(model), *options]
    with (
        contextlib.nullcontext() if log is None else log.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=code,
            env=os.environ if code is None else os.environ | {"PYTHONPATH": str(code)},
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "is ready" in first, first
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


@contextlib.contextmanager
def serving(
    data_dir: Path, model: Path, *options: str, log: Path | None = None, door: Sequence[str] = COMMAND
) -> Iterator[str]:
    """A running service's base address; stopped with SIGTERM, which must end it with 0. ``log`` takes its stderr."""
    with started(data_dir, model, *options, log=log, door=door) as (address, process):
        try:
            yield address
        finally:
            process.terminate()
            assert process.wait(30) == 0


def refused(*options: str, env: dict[str, str] | None = None) -> str:
    """The one line with which a service that cannot start ends."""
    run = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, env=env, check=False)
    assert run.returncode == 2, run
    lines = run.stderr.splitlines()
    assert len(lines) == 1, run.stderr
    return lines[0]
