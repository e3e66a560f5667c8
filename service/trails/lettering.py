"""Fonts for what is printed: names come in any script, and none of their letters may vanish.

Ours has Latin, Greek and Cyrillic letters. What it lacks is looked for in the operator's font, then in those that the
machine has; a letter that none of them has is written as its number, U+1F697.
"""

import logging
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import fontpkg_noto_sans

from index.errors import InvalidValue

_LOG = logging.getLogger("service.lettering")
_OURS: Final = fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"
_FOLDERS: Final = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("~/.local/share/fonts"))
_KNOWN: Final = (  # of a machine, the widest first within a script; read in this order
    "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
    "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansBengali-Regular.ttf", "NotoSansTamil-Regular.ttf", "unifont.otf",
)  # fmt: skip
_TURNING: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # could make a name read as another


@dataclass(frozen=True)
class Font:
    """A font's file, and the code points that it is for."""

    file: Path
    letters: frozenset[int]


class Lettering:
    """Which fonts show a text; ``font`` is the operator's. Raises InvalidValue where that is none.

    Others are read when a letter is wanted that those before have not. Safe to call from any thread.
    """

    def __init__(self, font: Path | None = None, *, folders: Sequence[Path] = _FOLDERS) -> None:
        self._own, self._folders = None if font is None else _Face(font), folders
        if self._own is not None:
            _ = self._own.letters
        self._guard = threading.Lock()
        self._all: tuple[_Face, ...] = ()

    def fonts(self, texts: Iterable[str]) -> list[Font]:
        """Ours, and of the others those that are needed for these texts, each with the letters that it is for."""
        wanted = {ord(letter) for text in texts for letter in text}
        ours, *others = self._faces()
        chosen, left = [Font(ours.file, ours.letters)], wanted - ours.letters - {ord("\n")}
        for face in others:
            if here := left and left & face.letters:
                chosen.append(Font(face.file, frozenset(here)))
                left -= here
        return chosen

    def shown(self, text: str) -> str:
        """A text as it can be shown: letters that no font has, and signs that turn others around, as numbers."""
        faces = self._faces()
        if text.isprintable() and all(ord(letter) in faces[0].letters for letter in text):
            return text
        return "".join(letter if _has(letter, faces) else f"[U+{ord(letter):04X}]" for letter in text)

    def _faces(self) -> "tuple[_Face, ...]":
        with self._guard:
            if not self._all:
                own = () if self._own is None else (self._own,)
                self._all = (_Face(_OURS), *own, *self._of_machine())
            return self._all

    def _of_machine(self) -> "list[_MachineFace]":
        found: dict[str, Path] = {}
        for folder in self._folders:
            for path in sorted(folder.expanduser().rglob("*")):
                if path.name in _KNOWN:
                    found.setdefault(path.name, path)
        return [_MachineFace(found[name]) for name in _KNOWN if name in found]


@dataclass(frozen=True)
class _Face:
    """A font that is read when its letters are asked for; InvalidValue where it cannot be."""

    file: Path

    @cached_property
    def letters(self) -> frozenset[int]:
        """The code points that it has glyphs for."""
        from fontTools.ttLib import TTFont, TTLibError

        try:
            with self.file.open("rb") as opened, TTFont(opened, lazy=True, fontNumber=0) as font:
                letters = frozenset(font.getBestCmap() or ())
        except (OSError, TTLibError, ValueError, KeyError) as error:
            raise InvalidValue(f"record_font {self.file} cannot be read as a TrueType font: {error}") from error
        if not letters:
            raise InvalidValue(f"record_font {self.file} cannot be read as a TrueType font: it has no letters")
        return letters


class _MachineFace(_Face):
    """One that was only found: where it cannot be read it is passed over."""

    @cached_property
    def letters(self) -> frozenset[int]:
        try:
            return super().letters
        except InvalidValue as error:
            _LOG.warning("a font of the machine is passed over: %s", error)
            return frozenset()


def _has(letter: str, faces: Sequence[_Face]) -> bool:
    if letter in "\n ":
        return True
    if unicodedata.category(letter) == "Cc" or _TURNING.match(letter):
        return False
    return any(ord(letter) in face.letters for face in faces)
