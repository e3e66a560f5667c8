"""The setting ``map_tiles``: where a browser fetches the pictures of a map, if anywhere."""

import re
from typing import Final
from urllib.parse import urlsplit

_PLACES: Final = ("{z}", "{x}", "{y}")
_HOST: Final = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]", re.ASCII)
_ADDRESS: Final = re.compile(r"[!-~]{1,1000}")  # what can stand in a header as it is


def check_map_tiles(template: str) -> str:
    """The template as it is; raises ValueError where it is no address with {z}, {x} and {y}."""
    plain = template
    for place in _PLACES:
        if template.count(place) != 1:
            raise ValueError(
                f"an address with {place} once is expected, as in https://tiles.example/{{z}}/{{x}}/{{y}}.png"
            )
        plain = plain.replace(place, "0")
    if not _ADDRESS.fullmatch(plain) or set(plain) & set("{};,'\"<>\\"):
        raise ValueError("an address of at most 1,000 plain characters is expected, with no other braces")
    parts = urlsplit(plain)
    if parts.scheme not in ("http", "https") or parts.username is not None or not parts.hostname:
        raise ValueError("an address that begins with https://HOST/ or http://HOST/ is expected, without a password")
    if any(place in template.split("/")[2] for place in _PLACES) or not _HOST.fullmatch(_host(parts.netloc)):
        raise ValueError("the host stands for itself: {z}, {x} and {y} belong behind it")
    return template


def tile_origin(template: str) -> str:
    """What a page's policy has to allow for these tiles: scheme, host and port."""
    parts = urlsplit(template)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _host(netloc: str) -> str:
    """Without the port."""
    return re.sub(r":\d+$", "", netloc.lower())
