"""Which pictures show one vehicle, by what people said of pairs and by the vehicles that a gallery names.

Pictures are joined by "same" and by having one vehicle_id; what is joined over others is one vehicle, too. A group that
contradicts itself teaches nothing: somebody was wrong, and nobody knows who. A picture of which was only ever said what
it is not, is a vehicle of its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from index.gallery import Answer, StoredImage

MADE_UP: Final = "feedback-"  # begins the vehicle_id of a group to which the gallery gives none

_NAMED = 16  # characters of a content name in it
_MOST_TOLD = 3  # of one kind of reason


@dataclass(slots=True)
class Picture:
    """A picture by the content name of its crop; of the gallery where it has an ``image_id``, else a query's.

    Images with the same content are one picture: the first gives camera and time, ``vehicle_ids`` are all of them.
    """

    crop: str
    image_id: str | None = None
    query_id: str | None = None
    camera_id: str | None = None
    captured_at: datetime | None = None
    vehicle_ids: tuple[str, ...] = ()
    answer_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class VehicleGroup:
    """Pictures of one vehicle, in order of their names; ``reasons``: why they cannot all be of one."""

    vehicle_id: str
    pictures: tuple[Picture, ...]
    reasons: tuple[str, ...] = ()


@dataclass
class _Forest:
    """Disjoint sets of names."""

    parents: dict[str, str] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """The name of the set that ``name`` is in, which is one of it."""
        while (parent := self.parents.setdefault(name, name)) != name:
            self.parents[name] = self.parents[parent]  # halves the way for the next
            name = parent
        return name

    def join(self, one: str, other: str) -> None:
        """Make one set of two."""
        self.parents[self.root(other)] = self.root(one)


def vehicle_groups(answers: Iterable[tuple[Answer, Mapping[str, StoredImage]]]) -> list[VehicleGroup]:
    """Groups of the pictures that answers are on, in order of their vehicles; with each answer the images of its pair.

    All that is kept of an answer and its pictures is in memory: some 2 kB an answer.
    """
    pictures: dict[str, Picture] = {}
    forest = _Forest()
    bearers: dict[str, str] = {}  # a picture of each vehicle_id
    apart: list[Answer] = []
    for answer, images in answers:
        for crop, image_id in ((answer.image_crop, answer.image_id), (answer.query_crop, answer.query_image_id)):
            picture = pictures.setdefault(crop, Picture(crop))
            _describe(picture, None if image_id is None else images[image_id], answer)
            for vehicle_id in picture.vehicle_ids:
                forest.join(bearers.setdefault(vehicle_id, crop), crop)
        if answer.same:
            forest.join(answer.image_crop, answer.query_crop)
        else:
            apart.append(answer)
    return _grouped(pictures, forest, apart)


def _describe(picture: Picture, image: StoredImage | None, answer: Answer) -> None:
    picture.answer_ids.append(answer.answer_id)
    if image is None:
        picture.query_id = picture.query_id or answer.query_id
        return
    metadata = image.metadata
    if picture.image_id is None:
        picture.image_id, picture.camera_id = image.image_id, metadata.camera_id
        picture.captured_at = metadata.captured_at
    if metadata.vehicle_id is not None and metadata.vehicle_id not in picture.vehicle_ids:
        picture.vehicle_ids += (metadata.vehicle_id,)


def _grouped(pictures: Mapping[str, Picture], forest: _Forest, apart: Iterable[Answer]) -> list[VehicleGroup]:
    members: dict[str, list[Picture]] = defaultdict(list)
    for crop in sorted(pictures):
        members[forest.root(crop)].append(pictures[crop])
    denied: dict[str, list[str]] = defaultdict(list)
    for answer in apart:
        if (root := forest.root(answer.image_crop)) == forest.root(answer.query_crop):
            denied[root].append(answer.answer_id)
    groups = [_group(pictures, denied.get(root, [])) for root, pictures in members.items()]
    return sorted(groups, key=lambda group: (group.vehicle_id, group.pictures[0].crop))


def _group(pictures: list[Picture], denied: list[str]) -> VehicleGroup:
    vehicles = sorted({vehicle for picture in pictures for vehicle in picture.vehicle_ids})
    reasons = []
    if len(vehicles) > 1:
        reasons.append(f"joins the vehicles {_few(vehicles)}")
    if denied:
        reasons.append(f"says both: not the same by {_few(sorted(denied))}, the same by other answers or vehicle_ids")
    return VehicleGroup(
        vehicle_id=vehicles[0] if vehicles else MADE_UP + pictures[0].crop[:_NAMED], pictures=tuple(pictures),
        reasons=tuple(reasons),
    )  # fmt: skip


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_TOLD
    return ", ".join(names[:_MOST_TOLD]) + (f" and {more:,} more" if more > 0 else "")
