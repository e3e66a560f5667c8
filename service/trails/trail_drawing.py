"""The time line of a trail: a lane a camera, sightings as numbered points, legs between them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from service.trails.record_pages import ALARM, FAINT, INK, MARGIN, RULE, WIDTH, RecordPages
from service.trails.trail import Leg, Sighting, Trail

MOST_LANES: Final = 40

_NAMES: Final = 38.0  # millimetres for the names of the lanes
_RADIUS: Final = 2.1
_TICKS: Final = 5
_LANE: Final = 7.0
_TIGHT: Final = 5.0  # a lane's height where there are many
_MANY: Final = 20


def draw_time_line(pages: RecordPages, trail: Trail) -> None:
    """Draw what has a time. With more than ``MOST_LANES`` cameras a sentence stands for the drawing."""
    lanes = list(dict.fromkeys(lane_of(each) for each in trail.sightings))
    if len(lanes) > MOST_LANES:
        pages.write_text(f"{len(lanes)} cameras are too many to be drawn; the sightings follow in the order of time.")
        return
    height = _LANE if len(lanes) <= _MANY else _TIGHT
    pages.need(len(lanes) * height + 12)
    top = pages.get_y() + 2
    first, last = trail.sightings[0].time, trail.sightings[-1].time
    assert first is not None and last is not None  # noqa: S101, PT018  # they have one
    places = {each.number: _place(each, lanes, first, last, top, height) for each in trail.sightings}
    _draw_lanes(pages, lanes, top, height)
    _draw_ticks(pages, first, last, top, len(lanes) * height)
    for leg in trail.legs:
        _draw_leg(pages, leg, places)
    for each in trail.sightings:
        _draw_point(pages, each.number, *places[each.number])
    pages.set_y(top + len(lanes) * height + 8)


def lane_of(sighting: Sighting) -> str:
    """What a sighting's lane is called."""
    return sighting.place or "no camera"


def _place(
    sighting: Sighting, lanes: Sequence[str], first: datetime, last: datetime, top: float, height: float
) -> tuple[float, float]:
    assert sighting.time is not None  # noqa: S101  # only such are drawn
    left, width = MARGIN + _NAMES + 3, WIDTH - _NAMES - 6
    span = (last - first) / timedelta(seconds=1)
    share = 0.5 if not span else (sighting.time - first) / timedelta(seconds=1) / span
    return left + share * width, top + (lanes.index(lane_of(sighting)) + 0.5) * height


def _draw_lanes(pages: RecordPages, lanes: Sequence[str], top: float, height: float) -> None:
    pages.set_draw_color(*RULE)
    pages.set_line_width(0.15)
    for number, name in enumerate(lanes):
        middle = top + (number + 0.5) * height
        pages.line(MARGIN + _NAMES, middle, MARGIN + WIDTH, middle)
        pages.label(name, MARGIN, middle, size=7.5, width=_NAMES - 2)


def _draw_ticks(pages: RecordPages, first: datetime, last: datetime, top: float, height: float) -> None:
    left, width = MARGIN + _NAMES + 3, WIDTH - _NAMES - 6
    count = _TICKS if last > first else 1
    form = "%Y-%m-%d %H:%M" if last - first > timedelta(days=1) else "%H:%M:%S"
    for number in range(count):
        share = number / (count - 1) if count > 1 else 0.5
        x = left + share * width
        pages.set_draw_color(*RULE)
        pages.line(x, top, x, top + height + 1)
        text = (first + share * (last - first)).strftime(form)
        wide = pages.text_width(text, size=6.5)
        pages.label(text, min(x - wide / 2, MARGIN + WIDTH - wide), top + height + 3.5, size=6.5, ink=FAINT, width=40)


def _draw_leg(pages: RecordPages, leg: Leg, places: dict[int, tuple[float, float]]) -> None:
    (x, y), (to_x, to_y) = places[leg.start], places[leg.end]
    pages.set_line_width(0.35)
    if leg.impossible is None:
        pages.set_draw_color(*INK)
        pages.line(x, y, to_x, to_y)
        return
    pages.set_draw_color(*ALARM)
    with pages.local_context():
        pages.set_dash_pattern(dash=1.2, gap=0.9)
        pages.line(x, y, to_x, to_y)
    middle, across, arm = ((x + to_x) / 2, (y + to_y) / 2, 1.1)
    pages.set_line_width(0.5)
    pages.line(middle - arm, across - arm, middle + arm, across + arm)
    pages.line(middle - arm, across + arm, middle + arm, across - arm)


def _draw_point(pages: RecordPages, number: int, x: float, y: float) -> None:
    pages.set_draw_color(*INK)
    pages.set_fill_color(255, 255, 255)
    pages.set_line_width(0.3)
    pages.ellipse(x - _RADIUS, y - _RADIUS, 2 * _RADIUS, 2 * _RADIUS, style="FD")
    text = str(number)
    pages.label(text, x - pages.text_width(text, size=6) / 2, y, size=6, width=10)
