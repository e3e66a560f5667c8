"""A trail as a record that can be handed over: a PDF that says who asked what, when, of which model, with pictures."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from index.camera import Camera
from service.trails.lettering import Lettering
from service.trails.record_pages import ALARM, FAINT, MARGIN, WIDTH, About, RecordPages
from service.trails.trail import Leg, Sighting, Trail, duration_text, length_text
from service.trails.trail_drawing import draw_time_line, lane_of

_TITLE: Final = "Trail of a vehicle"
_PICTURE: Final = (52.0, 39.0)  # millimetres
_QUERY: Final = (41.0, 31.0)
_QUERIES_A_ROW: Final = 4
_GAP: Final = 4.0
_LABEL: Final = 19.0  # width of the names of a sighting's facts
_SMALL: Final = 7.5  # points
_CARD: Final = 62.0  # millimetres that a heading and a sighting take, about
_LONGEST_ATTRIBUTES: Final = 300  # characters
_ALPHABET: Final = "".join(map(chr, range(32, 127))) + "°–—·…×↓✕≥„“"
_HOW_TO_READ: Final = (
    "Sightings were chosen by people from what a comparison of pictures found. A distance says how alike two pictures "
    "are to the model; 0 is the same picture. It is no proof that they show the same vehicle.",
    "Times are those that came with the pictures, in UTC; the clocks of the cameras are taken to be right. Ways are "
    "straight lines between the positions that were set for the cameras, so that a vehicle drove at least as far and "
    "as fast as stated.",
    "Pictures are shown smaller here. SHA-256 is that of the stored picture, which the service gives out by the "
    "gallery and the image's id; of a picture that was looked for, that of the file as it was sent.",
)


def trail_pdf(
    trail: Trail, pictures: Mapping[str, bytes], queries: Sequence[bytes | None], lettering: Lettering
) -> bytes:  # fmt: skip
    """The record. ``pictures`` are small JPEGs of sightings by image id, ``queries`` of the queries, in order.

    It says so where one is missing.
    """
    wish = trail.wish
    title = wish.title or _TITLE
    about = About(
        title=title, author=wish.asked_by or trail.request.key_name or "", made_at=trail.request.made_at,
        foot=f"{title} · request {trail.request.request_id}",
    )  # fmt: skip
    pages = RecordPages(about, lettering, _texts(trail))
    pages.write_text(title, size=18)
    pages.ln(2)
    for name, value in _facts(trail):
        pages.write_fact(name, value)
    if wish.note is not None:
        pages.write_fact("Note", wish.note)
    if trail.queries:
        _write_queries(pages, trail, queries)
    if trail.sightings:
        pages.write_heading("Time line")
        draw_time_line(pages, trail)
        pages.write_heading("Sightings", room=_CARD)
    legs = {leg.end: leg for leg in trail.legs}
    for sighting in trail.sightings:
        _write_sighting(pages, sighting, pictures.get(sighting.image.image_id), legs.get(sighting.number))
    if trail.untimed:
        pages.write_heading("Sightings without a time", room=_CARD)
        for sighting in trail.untimed:
            _write_sighting(pages, sighting, pictures.get(sighting.image.image_id), None)
    pages.write_heading("How to read this")
    for paragraph in _HOW_TO_READ:
        pages.write_text(paragraph, size=8, ink=FAINT)
        pages.ln(1)
    return bytes(pages.output())


def moment_text(time: datetime) -> str:
    """A time in UTC, for people; milliseconds only where there are any."""
    fraction = f".{time.microsecond // 1000:03d}" if time.microsecond >= 1000 else ""
    return f"{time:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def _facts(trail: Trail) -> Iterator[tuple[str, str]]:
    wish, request, model = trail.wish, trail.request, trail.model
    yield "Asked by", wish.asked_by or "not stated"
    yield "Key", "none was asked for" if request.key_id is None else f"{request.key_name} ({request.key_id})"
    yield "Made", moment_text(request.made_at)
    yield "Request", request.request_id
    yield "Gallery", trail.gallery
    yield "Model", model.name
    yield "Fingerprint", f"{model.fingerprint} (SHA-256 of the model's file)"
    yield "Embedding space", model.embedding_space
    yield "Sightings", _counted(trail)
    impossible = sum(leg.impossible is not None for leg in trail.legs)
    unknown = sum(leg.metres is None for leg in trail.legs)
    measured = "" if not unknown else f"; not measured for want of positions: {unknown}"
    yield "Legs", f"{len(trail.legs)}; impossible at up to {wish.max_speed:g} km/h: {impossible}{measured}"
    if trail.missing:
        yield "Not in the gallery", ", ".join(trail.missing)


def _counted(trail: Trail) -> str:
    count, without = len(trail.sightings), len(trail.untimed)
    text = f"{count + without}"
    if without:
        text += f", {without} of them without a time"
    if count:
        first, last = trail.sightings[0].time, trail.sightings[-1].time
        assert first is not None and last is not None  # noqa: S101, PT018  # they have one
        text += f"; from {moment_text(first)} to {moment_text(last)}"
        text += f" ({duration_text((last - first).total_seconds())})" if last > first else ""
    return text


def _write_queries(pages: RecordPages, trail: Trail, pictures: Sequence[bytes | None]) -> None:
    pages.write_heading("What was looked for" if len(trail.queries) == 1 else "What was looked for, taken together")
    width, height = _QUERY
    for start in range(0, len(trail.queries), _QUERIES_A_ROW):
        pages.need(height + 12)
        top = pages.get_y()
        lowest = top
        row = zip(trail.queries, pictures, strict=True)
        for number, (query, shown) in enumerate(islice(row, start, start + _QUERIES_A_ROW)):
            x = MARGIN + number * (width + _GAP)
            what = f"query {query.name}" if shown is not None else _no_picture(query.sha256)
            pages.picture(shown, what, x=x, y=top, width=width, height=height)
            pages.set_y(top + height + 1)
            pages.write_text(query.name, size=7.5, x=x, width=width)
            if query.sha256 is not None:
                pages.write_text(f"SHA-256 {query.sha256}", size=5.5, x=x, width=width, ink=FAINT)
            lowest = max(lowest, pages.get_y())
        pages.set_y(lowest + 2)


def _write_sighting(pages: RecordPages, sighting: Sighting, picture: bytes | None, leg: Leg | None) -> None:
    """One sighting with the way to it before it; both on one page."""
    width, height = _PICTURE
    x = MARGIN + width + _GAP
    beside = WIDTH - width - _GAP
    head, facts = _head(sighting), list(_sighting_facts(sighting))
    text = pages.text_height(head, size=11, width=beside) + 1
    text += sum(pages.text_height(value, size=_SMALL, width=beside - _LABEL) + 0.5 for _, value in facts)
    pages.need(max(text, height) + 4 + (0 if leg is None else 9))
    if leg is not None:
        _write_leg(pages, leg)
    pages.rule()
    top = pages.get_y() + 2
    what = (
        f"sighting {sighting.number}, {sighting.image.image_id}"
        if picture is not None
        else _no_picture(sighting.sha256)
    )
    pages.picture(picture, what, x=MARGIN, y=top, width=width, height=height)
    pages.set_y(top)
    pages.write_text(head, size=11, x=x, width=beside)
    pages.ln(1)
    for name, value in facts:
        pages.write_fact_beside(name, value, x=x, width=beside, label=_LABEL, size=_SMALL)
    pages.set_y(max(pages.get_y(), top + height) + 2)


def _head(sighting: Sighting) -> str:
    time = "no time" if sighting.time is None else moment_text(sighting.time)
    return f"{sighting.number} · {time} · {lane_of(sighting)}"


def _sighting_facts(sighting: Sighting) -> Iterator[tuple[str, str]]:
    image = sighting.image
    metadata = image.metadata
    yield "Image", image.image_id
    if metadata.camera_id is not None:
        yield "Camera", metadata.camera_id
    if sighting.camera is not None and (position := _position(sighting.camera)):
        yield "Position", position
    if metadata.vehicle_id is not None:
        yield "Vehicle", metadata.vehicle_id
    if sighting.viewpoint is not None:
        yield "Viewpoint", f"{sighting.viewpoint} ({image.viewpoint[sighting.viewpoint]:.0%})"
    if sighting.distance is not None:
        yield "Distance", f"{sighting.distance:.4f}"
    if metadata.attributes:
        text = ", ".join(f"{name}: {value}" for name, value in metadata.attributes.items())
        yield "Attributes", text if len(text) <= _LONGEST_ATTRIBUTES else f"{text[:_LONGEST_ATTRIBUTES]}…"
    yield "SHA-256", sighting.sha256 or "no picture is kept"


def _position(camera: Camera) -> str:
    if camera.x is not None and camera.y is not None:
        return f"{camera.x:,.1f} m from the plan's left, {camera.y:,.1f} m from its top"
    if camera.latitude is None or camera.longitude is None:
        return ""
    north, east = ("S" if camera.latitude < 0 else "N"), ("W" if camera.longitude < 0 else "E")
    return f"{abs(camera.latitude):.6f}° {north}, {abs(camera.longitude):.6f}° {east}"


def _write_leg(pages: RecordPages, leg: Leg) -> None:
    parts = [duration_text(leg.seconds)]
    if leg.metres is None:
        parts.append("the way cannot be measured")
    elif leg.metres:
        parts.append(f"{length_text(leg.metres)} in a straight line")
        if leg.kmh is not None:
            parts.append(f"{leg.kmh:,.0f} km/h at least")
    else:
        parts.append("the same place")
    pages.write_text(f"↓  {' · '.join(parts)}", size=8.5, ink=FAINT)
    if leg.impossible is not None:
        pages.write_text(f"✕  IMPOSSIBLE: {leg.impossible}", size=8.5, ink=ALARM)
    pages.ln(1)


def _no_picture(sha256: str | None) -> str:
    return "no picture is kept" if sha256 is None else "the picture cannot be shown"


def _texts(trail: Trail) -> Iterator[str]:
    """All that will be written, for the choice of fonts."""
    wish, request = trail.wish, trail.request
    yield from (_ALPHABET, wish.title or "", wish.note or "", wish.asked_by or "", request.key_name or "")
    yield from (trail.model.name, trail.model.embedding_space)
    for sighting in trail.every():
        yield lane_of(sighting)
        yield from (value for _, value in _sighting_facts(sighting))
