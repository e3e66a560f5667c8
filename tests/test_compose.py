"""docker-compose.yml: what it promises of every container, the demo gallery's way in, and the proxy's configuration."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import Gallery, GallerySpec
from service.settings import PREFIX, Settings
from service.signals import SECONDS_IN_ORDER
from tests.composer import compose
from tests.docker_files import stages
from tests.pictures import jpeg
from tests.server_process import free_port, serving

FILE = Path("docker-compose.yml")
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
GUIDE = Path("docs/operations/containers.md").read_text(encoding="utf-8")
IGNORED = Path(".gitignore").read_text(encoding="utf-8").split()
PROFILES = ["", "gpu", "train", "train-gpu", "monitoring", "cluster"]
ONCE = {"demo", "demo-gpu", "train", "train-gpu", "milvus-password"}  # they end


def default(text: str) -> str:
    """What a value is where nothing is set in the environment or in .env."""
    return re.sub(r"\$\{\w+(?::-([^}]*)|:\+[^}]*)?\}", lambda found: found[1] or "", text)


def environment(service: dict[str, Any]) -> dict[str, str]:
    said = service.get("environment", {})
    pairs = said.items() if isinstance(said, dict) else (each.split("=", 1) for each in said)
    return {default(name): default(value) for name, value in pairs}


def test_it_is_as_the_specification_says() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.compose
@pytest.mark.parametrize("profile", PROFILES)
def test_docker_compose_takes_it(profile: str) -> None:
    run = compose(*(["--profile", profile] if profile else []), "config", "--quiet")
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.compose
def test_what_is_published_elsewhere_is_not_open_to_all() -> None:
    run = compose("config", "--format", "json", PUBLISH_ON="0.0.0.0")
    assert run.returncode == 0, run.stderr
    service = yaml.safe_load(run.stdout)["services"]["service"]
    assert [port["host_ip"] for port in service["ports"]] == ["0.0.0.0"]
    assert not [name for name in service["environment"] if name.startswith(PREFIX)]


@pytest.mark.parametrize("name", SERVICES)
def test_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert float(default(limits["cpus"])) > 0
    assert re.fullmatch(r"\d+[mg]", default(limits["memory"]))
    assert limits["pids"] > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_this_machines(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"\$\{PUBLISH\w*_ON:-127\.0\.0\.1\}:\d+:\d+", port), port
    published = [default(port).split(":")[1] for each in SERVICES.values() for port in each.get("ports", [])]
    assert len(set(published)) == len(published)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_built_here_or_have_a_release(name: str) -> None:
    service = SERVICES[name]
    if "image" in service:
        assert re.fullmatch(r"[\w./-]+:v?(?:RELEASE\.)?\d[\w.-]+", default(service["image"])), service["image"]
    else:
        assert service["build"]["target"] in stages(), "docker/Dockerfile has no such target"


@pytest.mark.parametrize("name", SERVICES)
def test_each_waits_until_the_others_are_well(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert how == {"condition": wanted}, other
        assert "healthcheck" in SERVICES[other] or "build" in SERVICES[other]  # docker/Dockerfile has one
        assert set(SERVICES[other].get("profiles", [])) <= set(SERVICES[name].get("profiles", [])), other
    assert (SERVICES[name]["restart"] == "no") == (name in ONCE)


@pytest.mark.parametrize("name", ["service", "service-gpu", "replica"])
def test_a_stop_may_take_as_long_as_the_service_takes(name: str) -> None:
    """An index that is not written at the stop is built at the start."""
    period = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert period >= Settings.model_fields["grace_seconds"].default + SECONDS_IN_ORDER


def test_secrets_are_files_that_no_commit_has() -> None:
    for name, secret in DOCUMENT["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    asked = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert asked == set(DOCUMENT["secrets"])
    assert "secrets/" in IGNORED
    for name, service in SERVICES.items():
        for variable, value in environment(service).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|_KEY|DATABASE", variable):
                assert variable.endswith("FILE"), f"{name} {variable}"
                assert Path(value).name in service["secrets"], f"{name} {variable}"


def test_make_makes_every_secret_and_leaves_those_that_are_there(tmp_path: Path) -> None:
    def make() -> None:
        run = subprocess.run(
            ["make", "-f", str(Path("Makefile").resolve()), "secrets"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr

    make()
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == DOCUMENT["secrets"].keys()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    for name, secret in made.items():
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o644  # other users read it in the containers
        if name == "metrics_key":
            assert secret == ""
        elif name == "database_url":
            assert secret == f"postgresql://vehicle_search:{made['postgres_password']}@postgres/vehicle_search"
        else:
            assert re.fullmatch(r"(?:root:)?[\w-]{20,}", secret), name
    assert len(set(made.values())) == len(made)
    make()
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_what_is_mounted_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = default(volume["source"] if isinstance(volume, dict) else volume.split(":")[0])
            if isinstance(volume, str) and source.startswith("./"):
                assert Path(source).exists(), f"{name} {source}"
                assert volume.endswith(":ro")
            elif isinstance(volume, str):
                assert source in DOCUMENT["volumes"], f"{name} {source}"


def test_settings_are_the_services() -> None:
    said = {
        name.removeprefix(PREFIX).lower()
        for service in SERVICES.values()
        for name in environment(service)
        if name.startswith(PREFIX)
    }
    assert said <= set(Settings.model_fields)


def test_what_can_be_set_is_told_with_its_default() -> None:
    chapter = GUIDE.split("\n## With Docker Compose\n")[1].split("\n## ")[0]
    told = {
        name: value
        for names, value in re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]*) ?\|", chapter, re.MULTILINE)
        for name in re.findall(r"\w+", names)
    }
    text = FILE.read_text(encoding="utf-8")
    assert {name: value.strip("` ") for name, value in told.items()} == dict(
        re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", text)
    )
    assert re.findall(r"(?<!\$)\$(?!\$|\{\w+:[-+])\S*", text) == []  # each has a default


class Demo:
    """The command that loads the demo gallery, as the container carries it out, with a folder of the test for /data."""

    def __init__(self, data: Path, model: Path) -> None:
        self.data, self._model = data, model
        self._spec = GallerySpec.for_model(Embedder(model, device="cpu", threads=1).contract)
        programs = data.parent / "programs"
        programs.mkdir()
        (programs / "vehicle-index").write_text(f'#!/bin/sh\nexec {sys.executable} -m index.vehicle_index "$@"\n')
        (programs / "vehicle-index").chmod(0o755)
        self._path = f"{programs}:{os.environ['PATH']}"

    def run(self, *, wanted: str = "true") -> None:
        (command,) = SERVICES["demo"]["command"]
        script = command.replace("$$", "$").replace("/data", str(self.data))
        run = subprocess.run(
            [*SERVICES["demo"]["entrypoint"], script.replace(" examples/", f" --model {self._model} examples/")],
            env={**os.environ, "PATH": self._path, "LOAD_DEMO": wanted}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr

    @contextmanager
    def gallery(self) -> Iterator[Gallery]:
        home = DataFolder(self.data, default_spec=self._spec)
        yield home.get("default")
        home.close()

    def images(self) -> int:
        with self.gallery() as gallery:
            return gallery.count()


@pytest.fixture
def demo(tmp_path: Path, tiny_model: Path) -> Demo:
    (tmp_path / "data").mkdir()
    return Demo(tmp_path / "data", tiny_model)


def test_the_demo_gallery_is_loaded_once(demo: Demo) -> None:
    demo.run()
    everything = demo.images()
    assert everything > 100
    with demo.gallery() as gallery:
        gallery.delete("v0001_00")
    demo.run()
    assert demo.images() == everything - 1


def test_a_demo_gallery_that_was_cut_off_is_completed(demo: Demo) -> None:
    demo.run()
    everything = demo.images()
    shutil.rmtree(demo.data)
    demo.data.mkdir()
    (demo.data / ".demo-begun").touch()
    assert demo.images() == 0
    demo.run()
    assert demo.images() == everything


def test_who_has_galleries_or_wants_none_gets_no_demo(demo: Demo) -> None:
    demo.run(wanted="false")
    assert list(demo.data.iterdir()) == []
    assert demo.images() == 0  # it makes the gallery, as a service does
    demo.run()
    assert demo.images() == 0


@pytest.mark.parametrize("token", ["", "Milvus", "root:"])
def test_a_token_that_is_none_ends_the_start_of_the_cluster(token: str, tmp_path: Path) -> None:
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    (tmp_path / "token").write_text(token)
    run = subprocess.run(
        [sys.executable, "docker/cluster/milvus_password.py"], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "MILVUS_URI": "http://127.0.0.1:1", "MILVUS_TOKEN_FILE": str(tmp_path / "token")},
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.endswith("token must hold USER:PASSWORD; `make secrets` makes it\n")


@contextmanager
def proxied(tmp_path: Path, server: str) -> Iterator[str]:
    """Nginx by the shipped configuration in front of a service; what only Docker has is put in its place."""
    if shutil.which("nginx") is None:
        pytest.skip("no nginx (Debian's package `nginx-light`)")
    port = free_port()
    text = Path("docker/cluster/nginx.conf").read_text(encoding="utf-8")
    for shipped, here in (
        ("set $replica replica;", "set $replica 127.0.0.1;"),
        ("http://$replica:8000", f"http://$replica:{server.rpartition(':')[2]}"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        (" /tmp/", f" {tmp_path}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    (tmp_path / "nginx.conf").write_text(text)
    with subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, "nginx does not listen"
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def proxy(tmp_path: Path, server: str) -> Iterator[str]:
    """In front of the service that tests share."""
    with proxied(tmp_path, server) as address:
        yield address


def test_replicas_are_told_who_asked_the_proxy(tiny_model: Path, tmp_path: Path) -> None:
    """Who comes to a published port may have an address of Docker's networks itself, which are trusted."""
    networks = environment(SERVICES["replica"])["VEHICLE_SEARCH_TRUSTED_PROXIES"]
    options = ("--trusted-proxies", f"{networks},127.0.0.0/8", "--audit", "--audit-dir", str(tmp_path / "audit"))
    with (
        serving(tmp_path / "data", tiny_model, *options) as server,
        proxied(tmp_path, server) as address,
        httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as caller,
    ):
        said = {"X-Forwarded-For": "203.0.113.9"}
        assert caller.put(f"{address}/v1/galleries/yard", json={}, headers=said).status_code == 201
    (entry,) = (json.loads(line) for file in (tmp_path / "audit").iterdir() for line in file.read_text().splitlines())
    assert entry["address"] == "127.0.0.2"


def test_the_proxy_passes_on_what_the_replicas_answer(proxy: str) -> None:
    body = jpeg(0) + b"\0" * 3_000_000  # more than nginx takes by itself
    assert httpx.put(f"{proxy}/v1/galleries/default/images/by-proxy", content=body).status_code == 201
    assert httpx.post(f"{proxy}/v1/galleries/default/search", content=body).json()["matches"]
    assert httpx.delete(f"{proxy}/v1/galleries/default/images/by-proxy").status_code == 204  # others use the gallery
    page = httpx.get(f"{proxy}/v1/galleries", headers={"Origin": proxy, "Sec-Fetch-Site": "same-origin"})
    assert page.status_code == 200
    assert httpx.get(f"{proxy}/metrics").status_code == 404
