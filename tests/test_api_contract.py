"""Thousands of requests that schemathesis draws from the OpenAPI file, sent to a real service (`make test-deep`)."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.commands.openapi_file import FILE
from service.openapi.examples import BODIES, IMAGE
from service.wire.parameters import TIMEOUT_HEADER
from tests.http_client import parts
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import started

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "100"))  # of each operation and phase in a round
GROWTH = 64 << 20  # bytes that a round may add to the service's memory; the galleries grow, too

_LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.deep


def drawn(schema: Path, address: str, token: str | None) -> None:
    """Run every phase with every check, without a finding; with a key, which is not revoked, where there is one."""
    headers = {} if token is None else bearer(token)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml"), "run", str(schema), "--url",
        address, "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES),
        "--request-timeout", "60", *(word for name, value in headers.items() for word in ("-H", f"{name}: {value}")),
    ]  # fmt: skip
    own = {} if token is None else {"OWN_KEY": token.split("_")[1]}
    environment = {**os.environ, **own, "SCHEMATHESIS_HOOKS": "tests.api_hooks", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, cwd=schema.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(re.findall(r"✅ (?:Examples|Coverage|Fuzzing|Stateful)", run.stdout)) == 4, run.stdout


def asked_of(document: dict[str, Any], *, keyed: bool) -> dict[str, Any]:
    """The OpenAPI file as it is true of this run: keys are asked for or not, and nobody sets a deadline.

    A short one may be answered with 503 at any time, which is a finding everywhere else; tests/test_request_turn.py has
    what deadlines do.
    """
    if not keyed:
        del document["paths"]["/v1/keys"]["post"]  # the first key would lock everybody out
    for operation in (one for each in document["paths"].values() for one in each.values()):
        operation["security"] = [each for each in operation["security"] if bool(each) is keyed]
        operation["parameters"] = [each for each in operation["parameters"] if each["name"] != TIMEOUT_HEADER]
    return document


@pytest.mark.parametrize("keyed", [False, True], ids=["keyless", "with keys"])
def test_the_service_does_what_its_openapi_file_says(
    tiny_model: Path, next_model: Path, tmp_path: Path, keyed: bool
) -> None:
    pytest.importorskip("schemathesis")
    import_path = tmp_path / "root" / BODIES["ImportPath"]["path"]
    import_path.parent.mkdir(parents=True)
    from tests.api_hooks import archive

    import_path.write_bytes(archive())
    data, schema, log = tmp_path / "data", tmp_path / "openapi.json", tmp_path / "log"
    with started(data, tiny_model) as (address, process):  # galleries that are to move to the next model
        httpx.put(f"{address}/v1/galleries/default/images/{IMAGE}", content=jpeg(0)).raise_for_status()
        process.kill()
    token = kept_key(data, "read", "write", "admin") if keyed else None
    headers = {} if token is None else bearer(token)
    schema.write_text(json.dumps(asked_of(json.loads(FILE.read_text(encoding="utf-8")), keyed=keyed)))
    options = ("--audit", "--import-root", str(tmp_path / "root"), "--previous-model", str(tiny_model))
    with started(data, next_model, *options, log=log) as (address, process):
        named = [{"image_id": name, "vehicle_id": "v17", "camera_id": "c002"} for name in (IMAGE, "b", "c")]
        pictures = parts(*(jpeg(number) for number in range(3)), metadata=named)
        httpx.post(f"{address}/v1/galleries/default/images", files=pictures, headers=headers).raise_for_status()
        taken = []
        for _ in range(ROUNDS):
            drawn(schema, address, token)
            assert (
                httpx.get(f"{address}/v1/caller", headers=headers).status_code == 200
            )  # nothing was refused for its sake
            assert process.poll() is None
            assert httpx.get(f"{address}/readyz", timeout=60).json()["status"] == "ready"
            taken.append(psutil.Process(process.pid).memory_info().rss)
        figures = httpx.get(f"{address}/metrics", headers=headers).text
        _LOG.info("resident MB after each round: %s", [each >> 20 for each in taken])
        process.terminate()
        assert process.wait(60) == 0
    assert 'status="500"' not in figures
    assert "Traceback" not in log.read_text()
    assert taken[-1] - taken[0] < GROWTH, taken
