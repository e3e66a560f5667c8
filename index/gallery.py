"""The gallery: what is stored about an image, how it is searched, and the protocol that every home of it keeps.

Two homes keep it: ``index.data_folder`` (one machine) and ``index.milvus`` (a cluster). Code outside this room talks to
``Gallery`` and ``GalleryHome`` only.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from index.contract import Contract
from index.errors import EmbeddingSpaceMismatch

T = TypeVar("T")
Attribute = str | int | float
BuiltKind = Literal["flat", "ivf", "hnsw"]
Kind = Literal["flat", "ivf", "hnsw", "auto"]  # auto: flat while that is quick, then hnsw
Vectors = Literal["fp32", "fp16", "sq8"]  # how the index keeps them; the database keeps fp32, and distances are exact
BUILT_KINDS: Final[tuple[BuiltKind, ...]] = get_args(BuiltKind)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
VECTORS: Final[tuple[Vectors, ...]] = get_args(Vectors)
GroupBy = Literal["vehicle_id"]
Order = Literal["image_id", "newest"]  # newest: what was written last comes first
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
MOST_CAMERAS, MOST_ATTRIBUTES, MOST_VALUES = 1000, 100, 20  # in facets; the last for each attribute
DISTANCE_DECIMALS = 4  # one picture embedded in batches of other sizes differs beyond these


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a client says about an image. Checked by ``index.metadata.check_metadata``; times are UTC."""

    vehicle_id: str | None = None
    camera_id: str | None = None
    captured_at: datetime | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An embedded image on its way into a gallery.

    ``crop`` is the stored form's bytes (``index.crops.stored_crop``), empty where none is kept; ``embedding`` float32
    (D,), ``viewpoint`` float32 (V,) or None, both computed from the decoded ``crop``. ``ingested_at``, UTC, is given
    for an image that was in a gallery before, so that its retention goes on; None: now. ``embedding_space`` is the
    space of the model that embedded it: a gallery that was moved to another meanwhile refuses the image. None: whoever
    adds it knows that it is the gallery's.
    """

    image_id: str
    metadata: Metadata
    crop: bytes
    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None
    ingested_at: datetime | None = None
    embedding_space: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """One image as the gallery holds it. ``crop_name`` is the content name of its crop, None where none is kept."""

    image_id: str
    metadata: Metadata
    ingested_at: datetime
    viewpoint: Mapping[str, float]
    crop_name: str | None


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which images a search, a listing or an erasure means. Values of one field: any of them; fields: all hold.

    ``captured_after`` is inclusive, ``captured_before`` exclusive; an image without the asked field does not pass,
    except ``exclude_camera_id``, which only takes the named cameras out. Attributes are compared by type: a number
    equals numbers, a string strings. ``viewpoint`` compares the most probable name.
    """

    image_id: tuple[str, ...] = ()
    camera_id: tuple[str, ...] = ()
    exclude_camera_id: tuple[str, ...] = ()
    vehicle_id: tuple[str, ...] = ()
    viewpoint: tuple[str, ...] = ()
    captured_after: datetime | None = None
    captured_before: datetime | None = None
    attributes: Mapping[str, tuple[Attribute, ...]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether every image passes."""
        return self == Filters()


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a query is answered. ``max_distance`` is inclusive, Euclidean, and compared with what a match says.

    ``embedding_space`` is that of the queries: a gallery that was moved to another meanwhile refuses them. None:
    whoever asks knows that it is the gallery's. ``embeddings``: whether matches come with their vectors.
    """

    embedding_space: str | None = None
    embeddings: bool = False
    top_k: int = 10
    filters: Filters = field(default_factory=Filters)
    max_distance: float | None = None
    group_by: GroupBy | None = None
    exclude_image_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Match:
    """One answer: ``rank`` from 1, ``distance`` Euclidean (never squared), rounded.

    ``embedding`` float32 (D,) where it was asked for.
    """

    rank: int
    distance: float
    image: StoredImage
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Part of a listing; ``cursor`` is opaque and None on the last page, ``total`` counts what passes, if asked for."""

    images: Sequence[StoredImage]
    cursor: str | None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttributeFacet:
    """An attribute's name, how many images have it, and its most frequent values with their images."""

    name: str
    images: int
    values: Sequence[tuple[Attribute, int]]


@dataclass(frozen=True, kw_only=True)
class Facets:
    """What a gallery can be filtered by, as of ``last_change``, with the number of images, most first.

    ``cameras`` and ``attributes`` are those with most images where there are very many. Times are UTC, None where no
    image has one.
    """

    images: int
    last_change: int
    vehicles: int
    cameras: Sequence[tuple[str, int]]
    viewpoints: Sequence[tuple[str, int]]
    attributes: Sequence[AttributeFacet]
    first_captured_at: datetime | None
    last_captured_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class GallerySpec:
    """What a gallery is created with."""

    embedding_space: str
    embedding_dim: int
    viewpoints: tuple[str, ...]
    kind: Kind = "flat"
    vectors: Vectors = "fp32"
    retention_days: float | None = None
    keep_crops: bool = True

    @classmethod
    def for_model(
        cls, contract: Contract, *, kind: Kind = "flat", vectors: Vectors = "fp32",
        retention_days: float | None = None, keep_crops: bool = True,
    ) -> Self:  # fmt: skip
        """What a gallery for this model's vectors is created with."""
        return cls(
            embedding_space=contract.embedding_space, embedding_dim=contract.embedding_dim,
            viewpoints=contract.viewpoints, kind=kind, vectors=vectors, retention_days=retention_days,
            keep_crops=keep_crops,
        )  # fmt: skip

    def require_space(self, contract: Contract, gallery: str) -> None:
        """Raise EmbeddingSpaceMismatch where the model's vectors may not be compared with the gallery's."""
        if contract.embedding_space != self.embedding_space:
            raise EmbeddingSpaceMismatch(
                f"gallery {gallery} holds vectors of embedding space {self.embedding_space}, the loaded model makes "
                f"{contract.embedding_space}: {self._advice(gallery)}"
            )

    def _advice(self, gallery: str) -> str:
        """What to do where the model is of another space."""
        if not self.keep_crops:
            return "load the model that filled it; it keeps no crops, so it cannot be migrated"
        return (
            "load the model that filled it (a service takes both: --previous-model), or migrate it: POST "
            f"/v1/galleries/{gallery}/migrations, or `vehicle-index migrate`"
        )


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """What finds a gallery's images now, and what becomes of it.

    ``kind`` and ``vectors`` answer for ``rows`` images; ``waiting`` more are looked at one by one until they are taken
    in. ``building``: the kind that is being built beside it. ``problem``: why the last such work was given up, or why
    the wanted device does not answer. ``device``, cpu or cuda, looks for ``rows``; the cpu for those that wait.
    """

    kind: BuiltKind
    vectors: Vectors
    rows: int
    waiting: int
    building: BuiltKind | None = None
    problem: str | None = None
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class GalleryInfo:
    """A gallery described. ``images`` counts what a search can return; ``last_change`` is the change sequence's end."""

    name: str
    spec: GallerySpec
    index: IndexState
    images: int
    last_change: int
    created_at: datetime
    disk_bytes: int


MigrationState = Literal["waiting", "running", "switched", "finished", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A gallery's move to another model: a vector of the new space for every image, beside the old ones, then a switch.

    ``waiting``: begun and not at work, which a restart can mean, too; ``switched``: the new vectors answer, the old
    ones are being removed. ``done`` of ``total`` images have a vector of the new space. ``failed``: some images for
    which there is none, and why; ``failures`` how many there are.
    """

    migration_id: str
    state: MigrationState
    model: str
    fingerprint: str
    from_space: str
    to_space: str
    begun_at: datetime
    ended_at: datetime | None = None
    done: int = 0
    total: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    failures: int = 0

    @property
    def open(self) -> bool:
        """Whether something is left to do."""
        return self.state in ("waiting", "running", "switched")


Look = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
"""What a model does: crops uint8 (N, H, W, 3) into embeddings float32 (N, D) and viewpoints (N, V) or None."""


class Spread(Protocol):
    """Carries pieces of work out, some at a time, and gives their results as they come, in any order.

    It decides how many and when; where it stops early it gives no more results.
    """

    def __call__(self, pieces: Iterable[Callable[[], T]], /) -> Iterator[T]: ...


@dataclass(frozen=True, kw_only=True)
class NewAnswer:
    """What somebody says of an image and another picture: an image (``query_image_id``), or the crop of a kept query.

    ``query_crop`` is the stored form of that crop (``index.crops.stored_crop``), ``box`` what was cut out of the
    query's upright picture: x, y, width, height in pixels. ``distance`` is the one that was shown.
    """

    image_id: str
    same: bool
    query_image_id: str | None = None
    query_id: str | None = None
    box: tuple[int, int, int, int] | None = None
    query_crop: bytes | None = None
    distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What somebody said, as it is kept; ``image_crop`` and ``query_crop`` are the content names of the two pictures.

    ``given_at`` is UTC.
    """

    answer_id: str
    same: bool
    image_id: str
    image_crop: str
    query_crop: str
    given_at: datetime
    query_image_id: str | None = None
    query_id: str | None = None
    box: tuple[int, int, int, int] | None = None
    distance: float | None = None

    @property
    def pair(self) -> str:
        """The two pictures, whichever was the query."""
        return " ".join(sorted((self.image_crop, self.query_crop)))


@dataclass(frozen=True, kw_only=True)
class AnswerPage:
    """Some answers, the latest first; ``cursor`` is opaque and None on the last page."""

    answers: Sequence[Answer]
    cursor: str | None


class Feedback(Protocol):
    """What people said of a gallery's matches. When an image of an answer is erased, or has another picture now, the
    answer is in no list and no export from that moment on, and is erased by the next sweep.

    Safe to call from any thread; what has returned is durable. Raises StorageFull, StorageError, ReadOnly.
    """  # noqa: D205

    def give(self, new: NewAnswer, *, most: int, most_bytes: int) -> tuple[Answer, bool]:
        """Keep an answer, in the place of an earlier one on the same two pictures, and whether it is new.

        Raises ImageNotFound, NothingKept where the gallery has no crop of an image, and TooMuchFeedback beyond
        ``most`` answers or ``most_bytes`` of crops of queries.
        """
        ...

    def page(
        self, *, limit: int, cursor: str | None = None, query_id: str | None = None, query_image_id: str | None = None
    ) -> AnswerPage:
        """A page of the answers, the latest first, or of those on one query, as it was named when they were given.

        InvalidValue for a cursor that this gallery did not give out.
        """
        ...

    def delete(self, answer_id: str) -> None:
        """Erase one; raises FeedbackNotFound."""
        ...

    def delete_all(self) -> int:
        """Erase all; how many there were."""
        ...

    def archive(self) -> Iterator[bytes]:
        """A .zip that the trainer reads, some bytes at a time; see ``index.feedback.training_archive``."""
        ...


class Gallery(Protocol):
    """One gallery. Every method is safe to call from any thread; a method that returns has made its effect durable.

    Methods raise the errors of ``index.errors``: ImageNotFound, EmbeddingNotFinite, EmbeddingSpaceMismatch,
    InvalidValue, StorageFull, ReadOnly.
    """

    name: str

    @property
    def feedback(self) -> Feedback: ...

    @property
    def spec(self) -> GallerySpec:
        """What it was created with; a migration changes ``embedding_space``, ``embedding_dim``, ``viewpoints``."""
        ...

    def info(self) -> GalleryInfo: ...

    def index_state(self) -> IndexState:
        """What ``info`` says of the index, at once."""
        ...

    def count(self) -> int:
        """Images that a search can return."""
        ...

    def log_bytes(self) -> int:
        """Bytes that were written and are not yet brought into the database, at once."""
        ...

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        """Write images in one transaction, in order; an id that exists is replaced whole."""
        ...

    def get(self, image_id: str) -> StoredImage: ...

    def find(self, image_ids: Sequence[str]) -> Mapping[str, StoredImage]:
        """Those of some images that are there, by image_id."""
        ...

    def embedding(self, image_id: str) -> NDArray[np.float32]:
        """The stored vector, float32 (D,)."""
        ...

    def embeddings(self, image_ids: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """The stored vectors, float32 (D,), of those of some images that are there, by image_id."""
        ...

    def whole(self) -> Iterator[Sequence[tuple[StoredImage, NDArray[np.float32]]]]:
        """Every image that a search can return with its vector, float32 (D,), some at a time, in any order.

        Each comes once, as it is at some moment meanwhile. Memory for the ids of all may be taken.
        """
        ...

    def pictures(self, crop_names: Sequence[str]) -> Mapping[str, bytes]:
        """Those of some stored crops, by content name, that can be read and are as they were written."""
        ...

    def crop(self, image_id: str) -> tuple[str, bytes]:
        """Content name and bytes of the stored crop; ImageNotFound where the gallery keeps none."""
        ...

    def page(
        self, filters: Filters, *, limit: int, cursor: str | None = None, offset: int = 0, order: Order = "image_id",
        total: bool = False,
    ) -> Page:  # fmt: skip
        """A page of the listing: what follows a cursor, or what comes after ``offset`` images.

        InvalidValue for a cursor that this gallery did not give out, or not for this order.
        """
        ...

    def facets(self) -> Facets:
        """What its images can be filtered by; asked again while nothing changed it costs nothing."""
        ...

    def change_metadata(self, image_id: str, change: Callable[[Metadata], Metadata]) -> StoredImage:
        """Replace an image's metadata by what ``change`` makes of it; vector, crop and ingestion time stay.

        No other write comes between reading and writing. What ``change`` raises is passed on, and nothing changed.
        """
        ...

    def change_metadata_where(self, filters: Filters, change: Callable[[Metadata], Metadata]) -> int:
        """Replace the metadata of what passes, all or none; returns how many images pass.

        No other write comes in between. What ``change`` raises is passed on, an InvalidValue with the image's id.
        """
        ...

    def delete(self, image_id: str) -> None: ...

    def delete_where(self, filters: Filters) -> int:
        """Erase what passes; returns how many."""
        ...

    def sweep(self) -> int:
        """Erase what retention no longer returns; returns how many images that were."""
        ...

    def search(self, queries: NDArray[np.float32], options: SearchOptions) -> list[list[Match]]:
        """Nearest images of each query, float32 (Q, D): ascending rounded distance, ties by image_id."""
        ...

    def migrations(self) -> list[Migration]:
        """The moves to other models that are known, latest first; at most one is open."""
        ...

    def begin_migration(self, contract: Contract, fingerprint: str) -> tuple[Migration, bool]:
        """The open migration to a model's space, and whether it was begun now; it waits for ``migrate``.

        Vectors that an earlier one wrote are kept. Raises NotMigratable, and GalleryConflict where one to another
        space is open.
        """
        ...

    def migrate(self, contract: Contract, look: Look, spread: Spread, stop: threading.Event) -> Migration:
        """Carry the open migration on to its end, or until ``stop`` is set; what it came to.

        Images that are written meanwhile get vectors of the space that is searched, and their new ones here. Searches
        go on; none is answered from both spaces. Raises NotMigratable where none to the model's space is open.
        """
        ...

    def cancel_migration(self, migration_id: str) -> Migration:
        """Give an open migration up and remove what it wrote; GalleryConflict where it has switched or ended."""
        ...


class GalleryHome(Protocol):
    """All galleries of one place. The gallery ``default`` is created on opening.

    One that is damaged keeps no other from being used: it is not among ``names``, and whatever names it raises
    GalleryUnavailable.
    """

    def names(self) -> list[str]: ...

    def problems(self) -> dict[str, str]:
        """Why each gallery that could not be opened could not."""
        ...

    def get(self, name: str) -> Gallery: ...

    def create(self, name: str, spec: GallerySpec) -> tuple[Gallery, bool]:
        """The gallery and whether it is new; GalleryConflict where it exists with other properties."""
        ...

    def drop(self, name: str) -> None: ...

    def close(self) -> None: ...
