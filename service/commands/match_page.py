"""What a search found as one HTML page with the pictures; it needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Final

from PIL import Image

from index.crops import Box, cut, read_picture
from index.errors import PictureError
from index.html_page import html_page, inline_jpeg
from service.wire.documents import time_text
from vehicle_search_client import Match, SearchReply

_SIDE: Final = 200  # pixels
_STYLE: Final = """
section { display: flex; gap: 1.1rem .9rem; flex-wrap: wrap; } h2 { flex-basis: 100%; margin: 0; }
figure { margin: 0; width: 204px; font-size: .82rem; line-height: 1.4; }
figure div { width: 200px; height: 200px; display: grid; place-items: center; background: #eceef1;
       border: 2px solid transparent; color: var(--faint); }
figure.query div { border-color: #0072b2; } figcaption { overflow-wrap: anywhere; margin-top: .25rem; }
figcaption b { font-size: 1rem; }
"""


def match_page(
    names: Sequence[str], pictures: Sequence[bytes], found: SearchReply, crops: Sequence[bytes | None], *,
    box: Box | None, url: str, max_pixels: int,
) -> str:  # fmt: skip
    """The page of a search for ``pictures``, called ``names``; ``crops`` are the matches' pictures, in their order.

    Raises PictureError where a searched picture cannot be read.
    """
    queries = [_query(name, _upright(data, box, max_pixels)) for name, data in zip(names, pictures, strict=True)]
    matches = [_match(match, _or_none(crop, max_pixels)) for match, crop in zip(found, crops, strict=True)]
    heading = "1 match" if len(found) == 1 else f"{len(found)} matches"
    return html_page(
        f"{', '.join(names)} in gallery {found.gallery}", _summary(found, url),
        "\n".join(_section(*part) for part in (("", queries), (f"<h2>{heading}, nearest first</h2>", matches))),
        width=1140, style=_STYLE,
    )  # fmt: skip


def _section(heading: str, figures: Sequence[str]) -> str:
    return f"<section>{heading}{''.join(figures)}</section>"


def _figure(kind: str, shown: str, caption: str) -> str:
    return f'<figure class="{kind}"><div>{shown}</div><figcaption>{caption}</figcaption></figure>'


def _summary(found: SearchReply, url: str) -> str:
    viewpoint = ", ".join(f"{name} {p:.0%}" for name, p in found.viewpoint.items())
    seen = f"Viewpoint of the query: {viewpoint}. " if viewpoint else ""
    return f"{seen}Distances are Euclidean. Asked of {url}, model {(found.model or '')[:12]}."


def _upright(data: bytes, box: Box | None, max_pixels: int) -> Image.Image:
    picture = read_picture(data, max_pixels=max_pixels)
    return picture if box is None else cut(picture, box)


def _or_none(data: bytes | None, max_pixels: int) -> Image.Image | None:
    try:
        return None if data is None else read_picture(data, max_pixels=max_pixels)
    except PictureError:  # a service with larger limits may keep larger pictures
        return None


def _query(name: str, picture: Image.Image) -> str:
    return _figure("query", _shown(picture, name), f"{escape(name)}, {picture.width} × {picture.height}")


def _match(match: Match, picture: Image.Image | None) -> str:
    shown = "no crop is kept" if picture is None else _shown(picture, match.image_id)
    time = None if match.captured_at is None else time_text(match.captured_at)
    seen = " · ".join(each for each in (match.vehicle_id, match.camera_id, match.best_viewpoint) if each)
    said = [f"{name} {value}" for name, value in match.attributes.items()]
    lines = "<br>".join(escape(line) for line in (match.image_id, seen, time, ", ".join(said)) if line)
    meaning = "" if match.probability is None else f", {match.probability:.1%} the same"
    return _figure("match", shown, f"<b>{match.rank}</b> at {match.distance:.4f}{meaning}<br>{lines}")


def _shown(picture: Image.Image, name: str) -> str:
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return f'<img alt="{escape(name)}" src="{inline_jpeg(small)}">'
