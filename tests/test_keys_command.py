"""``vehicle-search keys``: what it prints, and that a running service follows."""

import json
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from index.access_key import key_id_of
from index.storage.key_database import FILE, KeyDatabase
from service.vehicle_search import main
from tests.http_client import raw, refused, status_of
from tests.key_holder import bearer, kept_key
from tests.postgres_server import PostgresServer
from tests.server_process import COMMAND, serving
from tests.server_process import refused as refused_start

KEYS = [*COMMAND[:-1], "keys"]


def keys(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*KEYS, *words, "--data-dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_token_is_shown_once_alone_on_stdout(tmp_path: Path) -> None:
    made = keys("create", "camera 7", "--scope", "write", "--scope", "read", "--gallery", "yard", "--rate", "2.5",
                "--expires", "90d", folder=tmp_path / "data")  # fmt: skip
    token = made.stdout.removesuffix("\n")
    key_id = key_id_of(token)
    assert key_id is not None
    assert made.returncode == 0
    for word in (
        key_id,
        "camera 7",
        "read and write in yard",
        "2.5 requests a second (3 at once)",
        "shown once",
        "first",
    ):
        assert word in made.stderr
    assert token not in made.stderr
    (key,) = KeyDatabase(tmp_path / "data").all()
    assert key.fits(token)
    assert (key.scopes, key.galleries) == (frozenset({"read", "write"}), frozenset({"yard"}))
    assert (key.rate, key.burst) == (2.5, 3)
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == timedelta(days=90)
    again = keys("create", "x", "--scope", "admin", folder=tmp_path / "data")
    assert "first" not in again.stderr
    assert "admin in every gallery" in again.stderr


def test_keys_are_listed_without_their_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list", "--data-dir", str(tmp_path)]) == 0
    assert "nobody is asked for one" in capsys.readouterr().out
    past = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    tokens = [
        kept_key(tmp_path, "read", name="a"), kept_key(tmp_path, "write", expires_at=past, galleries=("b", "a")),
        kept_key(tmp_path, "admin", revoked_at=past, rate=0.5),
    ]  # fmt: skip
    assert main(["keys", "list", "--data-dir", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    lines = [re.split(r"  +", line) for line in table.splitlines()]
    assert lines[0] == ["ID", "NAME", "STATE", "SCOPES", "GALLERIES", "RATE", "CREATED", "EXPIRES"]
    assert [line[2:6] for line in lines[1:]] == [
        ["works", "read", "all", "any"], ["expired", "write", "a b", "any"], ["revoked", "admin", "all", "0.5/s"]
    ]  # fmt: skip
    assert lines[2][7] == "2026-01-02T03:04:05Z"
    assert main(["keys", "list", "--json", "--data-dir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    documents = json.loads(listed)
    assert [each["id"] for each in documents] == [key_id_of(token) for token in tokens]
    assert documents[2]["revoked_at"] == "2026-01-02T03:04:05Z"
    for token in tokens:
        assert token.rpartition("_")[2] not in table + listed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "x", "--scope", "read", "--expires", "soon"), "--expires 'soon'"),
        (("create", "x", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"), "is over"),
        (("create", "x", "--scope", "read", "--rate", "0"), "--rate 0"),
        (("create", "x", "--scope", "read", "--rate", "nan"), "--rate nan"),
        (("create", "x", "--scope", "read", "--burst", "3"), "--burst 3 goes with --rate"),
        (("create", "x", "--scope", "read", "--rate", "1", "--burst", "0"), "--burst 0"),
        (("create", "x", "--scope", "read", "--gallery", "No Name"), "No Name"),
        (("create", "x\n", "--scope", "read"), "'x\\n'"),
        (("revoke", "3f0c6e1d2a3b"), "3f0c6e1d2a3b"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", *words, "--data-dir", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert says in told.err
    assert KeyDatabase(tmp_path).all() == []


@pytest.mark.parametrize("how", ["> /dev/full", "| true", "| head -c 0"])
def test_a_key_that_nobody_saw_does_not_work(tmp_path: Path, how: str) -> None:
    command = f"{shlex.join(KEYS)} create x --scope read --data-dir {tmp_path} {how}"
    told = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    (key,) = KeyDatabase(tmp_path).all()
    assert (told.returncode, key.ended(datetime.now(UTC))) == (2, "revoked")
    assert "is revoked" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(("how", "code"), [("| true", 0), ("> /dev/full", 2)])
def test_a_list_that_nobody_reads_is_no_fault(tmp_path: Path, how: str, code: int) -> None:
    for number in range(50):
        kept_key(tmp_path, "read", name=f"{number:>80}".replace(" ", "x"))
    command = f"{shlex.join(KEYS)} list --data-dir {tmp_path} {how}"
    told = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == code
    assert "Traceback" not in told.stderr
    assert len(told.stderr.splitlines()) == (code != 0)


def test_the_folder_is_that_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEHICLE_SEARCH_DATA_DIR", str(tmp_path / "elsewhere"))
    assert main(["keys", "create", "x", "--scope", "read"]) == 0
    assert (tmp_path / "elsewhere" / FILE).exists()


def until(server: str, status: int, headers: dict[str, str]) -> None:
    """Ask until the answer has this status; pytest's own limit ends what never does."""
    while httpx.get(f"{server}/v1/model", headers=headers).status_code != status:
        pass


def test_a_running_service_follows(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model, log=tmp_path / "log") as server:
        assert httpx.get(f"{server}/v1/model").status_code == 200
        assert status_of(raw(server, "GET", "/v1/model", host="cars.example")) == 403
        token = keys("create", "one", "--scope", "read", folder=data).stdout.strip()
        until(server, 401, {})
        until(server, 200, bearer(token))
        assert status_of(raw(server, "GET", "/v1/model", f"Authorization: Bearer {token}", host="cars.example")) == 200
        ended = keys("revoke", token.split("_")[1], folder=data)
        assert "is revoked" in ended.stdout
        assert "No key works now" in ended.stdout
        until(server, 401, bearer(token))
        refused(httpx.get(f"{server}/v1/model"), 401)  # and not keyless again
        (data / FILE).unlink()
        until(server, 503, bearer(token))
        refused(httpx.get(f"{server}/v1/model"), 503, "log says why")
        for headers in ({}, bearer(token)):
            assert httpx.get(f"{server}/livez", headers=headers).status_code == 200
    log = (tmp_path / "log").read_text()
    assert "from here on every request needs one" in log
    assert "keys.sqlite is gone" in log
    assert token not in log


def test_with_a_key_the_service_listens_beyond_this_machine(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = kept_key(data, "read")
    with serving(data, tiny_model, "--host", "0.0.0.0", "--metrics-open") as server:
        refused(httpx.get(f"{server}/v1/galleries"), 401)
        assert httpx.get(f"{server}/v1/galleries", headers=bearer(token)).status_code == 200
        assert httpx.get(f"{server}/metrics").status_code == 200


def test_keys_that_cannot_be_read_end_the_start(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"noise" * 2000)
    line = refused_start("--model", str(tiny_model), "--data-dir", str(tmp_path))
    assert f"{tmp_path / FILE} is damaged" in line


def test_a_service_that_only_reads_knows_keys(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model):
        pass
    token = kept_key(data, "read")
    before = sorted(path.name for path in data.iterdir())
    with serving(data, tiny_model, "--read-only") as server:
        refused(httpx.get(f"{server}/v1/model"), 401)
        assert httpx.get(f"{server}/v1/model", headers=bearer(token)).status_code == 200
    assert sorted(path.name for path in data.iterdir()) == before


def test_keys_of_a_database_are_those_of_every_replica(
    tiny_model: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    file = tmp_path / "url"
    file.write_text(postgres.new_database())
    shared = ("--database-url-file", str(file))
    assert "PostgreSQL at 127.0.0.1" in keys("list", *shared, folder=tmp_path / "none").stdout
    token = keys("create", "one", "--scope", "admin", *shared, folder=tmp_path / "none").stdout.strip()
    with serving(tmp_path / "b", tiny_model):
        pass
    reading = ("--read-only", *shared)  # two that write would need the same galleries
    with serving(tmp_path / "a", tiny_model, *shared) as first, serving(tmp_path / "b", tiny_model, *reading) as second:
        for server in (first, second):
            refused(httpx.get(f"{server}/v1/model"), 401)
            assert httpx.get(f"{server}/v1/model", headers=bearer(token)).status_code == 200
        made = httpx.post(
            f"{first}/v1/keys", headers=bearer(token), json={"name": "two", "scopes": ["read"]}
        ).json()["token"]  # fmt: skip
        until(second, 200, bearer(made))
        ended = keys("revoke", made.split("_")[1], token.split("_")[1], *shared, folder=tmp_path / "none")
        assert "empty the table vehicle_search.keys of PostgreSQL" in ended.stdout
        for server in (first, second):
            until(server, 401, bearer(made))
    assert not (tmp_path / "none").exists()
    assert not [*tmp_path.glob(f"*/{FILE}")]
