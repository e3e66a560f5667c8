"""What the service answers, as frozen dataclasses. Fields that this release does not know are passed over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vehicle_search_client.client_errors import Problem

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
_IMAGE_COLUMNS = ("image_id", "vehicle_id", "camera_id", "captured_at", "viewpoint")


class Recorded(Protocol):
    """What can be a row of a table."""

    def record(self) -> dict[str, Any]: ...


def to_pandas(rows: Iterable[Recorded]) -> "pandas.DataFrame":
    """A data frame with a row for each match, image, result, …; raises ImportError where pandas is missing."""
    return _frame([row.record() for row in rows], ())


@dataclass(frozen=True, kw_only=True)
class _Described:
    image_id: str
    vehicle_id: str | None = None
    camera_id: str | None = None
    captured_at: datetime | None = None
    viewpoint: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    crop: str | None = None

    @property
    def best_viewpoint(self) -> str | None:
        """The most probable viewpoint, None where the model knows none."""
        return max(self.viewpoint, key=lambda name: self.viewpoint[name]) if self.viewpoint else None

    def record(self) -> dict[str, Any]:
        """As a flat row: ``viewpoint`` is the most probable one, each attribute a column ``attribute.NAME``."""
        row = {name: getattr(self, name) for name in _IMAGE_COLUMNS} | {"viewpoint": self.best_viewpoint}
        return row | {f"attribute.{name}": value for name, value in self.attributes.items()}


@dataclass(frozen=True, kw_only=True)
class Match(_Described):
    """An image that was found. ``distance`` is Euclidean; ``embedding`` is there with ``include="embedding"``.

    ``probability``, that it shows the query's vehicle, is there where the model says what its distances mean.
    """

    rank: int
    distance: float
    probability: float | None = None
    embedding: Sequence[float] | None = None

    def record(self) -> dict[str, Any]:
        meaning = {} if self.probability is None else {"probability": self.probability}
        vector = {} if self.embedding is None else {"embedding": self.embedding}
        return {"rank": self.rank, "distance": self.distance} | meaning | super().record() | vector


@dataclass(frozen=True, kw_only=True)
class StoredImage(_Described):
    """An image of a gallery. ``status`` (created, updated) is there where it has just been written."""

    ingested_at: datetime
    status: str | None = None

    def record(self) -> dict[str, Any]:
        return super().record() | {"ingested_at": self.ingested_at}


@dataclass(frozen=True, kw_only=True)
class SearchReply:
    """Matches of one vehicle, nearest first. It is itself a sequence of them."""

    matches: tuple[Match, ...]
    viewpoint: Mapping[str, float] = field(default_factory=dict)
    gallery: str | None = None
    model: str | None = None
    queries: int = 1
    embedding: Sequence[float] | None = None
    attention: Mapping[str, Sequence[Sequence[float]]] | None = None
    timing_ms: Mapping[str, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def __getitem__(self, place: int) -> Match:
        return self.matches[place]

    def records(self) -> list[dict[str, Any]]:
        """A flat row for each match."""
        return [match.record() for match in self.matches]

    def to_pandas(self) -> "pandas.DataFrame":
        """A data frame with a row for each match; raises ImportError where pandas is missing."""
        return _frame(self.records(), ("rank", "distance", *_IMAGE_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class BatchReply:
    """A search for several vehicles: for each picture, in order, its matches, or the problem with the picture."""

    results: tuple[SearchReply | Problem, ...]
    gallery: str | None = None
    model: str | None = None
    timing_ms: Mapping[str, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[SearchReply | Problem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def records(self) -> list[dict[str, Any]]:
        """A flat row for each match, ``query`` is the number of the picture."""
        return [
            {"query": number} | match.record()
            for number, result in enumerate(self.results)
            if isinstance(result, SearchReply)
            for match in result
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """A data frame with a row for each match; raises ImportError where pandas is missing."""
        return _frame(self.records(), ("query", "rank", "distance", *_IMAGE_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """The vector of a picture, D numbers, and its viewpoint."""

    embedding: Sequence[float]
    viewpoint: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EmbeddingsReply:
    """For each picture, in order, its embedding, or the problem with it. ``model`` is the file's fingerprint."""

    model: str
    results: tuple[Embedding | Problem, ...]

    def __iter__(self) -> Iterator[Embedding | Problem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True, kw_only=True)
class AddedImage:
    """What became of one picture: ``status`` is created, updated or failed, with the problem.

    ``number`` is its place in what was sent, ``source`` its path where it has one.
    """

    number: int
    image_id: str | None
    status: str
    problem: Problem | None = None
    source: str | None = None

    def record(self) -> dict[str, Any]:
        """As a flat row."""
        detail = None if self.problem is None else self.problem.detail
        return {
            "number": self.number, "image_id": self.image_id, "status": self.status, "detail": detail,
            "source": self.source,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AddedImages:
    """What became of each picture of a batch, in order."""

    created: int
    updated: int
    failed: int
    results: tuple[AddedImage, ...]

    def __iter__(self) -> Iterator[AddedImage]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True, kw_only=True)
class ImagePage:
    """Some images in order; ``next`` is the cursor of the following page, None on the last.

    ``total`` is how many pass the filters, where it was asked for.
    """

    images: tuple[StoredImage, ...]
    next: str | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A stored crop: the bytes of a JPEG or PNG file, its media type, and the ETag that names its content."""

    data: bytes
    media_type: str
    etag: str | None


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What a camera is called and where it stands.

    ``latitude`` and ``longitude`` in degrees, or ``x`` and ``y`` in metres on the plan (``y`` grows downwards).
    """

    camera_id: str
    name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, kw_only=True)
class PlanReply:
    """The picture of a plan: its path, its ``pixels`` (width, height), and the metres that it shows."""

    picture: str
    sha256: str
    pixels: Sequence[int]
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class CamerasReply:
    """Every camera that somebody has named or placed, the plan, and the address of a map's pictures."""

    cameras: tuple[Camera, ...]
    plan: PlanReply | None = None
    map_tiles: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class TrailReply:
    """A trail: ``sightings`` in the order of time, ``legs`` between them, ``untimed`` images that have no time.

    ``missing`` are ids that the gallery has no image of; ``model`` is the fingerprint of the model's file.
    """

    gallery: str
    model: str
    model_name: str
    embedding_space: str
    made_at: datetime
    request_id: str
    max_speed_kmh: float
    sightings: Sequence[Mapping[str, Any]]
    legs: Sequence[Mapping[str, Any]]
    untimed: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()
    queries: Sequence[Mapping[str, Any]] = ()
    title: str | None = None
    note: str | None = None
    asked_by: str | None = None
    key: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class QueryReply:
    """A picture that the service keeps to search with: its sides when upright, and until when it is kept."""

    query_id: str
    width: int
    height: int
    kept_until: datetime


@dataclass(frozen=True, kw_only=True)
class GalleryReply:
    """A gallery. ``index`` says what finds its images now; of one that is damaged there is ``problem`` and no more."""

    name: str
    images: int = 0
    embedding_space: str = ""
    embedding_dim: int = 0
    viewpoints: Sequence[str] = ()
    kind: str = ""
    vectors: str = ""
    retention_days: float | None = None
    keep_crops: bool = True
    created_at: datetime | None = None
    disk_bytes: int = 0
    last_change: int = 0
    index: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class FacetsReply:
    """By what a gallery can be filtered, as the service tells it: each with ``images``, most first."""

    images: int
    last_change: int
    vehicles: int
    cameras: Sequence[Mapping[str, Any]]
    viewpoints: Sequence[Mapping[str, Any]]
    attributes: Sequence[Mapping[str, Any]]
    first_captured_at: datetime | None = None
    last_captured_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ImportReply:
    """A bulk ingestion job; ``total`` is None until everything was looked at."""

    id: str
    gallery: str
    state: str
    total: int | None
    done: int
    created: int
    updated: int
    unchanged: int
    failed: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    images_per_second: float | None = None
    problem: str | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class MigrationReply:
    """A gallery's move to the loaded model: ``done`` of ``total`` images have a vector of the new space."""

    id: str
    gallery: str
    state: str
    done: int
    total: int
    model: Mapping[str, str]
    from_space: str
    to_space: str
    begun_at: datetime
    ended_at: datetime | None = None
    problem: str | None = None
    failures: int = 0
    failed: Sequence[Mapping[str, str]] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.ended_at is not None


@dataclass(frozen=True, kw_only=True)
class FeedbackReply:
    """What was said of a match: whether it and the query show the ``same`` vehicle."""

    feedback_id: str
    gallery: str
    image_id: str
    same: bool
    given_at: datetime
    query_id: str | None = None
    box: Sequence[int] | None = None
    query_image_id: str | None = None
    distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class FeedbackPage:
    """What was said, the latest first; ``next`` is the cursor of what is older, None at the end."""

    feedback: tuple[FeedbackReply, ...]
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Entries of the audit log as the service tells them; ``next`` is the cursor of what is older, None at the end."""

    entries: Sequence[Mapping[str, Any]]
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class CallerReply:
    """What a key may do, in ``galleries``, None for all. ``key_id`` is None where none is asked for.

    ``read_only``: the service only reads, whoever asks.
    """

    key_id: str | None
    name: str | None
    scopes: Sequence[str]
    galleries: Sequence[str] | None
    expires_at: datetime | None = None
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class KeyReply:
    """A key; ``state`` is works, expired or revoked. ``token`` is there where it was just made, and is not shown.

    ``warning`` says what changed for everybody, where something did.
    """

    id: str
    name: str
    state: str
    scopes: Sequence[str]
    galleries: Sequence[str] | None
    rate: float | None
    burst: int | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    token: str | None = field(default=None, repr=False)
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelReply:
    """The loaded model: its contract, the fingerprint of the file, the execution provider that runs it."""

    fingerprint: str
    provider: str
    contract: Mapping[str, Any]
    previous: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class StatusReply:
    """A service in one page. Of a damaged gallery there are its name and ``problem`` only.

    ``stages`` has ``pictures``, ``p50_seconds`` and ``p99_seconds`` of the last ``recent_seconds``.
    ``disk["folder"]`` is None where the key has not the scope admin; the sizes are where the disk does not tell.
    """

    started_at: datetime
    uptime_seconds: float
    read_only: bool
    draining: bool
    keys: bool
    audit: bool
    versions: Mapping[str, str]
    model: Mapping[str, str]
    galleries: Sequence[Mapping[str, Any]]
    imports: Mapping[str, int]
    queue: Mapping[str, Any]
    disk: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, float | None]]
    recent_seconds: float
    previous: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class ReloadReply:
    """What came of loading the model file anew: ``old`` and ``new`` have ``name``, ``fingerprint`` and ``provider``.

    Not ``changed``: the file is what was loaded already.
    """

    changed: bool
    old: Mapping[str, str]
    new: Mapping[str, str]
    seconds: float


def read_reply(kind: type[T], document: Mapping[str, Any], **more: Any) -> T:
    """A dataclass of what a document has of its fields; ``more`` stands for fields that were read already.

    Raises TypeError where one is missing, ValueError for a time that is none.
    """
    known = {one.name for one in fields(kind)} - more.keys()  # type: ignore[arg-type]
    values = {name: value for name, value in document.items() if name in known}
    for name, value in values.items():
        if name.endswith(("_at", "_until")) and value is not None:
            values[name] = datetime.fromisoformat(value)
    return kind(**values, **more)


def search_reply(document: Mapping[str, Any]) -> SearchReply:
    """Of the answer to one search, or of one result of several."""
    return read_reply(SearchReply, document, matches=tuple(read_reply(Match, one) for one in document["matches"]))


def cameras_reply(document: Mapping[str, Any]) -> CamerasReply:
    """Of the answer that tells all cameras."""
    plan = document["plan"]
    return read_reply(
        CamerasReply, document, cameras=tuple(read_reply(Camera, one) for one in document["cameras"]),
        plan=None if plan is None else read_reply(PlanReply, plan),
    )  # fmt: skip


def _frame(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError as error:
        raise ImportError("pandas is not installed; try: pip install 'vehicle-search-client[pandas]'") from error
    frame = pandas.DataFrame.from_records(list(records))
    return frame if len(frame) else pandas.DataFrame(columns=list(columns))
