"""The page of figures: complete in itself, and true to what people wrote."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.manifest import ManifestRow
from model_export.reporting.attention_sheet import Look
from model_export.reporting.cases import Case, Match, Ranking
from model_export.reporting.figures_page import figures_page


@pytest.fixture
def case(tmp_path: Path) -> Case:
    Image.new("RGB", (30, 40), (100, 100, 100)).save(tmp_path / "p.png")
    row = ManifestRow(line=2, path=tmp_path / "p.png", vehicle_id="<b>&京A", camera_id=None)
    wrong = tuple(Match(row=row, place=place, distance=place / 10, right=False) for place in range(1, 11))
    right = Match(row=replace(row, camera_id='"c2"'), place=37, distance=4.25, right=True)
    return Case(
        probe=row, ranking=Ranking(model="$m", matches=wrong, first_right=right, first_wrong=wrong[0]), baseline=None
    )


class Seen(HTMLParser):
    """Start tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_what_people_wrote_is_text_and_not_markup(case: Case) -> None:
    seen = Seen(figures_page("a < b", "rank-1 $5", [case], [[]]))
    assert "b" not in {tag for tag, _ in seen.tags}
    assert {"a < b", "rank-1 $5", "$m", "<b>&京A · no camera", '<b>&京A · "c2"'} <= set(seen.words)


def test_every_picture_is_in_the_page_and_told_in_words(case: Case) -> None:
    seen = Seen(figures_page("m", "", [case], [[]]))
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert len(pictures) == 1 + 10 + 1
    assert all(str(picture["src"]).startswith("data:image/jpeg;base64,") and picture["alt"] for picture in pictures)
    assert pictures[-1]["alt"] == 'rank 37, right: <b>&京A · "c2"'
    kinds = [str(attributes["class"]) for tag, attributes in seen.tags if tag == "figure"]
    assert kinds == ["probe", *["wrong"] * 10, "right beyond"]
    assert "37 · d 4.250" in seen.words


def test_baseline_above_and_attention_below_where_there_are_any(case: Case) -> None:
    crop, heat = np.zeros((8, 8, 3), np.uint8), np.eye(2, dtype=np.float32)
    look = Look(what="probe", frame="probe", crop=crop, globally=heat, locally=heat, viewpoint="rear 97%")
    both = replace(case, baseline=replace(case.ranking, model="old"))
    words = Seen(figures_page("m", "", [both], [[look]])).words
    assert words.index("baseline old") < words.index("$m") < words.index("attention") < words.index("rear 97%")
    assert "global 0.00 to 1.00" in words
    assert "attention" not in Seen(figures_page("m", "", [both], [[]])).words
