"""Fonts for names of any script."""

import shutil
from pathlib import Path

import pytest

from index.errors import InvalidValue
from service.trails.lettering import _OURS, Lettering

DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.fixture
def bare(tmp_path: Path) -> Lettering:
    """On a machine without fonts."""
    return Lettering(folders=(tmp_path / "none",))


def test_ours_is_enough_for_latin_greek_and_cyrillic_names(bare: Lettering) -> None:
    text = "Überführung Łódź – Москва, Ελλάδα, ğ ı İ ſ ě ř ű “x” 5 €\nzwei"
    assert bare.shown(text) == text
    assert [font.file for font in bare.fonts([text])] == [_OURS]


def test_a_letter_that_no_font_has_is_written_as_its_number(bare: Lettering) -> None:
    assert bare.shown("北 gate 🚗") == "[U+5317] gate [U+1F697]"
    assert len(bare.fonts(["北"])) == 1


def test_signs_that_would_turn_a_name_around_are_shown(bare: Lettering) -> None:
    assert bare.shown("gate\u202egnp.a\u2066\x07\t") == "gate[U+202E]gnp.a[U+2066][U+0007][U+0009]"


@pytest.mark.skipif(not DEJAVU.exists(), reason="no DejaVu on this machine")
def test_what_ours_lacks_is_looked_for_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    shutil.copy(DEJAVU, tmp_path / "deep/er/DejaVuSans.ttf")
    machine = Lettering(folders=(tmp_path, tmp_path / "none"))
    assert machine.shown("שלום 北") == "שלום [U+5317]"
    ours, other = machine.fonts(["gate שלום", "北"])
    assert (ours.file, other.file) == (_OURS, tmp_path / "deep/er/DejaVuSans.ttf")
    assert other.letters == set(map(ord, "שלום"))
    assert [font.file for font in machine.fonts(["gate"])] == [_OURS]
    own = Path(shutil.copy(DEJAVU, tmp_path / "own.ttf"))
    assert [font.file for font in Lettering(own, folders=(tmp_path,)).fonts(["שלום"])] == [_OURS, own]


def test_a_font_of_the_machine_that_is_broken_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "DejaVuSans.ttf").write_bytes(b"no font")
    machine = Lettering(folders=(tmp_path,))
    assert machine.shown("gate") == "gate"
    assert not caplog.records  # it was not wanted
    assert machine.shown("北") == "[U+5317]"
    assert "passed over" in caplog.text


def test_an_operators_font_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "font.ttf"
    for content in (None, b"", b"no font", b"\0\1\0\0" + bytes(100)):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidValue, match=r"record_font .*font\.ttf cannot be read"):
            Lettering(file)
