"""Where a map's pictures come from."""

import pytest

from service.settings import Settings
from service.trails.map_tiles import check_map_tiles, tile_origin


@pytest.mark.parametrize(
    ("template", "origin"),
    [
        ("https://tiles.example/{z}/{x}/{y}.png", "https://tiles.example"),
        ("http://Tiles.example:8080/a/{z}/{y}/{x}@2x.png?key=k%20", "http://tiles.example:8080"),
        ("https://[2001:db8::7]:8443/{z}/{x}/{y}", "https://[2001:db8::7]:8443"),
    ],
)
def test_an_address_and_its_origin(template: str, origin: str) -> None:
    assert check_map_tiles(template) == template
    assert tile_origin(template) == origin


@pytest.mark.parametrize(
    "template",
    [
        "", "https://tiles.example/", "https://tiles.example/{z}/{x}.png", "https://tiles.example/{z}/{x}/{y}/{y}.png",
        "https://{x}.tiles.example/{z}/{y}.png", "/{z}/{x}/{y}.png", "ftp://tiles.example/{z}/{x}/{y}",
        "https://me:secret@tiles.example/{z}/{x}/{y}", "https://{s}.tiles.example/{z}/{x}/{y}",
        "https://tiles.example;script-src *;/{z}/{x}/{y}", "https://tiles.example/{z}/{x}/{y}\nx: y",
        "https://*/{z}/{x}/{y}",
        "https://tiles.example/{s}/{z}/{x}/{y}", "https://tiles.example/{z}/{x}/{y};", "https://tiles.example/'{z}/{x}/{y}", "https://tiles.example/{z}/{x}/{y}" + "a" * 1000, "javascript:{z}{x}{y}",
        "https:///{z}/{x}/{y}", "https://tiles.example:nine/{z}/{x}/{y}", "https://tiles example/{z}/{x}/{y}",
    ],
)  # fmt: skip
def test_what_is_none_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"expected|itself"):
        Settings(map_tiles=template)
