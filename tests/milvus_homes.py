"""A real Milvus server, and homes of galleries on it that are made ahead: a collection takes it some three seconds.

The server is the one at TEST_MILVUS_URI, or it is started from the virtual environment TEST_MILVUS_VENV or
``.venv-milvus`` (`make install-milvus`). Without any the tests are skipped.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import GallerySpec
from index.milvus.milvus_home import MilvusHome
from index.objects.crop_home import CropHome
from index.objects.folder_objects import FolderObjects
from scripts.process_tree import ProcessTree
from tests.server_process import free_ports

_PORTS = (
    "rootCoord.port", "proxy.port", "proxy.internalPort", "queryCoord.port", "queryNode.port", "indexNode.port", "dataCoord.port",
    "dataNode.port",
)  # fmt: skip
_PARTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")
QUICK = {"proxy.timeTickInterval": "20", "queryCoord.checkInterval": "50", "queryCoord.distPullInterval": "50"}
_AHEAD = 6
_START_SECONDS = 90


_ETCD = """\
name: default
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


_UNPACK = """\
import sys

import milvus

config = milvus.MilvusServerConfig(data_dir=sys.argv[1])
for setting in sys.argv[2:]:
    config.set(*setting.split("=", 1))
config.resolve()
milvus._initialize_data_files(config.base_data_dir)
"""


class RunningMilvus:
    """A server of our own, which can be killed and started again on the same data and ports.

    The package's own start is not used: it tries whether it can bind a port, and takes another one without a word for the
    minute that the system keeps connections of a killed server in. The server itself takes such a port. ``ip`` is what its
    parts call one another by; it listens on all interfaces whatever its settings say.
    """

    def __init__(self, python: Path, folder: Path, *, authorization: bool, settings: Mapping[str, str]) -> None:
        self._folder = folder
        etcd, peer, self._watched, *ports = free_ports(len(_PORTS) + 3)
        self._port = ports[_PORTS.index("proxy.port")]
        said: dict[str, str | int] = {f"{part}.ip": "127.0.0.1" for part in _PARTS} | dict(
            zip(_PORTS, ports, strict=True)
        )
        said |= {
            "etcd.endpoints": f"127.0.0.1:{etcd}",
            "common.security.authorizationEnabled": str(authorization).lower(),
        }
        (folder / "etcd.yaml").write_text(_ETCD.format(client=etcd, peer=peer))
        words = [f"{name}={value}" for name, value in (said | dict(settings)).items()]
        subprocess.run([python, "-c", _UNPACK, folder, *words], check=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = self._folder / "bin" / "milvus"
        with (self._folder / "logs" / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "run", "standalone"], cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {
                    "DEPLOY_MODE": "STANDALONE", "METRICS_PORT": str(self._watched), "MILVUS_RUN_DIR": str(self._folder / "run"),
                    "LD_LIBRARY_PATH": str(program.parent), "ETCD_CONFIG_PATH": str(self._folder / "etcd.yaml"),
                },
            )  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                pytest.fail(f"the Milvus server in {self._folder} did not start: see its logs")
            time.sleep(0.2)

    def _answers(self) -> bool:
        """Over HTTP: gRPC waits the longer between its tries to connect the longer there was nobody."""
        with suppress(httpx.TransportError):
            headers = {"Authorization": "Bearer root:Milvus"}
            answer = httpx.get(f"{self.uri}/v1/vector/collections", headers=headers, timeout=2)
            return answer.status_code == 200 and answer.json()["code"] == 200
        return False

    def processor_seconds(self) -> float:
        """What it took of all cores since it began."""
        assert self._process is not None
        return ProcessTree(self._process.pid).processor_seconds()

    def kill(self) -> None:
        """End it at once, and whatever it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def milvus_python() -> Path:
    """The Python that has a server; skips the test where there is none."""
    folder = Path(os.environ.get("TEST_MILVUS_VENV", Path(__file__).parent.parent / ".venv-milvus"))
    if not (folder / "bin" / "milvus-server").is_file():
        pytest.skip(f"no Milvus server in {folder}: make install-milvus, or name one by TEST_MILVUS_URI")
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    return folder / "bin" / "python"


def started_milvus(*, authorization: bool = False, settings: Mapping[str, str] = QUICK) -> RunningMilvus:
    """A server of one's own; with ``authorization`` its token is root:Milvus; ``settings`` are of its milvus.yaml."""
    python, folder = milvus_python(), Path(tempfile.mkdtemp(prefix="milvus-"))
    server = RunningMilvus(python, folder, authorization=authorization, settings=settings)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)  # before that
    return server


@cache
def milvus_uri() -> str:
    """The server that tests of this process share."""
    return os.environ.get("TEST_MILVUS_URI") or started_milvus().uri


def new_prefix() -> str:
    """For collections of one test."""
    return f"t{uuid.uuid4().hex[:12]}"


class _Clock:
    """The clock of a home that is made before its test."""

    ask: Callable[[], datetime] | None = None

    def __call__(self) -> datetime:
        assert self.ask is not None
        return self.ask()


class DroppedHome(MilvusHome):
    """A home whose collections are dropped when it is closed."""

    def close(self) -> None:
        with suppress(Exception):
            prefix = self._prefix
            for name in self._server.call("list_collections"):
                if name.startswith(prefix):
                    self._server.call("drop_collection", name)
        super().close()


def new_home(prefix: str | None = None, **options: Any) -> DroppedHome:
    """A home on the shared server."""
    folder = options.pop("folder", None) or Path(tempfile.mkdtemp(prefix="crops-"))
    feedback = options.pop("feedback", None) or FeedbackFolder(folder.with_name(f"{folder.name}-feedback"))
    return DroppedHome(
        milvus_uri(), crops=CropHome(FolderObjects(folder)), feedback=feedback, prefix=prefix or new_prefix(), **options
    )


def beside(home: MilvusHome, **options: Any) -> MilvusHome:
    """Another service's home of the same galleries."""
    shared = {"crops": home._crops, "feedback": home._feedback, "prefix": home._prefix}
    return MilvusHome(milvus_uri(), **{**shared, **options})


class _SpareHomes:
    """Homes with a gallery ``default`` of one kind, made ahead."""

    def __init__(self, spec: GallerySpec) -> None:
        self._spec = spec
        self._pool = ThreadPoolExecutor(_AHEAD)
        self._ready = [self._pool.submit(self._make) for _ in range(_AHEAD)]

    def take(self, clock: Callable[[], datetime]) -> DroppedHome:
        self._ready.append(self._pool.submit(self._make))
        home, asked = self._ready.pop(0).result()
        asked.ask = clock
        return home

    def _make(self) -> tuple[DroppedHome, _Clock]:
        clock = _Clock()
        return new_home(default_spec=self._spec, clock=clock), clock


_spare = cache(_SpareHomes)


def milvus_home(path: Path, *, default_spec: GallerySpec, clock: Callable[[], datetime], device: object) -> DroppedHome:
    """A home on the shared server, as ``DataFolder`` is one in a folder."""
    milvus_uri()
    return _spare(default_spec).take(clock)
