"""Parts made by workers that Ray starts and looks after, on this machine or on all of a cluster.

Ray's tasks on actors, not Ray Data: see DECISIONS.md. An actor opens the model once and is given parts; one that dies
is started again, elsewhere where its machine is gone, and its part with it.
"""

import logging
import os
import secrets
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from typing import Any, Final

from index.errors import InvalidValue, VehicleSearchError
from index.parts.part_embedding import PartEmbedding, PartWork
from index.parts.picture_part import PartReport, PicturePart

_AHEAD: Final = 2  # parts that a worker has or that wait for it
_RETRIES: Final = 3  # of a part whose worker died; a picture that kills it would do so for ever
_ANSWER_SECONDS: Final = 10.0
_OBJECT_STORE: Final = 128 << 20  # bytes; lists of pictures and reports go through it, no pixels
_OWN_CLUSTER: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # which is what makes it keep to loopback, on any system
    "RAY_AUTH_MODE": "token",
}


def require_ray() -> None:
    """Raise InvalidValue where Ray is not installed; it is not imported."""
    if find_spec("ray") is None:
        raise InvalidValue(
            "--engine ray needs Ray, which is not installed: pip install 'vehicle-search[ray]', on every machine of "
            "the cluster; --engine local does without"
        )


def embed_by_ray(
    parts: Iterator[PicturePart], work: PartWork, progress: Callable[[int], object], *, workers: int,
    address: str | None = None,
) -> Iterator[PartReport]:  # fmt: skip
    """Make parts with so many workers, each with ``work.threads`` cores, and a GPU where the device is cuda.

    ``address``: of a cluster that runs; None starts one on this machine that nobody else can reach, and stops it
    afterwards. Reports come as parts are done. Raises what ``PartEmbedding.embed`` raises, and InvalidValue where Ray
    or its cluster cannot be used.
    """
    cores = work.threads or 1
    first = next(parts, None)
    if first is None:
        return
    left = chain([first], parts)
    with _cluster(address, cores=workers * cores):
        import ray

        gpus = int(work.device == "cuda")
        _require_resources(workers, {"CPU": cores, "GPU": gpus})
        hired = ray.remote(num_cpus=cores, num_gpus=gpus)(PartEmbedding)
        team = _Team(partial(hired.remote, replace(work, threads=cores)), workers)
        for part, report in team.make(left):
            yield report
            progress(len(part.images))


class _Team:
    """Workers with the parts that each has. One that dies is replaced, and what it had is made by the next."""

    def __init__(self, hire: Callable[[], Any], workers: int) -> None:
        self._hire = hire
        self._idle = [hire() for _ in range(workers)] * _AHEAD
        self._out: dict[Any, tuple[Any, PicturePart]] = {}  # in the order in which they were given out
        self._again: deque[PicturePart] = deque()
        self._deaths: Counter[int] = Counter()

    def make(self, parts: Iterator[PicturePart]) -> Iterator[tuple[PicturePart, PartReport]]:
        """Every part with its report, as they are done."""
        import ray

        while True:
            while self._idle and (part := self._next(parts)) is not None:
                hand = self._idle.pop()
                self._out[hand.embed.remote(part)] = hand, part
            if not self._out:
                return
            (ready, *_), _ = ray.wait(list(self._out))
            try:
                report: PartReport = ray.get(ready)
            except ray.exceptions.RayActorError as error:
                self._replace(self._out[ready][0], error)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, VehicleSearchError | OSError) else error) from None
            else:
                hand, part = self._out.pop(ready)
                self._idle.append(hand)
                yield part, report

    def _next(self, parts: Iterator[PicturePart]) -> PicturePart | None:
        return self._again.popleft() if self._again else next(parts, None)

    def _replace(self, dead: Any, error: Exception) -> None:
        """Raise VehicleSearchError where workers died too often of what this one was at: the first that it had."""
        import ray

        left = [(ready, part) for ready, (hand, part) in self._out.items() if hand is dead]
        first = left[0][1]
        self._deaths[first.number] += 1
        if self._deaths[first.number] > _RETRIES:
            place = os.fsdecode(first.images[0].archive or first.images[0].path)
            raise VehicleSearchError(
                f"{_RETRIES + 1} workers died of part {first.number} ({place} and what follows): a picture that kills "
                f"them, or too little memory; Ray says: {' '.join(str(error).split())[:300]}"
            ) from error
        ray.kill(dead)  # it may only be out of reach
        for ready, part in left:
            del self._out[ready]
            self._again.append(part)
        idle = [hand for hand in self._idle if hand is not dead]
        self._idle = idle + [self._hire()] * (len(self._idle) - len(idle) + len(left))


@contextmanager
def _cluster(address: str | None, *, cores: int) -> Iterator[None]:
    require_ray()
    if address is not None:
        _require_answer(address)
    else:
        os.environ.update({"RAY_AUTH_TOKEN": secrets.token_hex(32), **_OWN_CLUSTER})  # before Ray is imported
    import ray

    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {
            "address": "local", "num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1",
            "object_store_memory": _OBJECT_STORE,
        }  # fmt: skip
    try:
        ray.init(**options, log_to_driver=False, configure_logging=True, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "a cluster on this machine cannot be started" if address is None else f"{address} cannot be joined"
        raise InvalidValue(f"{where}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise InvalidValue where nobody listens at HOST:PORT: Ray would try for minutes. Other forms are left to it."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InvalidValue(f"{address} cannot be joined: {error}") from error


def _require_resources(workers: int, each: dict[str, int]) -> None:
    """Raise InvalidValue where workers would wait for what the cluster does not have."""
    import ray

    there = ray.cluster_resources()
    for name, number in each.items():
        if workers * number > there.get(name, 0):
            raise InvalidValue(
                f"{workers} workers with {number} {name} each need {workers * number}, the cluster has "
                f"{there.get(name, 0):g}: ask for fewer --workers or --threads"
            )
