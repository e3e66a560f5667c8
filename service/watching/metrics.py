"""What Prometheus reads, in base units. One registry an application; nothing global.

Labels take values from lists that are known beforehand (routes, statuses, stages), or that an operator makes
(galleries, keys); nothing that a caller can make up is one.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from index.bulk.import_plan import COUNTS
from service.capacity.worker_pool import Loss, Urgency
from service.watching import request_trace
from service.watching.recent_times import RecentTimes

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

STAGES: Final = ("queue", "decode", "embed", "search", "store")
WORK: Final = tuple(urgency.name.lower() for urgency in Urgency)
_BATCHES: Final = ("request", "spare")
WAITED: Final = 0.0005  # seconds for the model; less is no stage of a request
NO_ROUTE: Final = "none"
OTHER_METHOD: Final = "other"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Metrics:
    """The service's own figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "vehicle_search_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "vehicle_search_request_seconds",
            "Time to answer, by route.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "vehicle_search_stage_seconds", "Time a picture spends: queue, decode, embed, search, store.", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._batches = Histogram(
            "vehicle_search_batch_images", "Crops that went through the model together, for requests or spare work.",
            ["work"], buckets=_IMAGES, registry=self.registry,
        )  # fmt: skip
        self.imported = Counter(
            "vehicle_search_imported_images", "Images of import jobs by what became of them.", ["status"],
            registry=self.registry,
        )  # fmt: skip
        self.key_requests = Counter(
            "vehicle_search_key_requests",
            "Requests by the id of their key: admitted, forbidden (then also admitted), limited.",
            ["key", "outcome"],
            registry=self.registry,
        )
        self.unauthenticated = Counter(
            "vehicle_search_unauthenticated_requests",
            "Requests without a key that works, where one is asked for.",
            registry=self.registry,
        )
        self.audited = Counter(
            "vehicle_search_audit_entries",
            "Entries of the audit log: written; lost, so that only the service's log has them.",
            ["outcome"],
            registry=self.registry,
        )
        self.queue = Gauge("vehicle_search_queue_requests", "Requests waiting or at work.", registry=self.registry)
        self.queue_limit = Gauge(
            "vehicle_search_queue_limit_requests", "Requests that may wait or be at work; one more is told 429.",
            registry=self.registry,
        )  # fmt: skip
        self._work = Gauge(
            "vehicle_search_work", "Pieces of work for the model's workers, by kind: waiting, running.",
            ["work", "state"], registry=self.registry,
        )  # fmt: skip
        self.lost_workers = Counter(
            "vehicle_search_lost_workers", "Workers that hung or died and were replaced.", ["how"],
            registry=self.registry,
        )  # fmt: skip
        self.swept = Counter(
            "vehicle_search_sweeps", "Sweeps of a gallery, or of kept queries: done; failed, to be tried again.",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self.build = Info("vehicle_search_build", "Releases of the service and its libraries.", registry=self.registry)
        for counter, values in (
            (self.lost_workers, get_args(Loss)), (self.imported, COUNTS),
            (self.audited, ("written", "lost")), (self.swept, ("done", "failed")),
        ):  # fmt: skip
            for value in values:
                counter.labels(value)  # 0 until there is one: who looks for increases would miss the first
        self._by_stage = {name: self._stages.labels(name) for name in STAGES}
        self.recent = RecentTimes(STAGES)
        self._by_work = {work: self._batches.labels(work) for work in _BATCHES}
        self._depth = {work: {"waiting": 0, "running": 0} for work in WORK}
        self._guard = Lock()
        for work in WORK:
            for state in ("waiting", "running"):
                self._work.labels(work, state).set_function(partial(self._number, work, state))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request and how it was answered; ``route`` is a template."""
        self._requests.labels(method if method in METHODS else OTHER_METHOD, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, name: str, seconds: float, pictures: int = 1) -> None:
        """The time that ``pictures`` spent together in a stage that ends now; said where the request's context is."""
        self._observe(name, seconds, pictures)
        request_trace.record(name, seconds, pictures)

    def embedded(self, share: float, pictures: int, *, seconds: float, waited: float) -> None:
        """The stage ``embed`` of some pictures of a request, which ends now.

        The call of the model took ``seconds`` and began after ``waited``; ``share`` is what it took for these alone.
        """
        self._observe("embed", share, pictures)
        if waited >= WAITED:
            request_trace.record("queue", waited, pictures, ago=seconds)
        request_trace.record("embed", seconds, pictures)

    def _observe(self, name: str, seconds: float, pictures: int) -> None:
        if pictures:
            self.recent.add(name, seconds / pictures, pictures)
        observed = self._by_stage[name]
        for _ in range(pictures):
            observed.observe(seconds / pictures)

    def batch(self, crops: int, work: str = "request") -> None:
        """A call of the model with so many crops, for requests or spare work."""
        self._by_work[work].observe(crops)

    def piece(self, work: str) -> "PieceOfWork":
        """A piece of work that waits for a worker from now on."""
        return PieceOfWork(self, work)

    def moved(self, work: str, state: str, number: int) -> None:
        """So many more pieces of work are in a state."""
        with self._guard:
            self._depth[work][state] += number

    def depth(self) -> dict[str, dict[str, int]]:
        """How many pieces of work wait and run, by kind."""
        with self._guard:
            return {work: dict(states) for work, states in self._depth.items()}

    def _number(self, work: str, state: str) -> float:
        return self._depth[work][state]

    def watch_model(self, about: Callable[[], Mapping[str, str]]) -> None:
        """Report the model that answers, asked for when Prometheus asks."""
        self.registry.register(_Model(about))

    def watch_galleries(self, sizes: Callable[[], tuple[Mapping[str, int], Iterable[str]]]) -> None:
        """Report the size of every gallery, and which cannot be used, asked for when Prometheus asks."""
        self.registry.register(_GallerySizes(sizes))

    def watch_migrations(self, remaining: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Report what is left of every open migration."""
        what = "vehicle_search_migration_remaining_images", "Images without a vector of the model that is moved to."
        self.registry.register(_Galleries(*what, remaining))

    def watch_index_problems(self, problems: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Report for every gallery whether its index has a problem (1), which the gallery's description tells."""
        what = "vehicle_search_index_problem", "1 where the index is not what it should be: slower, never wrong."
        self.registry.register(_Galleries(*what, problems))

    def watch_logs(self, logs: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Report the bytes of every gallery's write-ahead log."""
        what = "vehicle_search_gallery_wal_bytes", "What was written and is not yet brought into the database."
        self.registry.register(_Galleries(*what, logs))

    def watch_imports(self, jobs: Callable[[], Mapping[str, int]]) -> None:
        """Report how many import jobs are in which state, asked for when Prometheus asks."""
        self.registry.register(_Imports(jobs))

    def watch_held_up_imports(self, jobs: Callable[[], int]) -> None:
        """Report how many import jobs cannot go on, as on a full disk."""
        what = "vehicle_search_held_up_imports", "Import jobs that cannot go on, and say why in their problem."
        self.registry.register(_Number(*what, jobs))

    def watch_memory(self, free: Callable[[], int | None]) -> None:
        """Report how much memory this process may still take; nothing where nothing says."""
        what = "vehicle_search_memory_free_bytes", "What the machine and the container leave this process."
        self.registry.register(_Number(*what, free))

    def watch_limits(self, used: Callable[[], Mapping[str, float]]) -> None:
        """Report how much of what each limit allows is taken, by the name of the setting, from 0 to 1."""
        self.registry.register(_Limits(used))

    def watch_queries(self, size: Callable[[], tuple[int, int]]) -> None:
        """Report how many query pictures are kept, and their bytes."""
        self.registry.register(_KeptQueries(size))

    def watch_disk(self, folder: Path) -> None:
        """Report the disk that a folder lies on."""
        self.registry.register(_Disk(folder))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class PieceOfWork:
    """Waits, runs and ends, or ends without having begun; ``ended`` is what its future calls back."""

    def __init__(self, metrics: Metrics, work: str) -> None:
        self._metrics, self._work = metrics, work
        self._state: str | None = "waiting"
        metrics.moved(work, "waiting", 1)

    def began(self) -> None:
        """A worker has it."""
        self._move("running")

    def ended(self, _: object = None) -> None:
        """It is done, or given up."""
        self._move(None)

    def _move(self, state: str | None) -> None:
        before, self._state = self._state, state if self._state is not None else None
        if before is not None:
            self._metrics.moved(self._work, before, -1)
        if self._state is not None:
            self._metrics.moved(self._work, self._state, 1)


class _Model(Collector):
    def __init__(self, about: Callable[[], Mapping[str, str]]) -> None:
        self._about = about

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("vehicle_search_model", "The model that answers.", value=dict(self._about()))

    def describe(self) -> Iterable[Metric]:
        return []


class _Galleries(Collector):
    """A number of each gallery that has it."""

    def __init__(self, name: str, description: str, numbers: Callable[[], Iterable[tuple[str, int]]]) -> None:
        self._name, self._description, self._numbers = name, description, numbers

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._description, labels=["gallery"])
        for name, number in self._numbers():
            family.add_metric([name], number)
        yield family

    def describe(self) -> Iterable[Metric]:
        return []


class _GallerySizes(Collector):
    """Images of the galleries that can be used, and which are damaged; each is asked once."""

    def __init__(self, sizes: Callable[[], tuple[Mapping[str, int], Iterable[str]]]) -> None:
        self._sizes = sizes

    def collect(self) -> Iterable[Metric]:
        images = GaugeMetricFamily(
            "vehicle_search_gallery_images", "Images that a search can return.", labels=["gallery"]
        )
        damaged = GaugeMetricFamily(
            "vehicle_search_gallery_damaged",
            "1 for a gallery that is damaged, or whose files failed a request within ten minutes, else 0.",
            labels=["gallery"],
        )  # fmt: skip
        sizes, problems = self._sizes()
        for name, number in sizes.items():
            images.add_metric([name], number)
        for name in sorted({*sizes, *problems}):
            damaged.add_metric([name], int(name in problems))
        return [images, damaged]

    def describe(self) -> Iterable[Metric]:
        return []


class _Imports(Collector):
    def __init__(self, jobs: Callable[[], Mapping[str, int]]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("vehicle_search_import_jobs", "Import jobs by state.", labels=["state"])
        for state, number in self._jobs().items():
            family.add_metric([state], number)
        yield family

    def describe(self) -> Iterable[Metric]:
        return []


class _Number(Collector):
    """A number, asked for when Prometheus asks; None: there is none."""

    def __init__(self, name: str, description: str, number: Callable[[], float | None]) -> None:
        self._name, self._description, self._number = name, description, number

    def collect(self) -> Iterable[Metric]:
        number = self._number()
        return [] if number is None else [GaugeMetricFamily(self._name, self._description, value=number)]

    def describe(self) -> Iterable[Metric]:
        return []


class _Limits(Collector):
    def __init__(self, used: Callable[[], Mapping[str, float]]) -> None:
        self._used = used

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "vehicle_search_limit_used_ratio", "How much of what a setting allows is taken.", labels=["limit"]
        )
        for limit, share in self._used().items():
            family.add_metric([limit], share)
        yield family

    def describe(self) -> Iterable[Metric]:
        return []


class _KeptQueries(Collector):
    def __init__(self, size: Callable[[], tuple[int, int]]) -> None:
        self._size = size

    def collect(self) -> Iterable[Metric]:
        count, size = self._size()
        yield GaugeMetricFamily("vehicle_search_kept_queries", "Query pictures that are kept.", value=count)
        yield GaugeMetricFamily(
            "vehicle_search_kept_query_bytes", "Bytes of the query pictures that are kept.", value=size
        )

    def describe(self) -> Iterable[Metric]:
        return []


class _Disk(Collector):
    """Nothing is said of a folder that is gone; whoever watches misses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        free = GaugeMetricFamily("vehicle_search_disk_free_bytes", "Free on the disk of the data folder.")
        size = GaugeMetricFamily("vehicle_search_disk_size_bytes", "Size of the disk of the data folder.")
        try:
            disk = shutil.disk_usage(self._folder)
        except OSError:
            return []
        free.add_metric([], disk.free)
        size.add_metric([], disk.total)
        return [free, size]

    def describe(self) -> Iterable[Metric]:
        return []
