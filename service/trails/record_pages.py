"""Pages of a record, A4: lines that wrap, facts, pictures, a foot with the page's number. Millimetres throughout."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, WrapMode, XPos, YPos

from service.trails.lettering import Lettering

MARGIN: Final = 17.0
WIDTH: Final = 210.0 - 2 * MARGIN
INK: Final = (20, 20, 24)
FAINT: Final = (96, 96, 104)
RULE: Final = (200, 200, 206)
ALARM: Final = (170, 20, 20)

_FOOT: Final = 15.0
_BELOW: Final = MARGIN + 4  # that is left free at the foot
_LABEL: Final = 31.0  # width of a fact's name
_FAMILY: Final = "ours"
_LINE: Final = 0.45  # millimetres a point of type


@dataclass(frozen=True, kw_only=True)
class About:
    """What the file says of itself, and what stands at the foot of each page."""

    title: str
    author: str
    made_at: datetime
    foot: str


class RecordPages(FPDF):
    """A document that is written from top to bottom; ``texts`` are all that will be, for the choice of fonts."""

    def __init__(self, about: About, lettering: Lettering, texts: Iterable[str]) -> None:
        super().__init__(format="A4")
        self._foot, self._lettering = about.foot, lettering
        self.set_margins(MARGIN, MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(True, margin=_BELOW)
        first, *others = lettering.fonts(lettering.shown(text) for text in texts)
        self._plain = first.letters
        self.add_font(_FAMILY, fname=first.file)
        names = [f"other{number}" for number in range(len(others))]
        for name, font in zip(names, others, strict=True):
            self.add_font(name, fname=font.file, unicode_range=sorted(font.letters))
        self.set_fallback_fonts(names, exact_match=False)
        self.set_font(_FAMILY, size=9)
        self.set_lang("en")
        self.set_title(lettering.shown(about.title))
        self.set_author(lettering.shown(about.author))
        self.set_creator(f"vehicle-search {version('vehicle-search')}")
        self.set_creation_date(about.made_at)
        self.add_page()

    def footer(self) -> None:
        """The foot of each page; called by the base class."""
        self.set_y(-_FOOT)
        self.set_text_color(*FAINT)
        half = WIDTH - 25
        self.cell(half, 4, self._clipped(self._in_type(self._foot, 7), half))
        self.set_text_shaping(False)
        self.cell(25, 4, f"page {self.page_no()} of {{nb}}", align="R")

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """No page is begun meanwhile."""
        self.set_auto_page_break(False)
        try:
            yield
        finally:
            self.set_auto_page_break(True, margin=_BELOW)

    @property
    def bottom(self) -> float:
        """How far down may be written."""
        return self.page_break_trigger

    def need(self, height: float) -> None:
        """Go on to the next page where less than this is left."""
        if self.get_y() + height > self.bottom:
            self.add_page()

    def line_height(self, size: float) -> float:
        """Of type of this size in points."""
        return size * _LINE

    def text_width(self, text: str, *, size: float) -> float:
        """Of one line."""
        return self.get_string_width(self._in_type(text, size))

    def text_height(self, text: str, *, size: float, width: float) -> float:
        """What ``write_text`` will take."""
        shown = self._in_type(text, size)
        if "\n" not in shown and self.get_string_width(shown) <= width:
            return self.line_height(size)
        lines = self.multi_cell(
            width, self.line_height(size), shown, dry_run=True, align="L", output=MethodReturnValue.LINES,
            wrapmode=WrapMode.WORD,
        )  # fmt: skip
        return len(lines) * self.line_height(size)  # type: ignore[arg-type]

    def write_text(
        self, text: str, *, size: float = 9, width: float = WIDTH, x: float = MARGIN, ink: tuple[int, int, int] = INK,
        align: str = "L",
    ) -> None:  # fmt: skip
        """Lines that wrap, from ``x`` and the present height downwards."""
        shown = self._in_type(text, size)
        self.set_text_color(*ink)
        self.set_x(x)
        self.multi_cell(
            width, self.line_height(size), shown, align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT,
            wrapmode=WrapMode.WORD,
        )  # fmt: skip

    def write_heading(self, text: str, *, room: float = 22.0) -> None:
        """Of a part, on a page that has ``room`` for it and what follows."""
        self.need(room)
        self.ln(3)
        self.write_text(text, size=12.5)
        self.ln(1)

    def write_fact(self, name: str, value: str) -> None:
        """A name and, beside it, what is so."""
        self.write_fact_beside(name, value, x=MARGIN, width=WIDTH, label=_LABEL, size=9)

    def write_fact_beside(
        self, name: str, value: str, *, x: float, width: float, label: float, size: float
    ) -> None:  # fmt: skip
        """As ``write_fact``, within a column; ``label`` is the width of the name."""
        top = self.get_y()
        self.write_text(name, size=size, width=label, x=x, ink=FAINT)
        if self.get_y() > top:  # else the name has begun another page
            self.set_y(top)
        self.write_text(value, size=size, width=width - label, x=x + label)
        self.ln(0.5)

    def label(
        self, text: str, x: float, y: float, *, size: float, ink: tuple[int, int, int] = INK, width: float
    ) -> None:
        """One line whose middle is at a place, clipped to a width; nothing moves."""
        shown = self._in_type(text, size)
        self.set_text_color(*ink)
        before, height = self.get_y(), self.line_height(size)
        with self.unbroken():
            self.set_xy(x, y - height / 2)
            self.cell(width, height, self._clipped(shown, width))
        self.set_y(before)

    def picture(self, jpeg: bytes | None, what: str, *, x: float, y: float, width: float, height: float) -> None:
        """A picture within a frame, whole; where there is none, ``what`` says so."""
        self.set_draw_color(*RULE)
        self.set_line_width(0.15)
        self.rect(x, y, width, height)
        if jpeg is not None:
            self.image(io.BytesIO(jpeg), x=x, y=y, w=width, h=height, keep_aspect_ratio=True, alt_text=what)
            return
        before = self.get_y()
        self.set_y(y + height / 2 - 3)
        self.write_text(what, size=7.5, width=width - 4, x=x + 2, ink=FAINT, align="C")
        self.set_y(before)

    def rule(self) -> None:
        """A thin line across."""
        self.set_draw_color(*RULE)
        self.set_line_width(0.15)
        self.line(MARGIN, self.get_y(), MARGIN + WIDTH, self.get_y())

    def _in_type(self, text: str, size: float) -> str:
        """A text as it can be shown, in this size from now on; letters are joined and turned where theirs ask for it.

        Doing so for Latin ones, too, takes four times as long.
        """
        shown = self._lettering.shown(text)
        self.set_font(_FAMILY, size=size)
        self.set_text_shaping(any(letter != "\n" and ord(letter) not in self._plain for letter in shown))
        return shown

    def _clipped(self, text: str, width: float) -> str:
        text = " ".join(text.split())
        if self.get_string_width(text) <= width:
            return text
        while text and self.get_string_width(text + "…") > width:
            text = text[: -max(1, len(text) // 20)]
        return text + "…"
