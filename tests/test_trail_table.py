"""A trail as a spreadsheet reads it."""

import csv
import io
from dataclasses import replace

from service.trails.trail import Trail
from service.trails.trail_table import trail_csv
from tests.trails import a_trail


def rows(trail: Trail) -> list[dict[str, str]]:
    data = trail_csv(trail)
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_a_row_a_sighting_with_the_way_to_it_and_who_asked() -> None:
    trail = a_trail()
    first, second, untimed, missing = rows(trail)
    assert (first["number"], first["camera_name"], first["seconds_since_previous"]) == ("1", "Überführung 北京", "")
    assert (first["latitude"], first["longitude"], first["x"]) == ("48.0", "-11.0", "")
    assert (second["metres_from_previous"], second["impossible"]) == ("1112.0", "yes")
    assert second["reason"] == "1.11 km in 5 s would be 801 km/h, more than 150 km/h"
    assert (untimed["number"], untimed["captured_at"], untimed["impossible"]) == ("3", "", "")
    assert (missing["number"], missing["image_id"], missing["reason"]) == ("", "gone", "not in the gallery")
    for row in (first, second, untimed, missing):
        assert (row["asked_by"], row["model"], row["request_id"]) == ("Officer Łukasik", "f" * 64, "r1")
        assert (row["key_id"], row["key_name"], row["queries"]) == ("k1", "desk", f"{'b' * 32} [1, 2, 30, 40]")
    assert first["crop"] == "/v1/galleries/default/images/one/crop"
    assert first["sha256"] == "a" * 64


def test_no_text_is_a_formula_to_a_spreadsheet_and_numbers_stay_numbers() -> None:
    trail = a_trail()
    for evil in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"):
        (first, *_) = rows(replace(trail, wish=replace(trail.wish, title=evil, note=f"so {evil}", asked_by=evil)))
        assert (first["title"], first["asked_by"]) == (f"'{evil}", f"'{evil}")
        assert first["note"] == f"so {evil}"
        assert first["longitude"] == "-11.0"
