"""Parts made by workers that Ray starts and looks after, on this machine or on all of a cluster.

Ray's tasks on actors, not Ray Data: see DECISIONS.md. An actor opens the model once and is given parts; one that dies
is started again, elsewhere where its machine is gone, and its part with it.
"""

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from typing import Any, Final

from index.errors import InvalidValue, VehicleSearchError
from index.parts.part_embedding import PartEmbedding, PartWork
from index.parts.picture_part import PartReport, PicturePart

_AHEAD: Final = 2  # parts that a worker has or that wait for it
_RETRIES: Final = 3  # of a part whose worker dies; a picture that kills it would do so for ever
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
        worker = ray.remote(
            num_cpus=cores, num_gpus=gpus, max_restarts=-1, max_task_retries=_RETRIES,
        )(PartEmbedding)  # fmt: skip
        own = replace(work, threads=cores)
        hands = [worker.remote(own) for _ in range(workers)]
        idle, out = hands * _AHEAD, {}
        while True:
            while idle and (part := next(left, None)) is not None:
                hand = idle.pop()
                out[hand.embed.remote(part)] = hand, part
            if not out:
                return
            (ready, *_), _ = ray.wait(list(out))
            hand, part = out.pop(ready)
            idle.append(hand)
            yield _result(ready, part)
            progress(len(part.images))


def _result(ready: Any, part: PicturePart) -> PartReport:
    """What a worker returned, or what it raised as it raised it."""
    import ray

    try:
        report: PartReport = ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, VehicleSearchError | OSError) else error) from None
    except ray.exceptions.RayActorError as error:
        places = {os.fsdecode(each.archive or each.path) for each in part.images}
        raise VehicleSearchError(
            f"the worker of part {part.number} died {_RETRIES + 1} times ({min(places)} and what follows): is memory "
            "short? Ray's own words: " + " ".join(str(error).split())[:300]
        ) from error
    return report


@contextmanager
def _cluster(address: str | None, *, cores: int) -> Iterator[None]:
    require_ray()
    if address is None:
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
