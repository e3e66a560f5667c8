"""What the container's HEALTHCHECK runs, against services as they can be set up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import free_port, serving
from tests.test_tls_files import pair


def checked(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VEHICLE_SEARCH_")}
    environment |= {f"VEHICLE_SEARCH_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-I", "docker/healthcheck.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_service_that_is_ready_is_healthy(server: str) -> None:
    found = checked(HOST="0.0.0.0", PORT=server.rpartition(":")[2])
    assert (found.returncode, found.stderr) == (0, "")
    assert '"ready"' in found.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")
def test_over_tls_whatever_the_certificate_is_of(tiny_model: Path, tmp_path: Path) -> None:
    certificate, key = pair(tmp_path / "tls", "search.example")
    tls = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with serving(tmp_path / "data", tiny_model, *tls) as address:
        assert checked(PORT=address.rpartition(":")[2], TLS_CERTIFICATE=str(certificate)).returncode == 0


def test_why_it_is_not_is_told() -> None:
    found = checked(PORT=str(free_port()))
    assert found.returncode == 1
    assert "refused" in found.stdout
    assert found.stderr == ""
