"""What Prometheus reads, in base units. One registry an application; nothing global."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The service's own figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "vehicle_search_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
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
        self._batches = Histogram(
            "vehicle_search_batch_images", "Crops that went through the model together.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.lost_workers = Counter(
            "vehicle_search_lost_workers", "Workers that hung or died and were replaced.", ["how"],
            registry=self.registry,
        )  # fmt: skip
        self.model = Info("vehicle_search_model", "The model that answers.", registry=self.registry)
        self._by_stage = {name: self._stages.labels(name) for name in ("queue", "decode", "embed", "search", "store")}

    def stage(self, name: str, seconds: float) -> None:
        """One picture's time in a stage."""
        self._by_stage[name].observe(seconds)

    def batch(self, crops: int) -> None:
        """A call of the model with so many crops."""
        self._batches.observe(crops)

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

    def watch_imports(self, jobs: Callable[[], Mapping[str, int]]) -> None:
        """Report how many import jobs are in which state, asked for when Prometheus asks."""
        self.registry.register(_Imports(jobs))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


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
