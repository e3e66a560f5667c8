"""The images, built and run (`make test-images`; docs/operations/containers.md, "Images")."""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.composer import compose, composer
from tests.container_engine import Container, ContainerEngine, found_engine
from tests.docker_files import normalised
from tests.pictures import jpeg
from tests.test_metrics import figure

pytestmark = pytest.mark.images

PAPERS = "/usr/share/doc/vehicle-search"
TARGETS = os.environ.get("IMAGE_TARGETS", "service train").split()
SERVICES = [target for target in TARGETS if target != "train"]
REMOTE = ("--env", "VEHICLE_SEARCH_ALLOW_UNAUTHENTICATED_REMOTE=true")
BUILDERS = ("cc", "gcc", "g++", "clang", "c99", "ld", "as", "make", "cmake", "rustc", "cargo", "go", "nvcc")
DISTRIBUTIONS = "from importlib.metadata import distributions\nfor d in distributions(): print(d.name, d.version)"


@pytest.fixture(scope="module")
def engine() -> ContainerEngine:
    engine = found_engine()
    if engine is None:
        pytest.skip("nothing here runs containers: install docker or podman")
    return engine


@pytest.fixture(scope="module", params=TARGETS)
def image(request: pytest.FixtureRequest, engine: ContainerEngine) -> str:
    return engine.built(request.param)


@pytest.fixture(scope="module")
def idle(image: str, engine: ContainerEngine) -> Iterator[Container]:
    """A container in which nothing but a look at it goes on."""
    with engine.started(image, "--entrypoint", "sleep", words=["infinity"]) as container:
        yield container


@pytest.fixture(scope="module")
def service(engine: ContainerEngine) -> str:
    if "service" not in TARGETS:
        pytest.skip("IMAGE_TARGETS leaves service out")
    return engine.built("service")


@pytest.fixture(scope="module")
def served(service: str, engine: ContainerEngine) -> Iterator[Container]:
    """The demo gallery, served from a volume that another container filled, without a network, with all of two cores."""
    with engine.volume() as volume:
        mounted = ("--volume", f"{volume}:/data")
        filling = ("add", "--data-dir", "/data", "examples/demo-gallery/manifest.csv")
        with engine.started(service, *mounted, "--entrypoint", "vehicle-index", words=filling) as filled:
            assert filled.ended() == 0
        with engine.started(service, *mounted, *REMOTE, "--cpus", "2") as container:
            assert "is ready" in container.first_line()
            yield container


def test_it_is_nobody_and_owns_its_data_alone(idle: Container) -> None:
    assert idle.run("id", "-u").strip() == "10001"
    rights = [line for line in idle.run("cat", "/proc/self/status").splitlines() if line.startswith("CapEff")]
    assert int(rights[0].split()[1], 16) == 0
    owned = idle.run("sh", "-c", "find / -xdev -path /dev -prune -o -user 10001 -print 2> /dev/null; true")
    assert owned.split() in ([], ["/data"])  # a volume is another file system
    idle.run("sh", "-c", "echo kept > /data/file && echo gone > /tmp/file")
    with pytest.raises(AssertionError, match="Read-only file system"):
        idle.run("touch", "/opt/file")


def test_papers_name_everything_that_is_installed(idle: Container) -> None:
    installed = {
        tuple(line.split()) for line in idle.run("/opt/venv/bin/python", "-I", "-c", DISTRIBUTIONS).splitlines()
    }
    assert len(installed) > 30
    bill = json.loads(idle.run("cat", f"{PAPERS}/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    parts = bill["components"]
    assert {(normalised(part["name"]), part["version"]) for part in parts} == {
        (normalised(name), version) for name, version in installed
    }
    assert bill["metadata"].get("timestamp") is None
    licences = idle.run("cat", f"{PAPERS}/licences.txt")
    for name, version in installed:
        assert f"\n{name} {version}: " in licences, name
    assert not re.search(r": names no licence\nIt brings no licence text", licences)
    fonts = idle.run("cat", "/usr/share/doc/fonts-dejavu-core/copyright", "/usr/share/doc/fonts-wqy-microhei/copyright")
    assert "DejaVu" in fonts
    assert "Apache License" in idle.run("cat", f"{PAPERS}/LICENSE")
    assert "dpkg" in idle.run("cat", f"{PAPERS}/debian-packages.txt")


def test_nothing_in_it_builds_or_installs(idle: Container) -> None:
    assert idle.run("sh", "-c", f"for tool in {' '.join(BUILDERS)}; do command -v $tool; done; true") == ""
    assert idle.run("find", "/opt/venv", "-maxdepth", "5", "-name", "pip") == ""


@pytest.mark.parametrize("target", SERVICES)
def test_services_hold_no_torch(target: str, engine: ContainerEngine) -> None:
    with engine.started(engine.built(target), "--entrypoint", "sleep", words=["infinity"]) as container:
        found = container.run(
            "find",
            "/opt/venv/lib",
            "-maxdepth",
            "3",
            "(",
            "-name",
            "torch*",
            "-o",
            "-name",
            "onnx",
            "-o",
            "-name",
            "*tensorflow*",
            ")",
        )
        assert found == ""


def test_size(service: str, engine: ContainerEngine) -> None:
    """Megabytes above the base image."""
    above = engine.inspected(service)["Size"] - engine.inspected(engine.built("base"))["Size"]
    print(f"\nservice: {above / 1e6:.0f} MB above its base")  # noqa: T201
    assert above <= 450e6


@pytest.mark.parametrize(("cores", "at_most"), [("2", 10), ("1", 20)])
def test_ready_soon_with_as_many_workers_as_the_quota_has_cores(
    service: str, cores: str, at_most: float, engine: ContainerEngine
) -> None:
    with engine.started(service, *REMOTE, "--cpus", cores) as container:
        assert "is ready" in container.first_line()
        took = time.monotonic() - container.began
        print(f"\nservice on {cores} cores: ready {took:.1f} s after its start")  # noqa: T201
        assert took <= at_most
        asked = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/v1/status').read().decode())"
        status = json.loads(container.run("python3", "-c", asked))
        assert status["queue"]["workers"] == min(int(cores), len(os.sched_getaffinity(0)))


def test_a_search_in_the_demo_gallery(served: Container) -> None:
    found = json.loads(served.run("vehicle-search", "query", "examples/query.jpg", "--top-k", "3", "--json"))
    assert [match["rank"] for match in found] == [1, 2, 3]


def test_its_health_is_told(served: Container, service: str, engine: ContainerEngine) -> None:
    about = engine.inspected(service)
    health = (about | about["Config"])["Healthcheck"]["Test"]  # where it stands depends on the engine
    assert health[0] == "CMD"
    assert '"ready"' in served.run(*health[1:])


def test_sigterm_ends_it_well(service: str, engine: ContainerEngine) -> None:
    with engine.started(service, *REMOTE) as container:
        assert "is ready" in container.first_line()
        began = time.monotonic()
        container.kill("TERM")
        assert container.ended() == 0
        print(f"\nservice: ended {time.monotonic() - began:.1f} s after SIGTERM")  # noqa: T201
        assert time.monotonic() - began < 20  # its grace


class Composed:
    """The project of docker-compose.yml under a name of the test, its service published on a port that is free."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._words, self._environment = words, environment

    def __call__(self, *words: str) -> str:
        run = compose(*self._words, *words, timeout=600, **self._environment)
        assert run.returncode == 0, f"{words}: {run.stdout}\n{run.stderr}"
        return run.stdout

    def up(self) -> str:
        """Start it; the address at which it answers, once it does."""
        self("up", "--no-build", "--detach", "service")
        address = f"http://{self('port', 'service', '8000').strip()}"
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{address}/readyz").is_success:
                    return address
            except httpx.TransportError:  # it is starting
                pass
            assert time.monotonic() < deadline, self("logs", "service")
            time.sleep(0.2)


@pytest.fixture
def composed(service: str, engine: ContainerEngine, tmp_path: Path) -> Iterator[Composed]:
    composer()  # leaves the test out where there is no Compose
    project = f"vehicle-search-test-{uuid.uuid4().hex[:8]}"
    (tmp_path / "port.yml").write_text('services: {service: {ports: !override ["127.0.0.1::8000"]}}\n')
    files = ("--file", "docker-compose.yml", "--file", str(tmp_path / "port.yml"), "--env-file", "/dev/null")
    names = [f"{project}-{name}" for name in ("demo", "service")]  # as Compose calls what it builds
    with engine.reached() as environment:
        found = Composed(["--project-name", project, *files], environment | {"SERVICE_CPUS": "1"})
        for name in names:
            engine("tag", service, name)
        try:
            yield found
        finally:
            found("down", "--volumes")
            engine("rmi", *names)


def test_docker_compose_up_serves_the_demo_gallery(composed: Composed) -> None:
    """As docker-compose.yml says it: demo first, then the service, with the limits that stand there; what changes is kept."""
    address = composed.up()
    status = httpx.get(f"{address}/v1/status").json()
    (gallery,) = status["galleries"]
    assert gallery["images"] > 100
    assert status["queue"]["workers"] == 1  # SERVICE_CPUS
    assert figure(address, "vehicle_search_memory_free_bytes") < 2 * 2**30  # SERVICE_MEMORY
    found = httpx.post(f"{address}/v1/galleries/default/search", content=Path("examples/query.jpg").read_bytes())
    assert found.json()["matches"][0]["distance"] < 0.5
    assert httpx.get(f"{address}/v1/status", headers={"Host": "elsewhere.example"}).status_code == 403

    images = f"{address}/v1/galleries/default/images"
    assert httpx.put(f"{images}/mine", content=jpeg(0)).status_code == 201
    assert httpx.delete(f"{images}/v0001_00").status_code == 204
    composed("stop")
    ended = [json.loads(line) for line in composed("ps", "--all", "--format", "json").splitlines()]
    assert {each["Service"]: each["ExitCode"] for each in ended} == {"demo": 0, "service": 0}
    composed("down")

    images = f"{composed.up()}/v1/galleries/default/images"
    assert httpx.get(f"{images}/mine").status_code == 200
    assert httpx.get(f"{images}/v0001_00").status_code == 404


@pytest.mark.skipif("train" not in TARGETS, reason="IMAGE_TARGETS leaves train out")
def test_the_trainer_opens_its_door(engine: ContainerEngine) -> None:
    with engine.started(engine.built("train"), words=["train", "--list"]) as container:
        assert container.first_line().startswith("default-mvan")
        assert container.ended() == 0


def test_only_the_last_layer_changes_with_the_source(engine: ContainerEngine, tmp_path: Path) -> None:
    """The others are the same to the byte, though nothing of an earlier build is used."""
    for line in Path(".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            name = line.removeprefix("!")
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if Path(name).is_dir() else shutil.copy2)(name, tmp_path / name)
    shutil.copy2(".dockerignore", tmp_path)
    before = engine.inspected(engine.build("service", tmp_path, anew=True))["RootFS"]["Layers"]
    with (tmp_path / "service/vehicle_search.py").open("a") as file:
        file.write("CHANGED = True\n")
    after = engine.inspected(engine.build("service", tmp_path, anew=True))["RootFS"]["Layers"]
    assert len(before) == len(after)
    assert [n - len(before) for n, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1] == [-1]
