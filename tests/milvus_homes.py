"""A real Milvus server, and homes of galleries on it that are made ahead: a collection takes it some three seconds.

The server is the one at TEST_MILVUS_URI, or it is started from the virtual environment TEST_MILVUS_VENV or
``.venv-milvus`` (`make install-milvus`). Without any the tests are skipped.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from index.gallery import GalleryHome, GallerySpec
from index.milvus.crop_home import CropHome
from index.milvus.milvus_home import MilvusHome
from index.objects.folder_objects import FolderObjects
from scripts.process_tree import ProcessTree

_PORTS = (
    "etcd", "etcd-peer", "root-coord", "proxy", "proxy-internal", "query-coord", "query-node", "index-coord", "index-node",
    "data-coord", "data-node",
)  # fmt: skip
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


class RunningMilvus:
    """A server of our own, which can be killed and started again on the same data and ports."""

    def __init__(self, program: Path, folder: Path, *, authorization: bool, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._words = [str(program), "--data", str(folder)]
        for name, port in self._ports.items():
            self._words += [] if name == "etcd-peer" else [f"--{name}-port", str(port)]
        (folder / "etcd.yaml").write_text(_ETCD.format(client=self._ports["etcd"], peer=self._ports["etcd-peer"]))
        for name, value in settings.items():
            self._words += ["--extra-config", f"{name}={value}"]
        self._words += ["--authorization-enabled", "true"] if authorization else []
        self._token = "root:Milvus" if authorization else ""
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._ports['proxy']}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        from pymilvus import MilvusClient

        self._process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | {"ETCD_CONFIG_PATH": str(self._folder / "etcd.yaml")},
        )  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while True:
            with suppress(Exception):
                client = MilvusClient(self.uri, token=self._token, timeout=2, dedicated=True)
                client.list_collections(timeout=2)
                client.close()
                return
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                pytest.fail(f"the Milvus server in {self._folder} did not start: see its logs")
            time.sleep(0.2)

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


def milvus_program() -> Path:
    """What starts a server; skips the test where there is none."""
    folder = Path(os.environ.get("TEST_MILVUS_VENV", Path(__file__).parent.parent / ".venv-milvus"))
    program = folder / "bin" / "milvus-server"
    if not program.is_file():
        pytest.skip(f"no Milvus server in {folder}: make install-milvus, or name one by TEST_MILVUS_URI")
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    return program


def started_milvus(*, authorization: bool = False, settings: Mapping[str, str] = QUICK) -> RunningMilvus:
    """A server of one's own; with ``authorization`` its token is root:Milvus; ``settings`` are of its milvus.yaml."""
    folder = Path(tempfile.mkdtemp(prefix="milvus-"))
    server = RunningMilvus(milvus_program(), folder, authorization=authorization, settings=settings)
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
    return DroppedHome(milvus_uri(), crops=CropHome(FolderObjects(folder)), prefix=prefix or new_prefix(), **options)


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


def milvus_home(path: Path, *, default_spec: GallerySpec, clock: Callable[[], datetime], device: object) -> GalleryHome:
    """A home on the shared server, as ``DataFolder`` is one in a folder."""
    milvus_uri()
    return _spare(default_spec).take(clock)


def _free_ports(count: int) -> Iterator[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    return iter(ports)
