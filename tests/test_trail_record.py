"""The record that is handed over, read back from its PDF."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader

from service.trails.lettering import Lettering
from service.trails.trail import Trail
from service.trails.trail_record import moment_text, trail_pdf
from tests.pictures import jpeg
from tests.trails import NOON, a_sighting, a_trail

PICTURES = {"one": jpeg(1, (400, 300)), "two": jpeg(2, (30, 400))}


@pytest.fixture(scope="module")
def lettering(tmp_path_factory: pytest.TempPathFactory) -> Lettering:
    return Lettering(folders=(tmp_path_factory.mktemp("none"),))


def read(trail: Trail, lettering: Lettering, pictures: dict[str, bytes] = PICTURES) -> PdfReader:
    queries = [jpeg(3, (60, 50))] * len(trail.queries)
    return PdfReader(io.BytesIO(trail_pdf(trail, pictures, queries, lettering)))


def text_of(reader: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text().split()) for page in reader.pages)


def test_it_says_who_asked_for_what_when_of_which_model(lettering: Lettering) -> None:
    reader = read(a_trail(), lettering)
    text = text_of(reader)
    for words in (
        "Red car", "Asked by Officer Łukasik", "Key desk (k1)", "Made 2026-05-04 12:00:00 UTC", "Request r1",
        "Gallery default", "Model tiny", "f" * 64, "Embedding space tiny-space", "Note first second",
        "3, 1 of them without a time; from 2026-05-04 12:00:00 UTC to 2026-05-04 12:00:05 UTC (5 s)",
        "Not in the gallery gone", "What was looked for", "Time line", "Sightings without a time",
        "How to read this", "It is no proof", f"page 1 of {len(reader.pages)}",
    ):  # fmt: skip
        assert words in text, words
    assert reader.metadata is not None
    assert (reader.metadata.title, reader.metadata.author) == ("Red car", "Officer Łukasik")
    assert reader.metadata.creation_date == NOON


def test_each_sighting_has_its_picture_place_time_and_hash(lettering: Lettering) -> None:
    reader = read(a_trail(), lettering)
    text = text_of(reader)
    for words in (
        "1 · 2026-05-04 12:00:00 UTC · Überführung", "Camera gate", "48.000000° N, 11.000000° W", "Vehicle v17",
        "Viewpoint rear (90%)", "Distance 0.1234", "colour: red", f"SHA-256 {'a' * 64}", "3 · no time · no camera",
        "5 s · 1.11 km in a straight line · 801 km/h at least",
        "IMPOSSIBLE: 1.11 km in 5 s would be 801 km/h, more than 150 km/h", "the picture cannot be shown",
    ):  # fmt: skip
        assert words in text, words
    sizes = {image.image.size for page in reader.pages for image in page.images if image.image is not None}
    assert sizes == {(400, 300), (30, 400), (60, 50)}
    assert f"{'b' * 32}[1,2,30,40]" in text.replace(" ", "")
    assert f"SHA-256{'c' * 64}" in text.replace(" ", "")


def test_letters_that_no_font_has_are_not_lost(lettering: Lettering) -> None:
    assert "Überführung [U+5317][U+4EAC]" in text_of(read(a_trail(), lettering))


@pytest.mark.skipif(not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(), reason="no DejaVu here")
def test_names_of_other_scripts_show(lettering: Lettering) -> None:
    trail = a_trail()
    named = replace(trail, wish=replace(trail.wish, title="ქართული ՀԱՅ", asked_by="שלום"))
    reader = read(named, Lettering())
    text = text_of(reader)
    assert "ქართული ՀԱՅ" in text
    assert not [letter for letter in "ქართული ՀԱՅ שלום" if f"[U+{ord(letter):04X}" in text]
    fonts = {str(font["/BaseFont"]) for page in reader.pages for font in _fonts(page)}
    assert any("DejaVu" in name for name in fonts), fonts


def _fonts(page: object) -> list[dict[str, object]]:
    resources = page["/Resources"]["/Font"].get_object()  # type: ignore[index]
    return [font.get_object() for font in resources.values()]


def test_what_there_is_none_of_is_left_out(lettering: Lettering) -> None:
    bare = replace(
        a_trail(), queries=(), untimed=(), missing=(), legs=(), sightings=(a_sighting(1, "one", None, 0),),
    )  # fmt: skip
    bare = replace(
        bare, wish=replace(bare.wish, title=None, note=None, asked_by=None),
        request=replace(bare.request, key_id=None, key_name=None),
    )  # fmt: skip
    text = text_of(read(bare, lettering, {}))
    for words in ("Trail of a vehicle", "Asked by not stated", "Key none was asked for", "Legs 0"):
        assert words in text, words
    for words in ("What was looked for", "without a time", "Not in the gallery", "Note"):
        assert words not in text, words
    text = text_of(read(replace(a_trail(), sightings=(), legs=()), lettering))
    assert "Time line" not in text
    assert "Sightings without a time" in text


def test_a_sighting_is_whole_on_one_page_whatever_its_names(lettering: Lettering) -> None:
    trail = a_trail()
    camera = replace(trail.sightings[0].camera, name="W" * 256)  # type: ignore[type-var]
    many = tuple(replace(a_sighting(n, f"image-{n}" + "x" * 100, camera, n), number=n) for n in range(1, 30))
    reader = read(replace(trail, sightings=many, legs=(), untimed=()), lettering)
    pages = ["".join(page.extract_text().split()) for page in reader.pages]
    for sighting in many:
        (page,) = (page for page in pages if f"Image{sighting.image.image_id}Camera" in page)
        start = page.index(f"{sighting.number}·2026-05-04")
        assert "SHA-256" + "a" * 64 in page[start:], sighting.number
    for number, page in enumerate(pages, start=1):
        assert f"page{number}of{len(pages)}" in page


def test_many_cameras_are_not_drawn(lettering: Lettering) -> None:
    trail = a_trail()
    cameras = [replace(trail.sightings[0].camera, camera_id=f"c{n}", name=None) for n in range(41)]  # type: ignore[type-var]
    many = tuple(a_sighting(n + 1, f"i{n}", camera, n) for n, camera in enumerate(cameras))
    assert "41 cameras are too many to be drawn" in text_of(read(replace(trail, sightings=many, legs=()), lettering))
    assert "too many" not in text_of(read(replace(trail, sightings=many[:40], legs=()), lettering))


def test_moments_for_people() -> None:
    assert moment_text(NOON) == "2026-05-04 12:00:00 UTC"
    assert moment_text(NOON.replace(microsecond=123_456)) == "2026-05-04 12:00:00.123 UTC"
