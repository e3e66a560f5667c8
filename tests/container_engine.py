"""Images, built and run by what this machine has for containers, for tests of them.

The environment says more: ``CONTAINER_ENGINE`` which command to use (docker or podman, else looked for), ``PYTHON_IMAGE`` which base,
``IMAGE_OPTIONS`` what ``build`` is told besides, ``IMAGE_BUILD`` a command that builds instead of it and has a base image of its own
(called with the image's name, ``PYTHON_IMAGE``, the folder, the Dockerfile and options of podman's ``build``; it must leave the image
where the engine finds it, so an engine may be called with the folder of the builder's images: ``podman --root FOLDER``).
"""

import contextlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

_ONE_TIME = "946684800"  # 1 January 2000, for all files of all layers


def _granted_files() -> str:
    """Soft and hard limit of open files of this process: an engine's own may be more than this machine grants."""
    return ":".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE)))


def found_engine() -> "ContainerEngine | None":
    """The environment's, else the first one that answers."""
    asked = os.environ.get("CONTAINER_ENGINE")
    for words in [shlex.split(asked)] if asked else [["docker"], ["podman"]]:
        if shutil.which(words[0]) is None:
            continue
        if subprocess.run([*words, "info"], capture_output=True, timeout=60, check=False).returncode == 0:
            return ContainerEngine(words)
    assert not asked, f"CONTAINER_ENGINE={asked} does not answer"
    return None


class ContainerEngine:
    """``docker`` or what takes the same words. ``words``: how it is called."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self.docker = Path(words[0]).name == "docker"
        self._built: dict[str, str] = {}  # image, by target

    def __call__(self, *words: str, timeout: float = 120) -> str:
        """What it answers on stdout; its own complaint in the failure where it ends with more than 0."""
        run = subprocess.run([*self._words, *words], capture_output=True, text=True, timeout=timeout, check=False)
        assert run.returncode == 0, f"{' '.join(words)}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def built(self, target: str) -> str:
        """The name of the image of this target, which is built once."""
        if target not in self._built:
            self._built[target] = self.build(target)
        return self._built[target]

    def build(self, target: str, context: Path = Path(), *, anew: bool = False) -> str:
        """The name of the image that it becomes. ``anew``: nothing of earlier builds is used (docker uses it: it gives files times)."""
        name = f"vehicle-search-test-{target}{'-anew' if anew else ''}"
        options = ["--target", target, *shlex.split(os.environ.get("IMAGE_OPTIONS", ""))]
        options += [] if self.docker else ["--timestamp", _ONE_TIME, *(["--no-cache"] if anew else [])]
        dockerfile = str(context / "docker/Dockerfile")
        if builder := os.environ.get("IMAGE_BUILD"):
            command = [*shlex.split(builder), name, "PYTHON_IMAGE", str(context), dockerfile, *options]
        else:
            base = os.environ.get("PYTHON_IMAGE")
            options += ["--build-arg", f"PYTHON_IMAGE={base}"] if base else []
            command = [*self._words, "build", "--tag", name, "--file", dockerfile, *options, str(context)]
        # of two formats the one that has HEALTHCHECK; a layer for each instruction, as with docker
        environment = os.environ | {"BUILDAH_FORMAT": "docker", "BUILDAH_LAYERS": "true"}
        subprocess.run(command, env=environment, check=True, timeout=3600)
        return name

    def inspected(self, image: str) -> Any:
        """What it says of an image."""
        return json.loads(self("image", "inspect", image))[0]

    @contextlib.contextmanager
    def volume(self) -> Iterator[str]:
        """A named one, for as long as it is needed."""
        name = f"vehicle-search-test-{uuid.uuid4().hex[:8]}"
        self("volume", "create", name)
        try:
            yield name
        finally:
            self("volume", "rm", name)

    @contextlib.contextmanager
    def reached(self) -> Iterator[dict[str, str]]:
        """The environment by which Docker Compose reaches it. Podman is asked to listen for that long."""
        if self.docker:
            yield {}
            return
        with tempfile.TemporaryDirectory() as folder:  # near the root: a socket's path must be short
            settings, socket = Path(folder, "containers.conf"), Path(folder, "podman.sock")
            ulimits = f'default_ulimits = ["nofile={_granted_files()}", "nproc=4096:4096"]'
            settings.write_text(f"[engine]\ncompat_api_enforce_docker_hub = false\n[containers]\n{ulimits}\n")
            command = [*self._words, "system", "service", "--time", "0", f"unix://{socket}"]
            with subprocess.Popen(command, env=os.environ | {"CONTAINERS_CONF": str(settings)}) as listening:
                try:
                    deadline = time.monotonic() + 60
                    while not socket.exists():
                        assert listening.poll() is None, "podman's own words stand above"
                        assert time.monotonic() < deadline, "podman does not listen"
                        time.sleep(0.1)
                    yield {"DOCKER_HOST": f"unix://{socket}"}
                finally:
                    listening.terminate()

    def started(self, image: str, *options: str, words: Sequence[str] = ()) -> "Container":
        """A container that has been started as tightly as one can be."""
        name = f"vehicle-search-test-{uuid.uuid4().hex[:8]}"
        tight = (
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--network",
            "none",
            "--no-healthcheck",  # a test asks; podman wants systemd for it
            f"--ulimit=nofile={_granted_files()}",
            "--ulimit=nproc=4096:4096",
        )
        self("create", "--name", name, *tight, *options, image, *words)
        began = time.monotonic()  # some kinds of storage copy the whole image before
        self("start", name)
        return Container(self, name, began)


class Container:
    """One that runs; gone at the end of ``with``. ``began``: the clock's seconds when it was started."""

    def __init__(self, engine: ContainerEngine, name: str, began: float) -> None:
        self._engine, self.name, self.began = engine, name, began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine("rm", "--force", "--volumes", self.name)

    def run(self, *words: str) -> str:
        """What a command answers in it."""
        return self._engine("exec", self.name, *words)

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        return int(self._engine("wait", self.name, timeout=600))

    def first_line(self) -> str:
        """The first line that it writes, as soon as it does."""
        with subprocess.Popen(
            [*self._engine._words, "logs", "--follow", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as following:
            assert following.stdout is not None
            try:
                return following.stdout.readline()
            finally:
                following.kill()

    def kill(self, signal: str) -> None:
        """Send a signal to its first process."""
        self._engine("kill", "--signal", signal, self.name)
