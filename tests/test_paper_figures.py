"""The paper's figures: what comes with the project, and what a reader adds."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.reproducing.paper_figures import UNKNOWN, PaperFigures, read_paper_figures


def test_none_is_given_from_memory() -> None:
    assert read_paper_figures() == {}
    assert PaperFigures() == UNKNOWN


def test_a_readers_figures_are_read_by_data_set_and_row(tmp_path: Path) -> None:
    path = tmp_path / "paper.toml"
    path.write_text("[veri776.split-4-glam]\nrank_1 = 0.5\nmap = 0.25\n[vehicleid.baseline-1]\nparameters = 3\n")
    assert read_paper_figures(path) == {
        "veri776": {"split-4-glam": PaperFigures(rank_1=0.5, map=0.25)},
        "vehicleid": {"baseline-1": PaperFigures(parameters=3)},
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[market.baseline-1]\n", "'market' is not one of veri776, vehicleid"),
        ("[veri776.baseline-9]\n", "'baseline-9' is not one of the rows baseline-1"),
        ("[veri776.baseline-1]\nrank_1 = 50.0\n", "rank_1 is a fraction"),
        ("[veri776.baseline-1]\nrank1 = 0.5\n", "rank1 is not known; rank_1 is"),
        ("[veri776", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text(text)
    with pytest.raises(InvalidValue, match=named):
        read_paper_figures(tmp_path / "paper.toml")
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_paper_figures(tmp_path / "none.toml")
