"""Re-identification figures against a table computed by hand."""

import numpy as np
import pytest

from index.errors import InvalidValue
from model_export.measuring.evaluation import evaluate, summarize
from model_export.measuring.scoring import Scores

GALLERY = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)
LABELS = [("a", "c1"), ("b", "c2"), ("a", "c2"), ("b", "c1"), ("a", "c3")]


def test_a_table_computed_by_hand() -> None:
    # probe a/c1 at 0: its own camera's a is left out; order b1, a2, b3, a4 → hits at 2 and 4 → AP (1/2 + 2/4) / 2,
    #   inverse penalty 2/4
    # probe b/c1 at 3: b/c1 is left out; order a2 and a4 (both at 1), b1, a0 → hit at 3 → AP 1/3, inverse penalty 1/3
    # probe x/c1: no match → excluded
    probes = np.array([[0.0], [3.0], [9.0]], np.float32)
    figures = evaluate(probes, [("a", "c1"), ("b", "c1"), ("x", "c1")], GALLERY, LABELS)
    assert figures.map == pytest.approx((0.5 + 1 / 3) / 2)
    assert figures.minp == pytest.approx((0.5 + 1 / 3) / 2)
    assert (figures.rank_1, figures.rank_5) == (0.0, 1.0)
    assert (figures.probes, figures.excluded, figures.gallery) == (2, 1, 5)
    assert figures.cmc == (0.0, 0.5, 1.0, 1.0, 1.0)
    assert str(figures).endswith("2 probes × 5, 1 without a match")


def test_the_last_match_counts_for_minp_only() -> None:
    # probe a/c9 at 0, nothing left out: hits at 1, 3 and 5 → AP (1 + 2/3 + 3/5) / 3, inverse penalty 3/5
    figures = evaluate(GALLERY[:1], [("a", "c9")], GALLERY, LABELS)
    assert (figures.map, figures.minp, figures.rank_1) == pytest.approx(((1 + 2 / 3 + 3 / 5) / 3, 3 / 5, 1))


def test_a_gallery_of_one_and_a_short_one() -> None:
    figures = evaluate(GALLERY[:1], [("b", "c1")], GALLERY[1:2], LABELS[1:2])
    assert (figures.rank_1, figures.rank_10, figures.map, figures.minp) == (1, 1, 1, 1)


def test_a_model_that_tells_nothing_apart_earns_nothing_by_order() -> None:
    same = np.zeros((12, 4), np.float32)
    labels = [(f"v{n // 2}", f"c{n % 2}") for n in range(12)]
    figures = evaluate(same, labels, same, labels)
    assert (figures.rank_1, figures.rank_10) == (0, 0)
    assert figures.map == pytest.approx(1 / 11)


def test_other_cameras_only_leaves_out_all_that_the_probes_camera_saw() -> None:
    # probe b/c2 at 0: of c1 and c3 are left a0, b3, a4 → hit at 2
    figures = evaluate(GALLERY[:1], [("b", "c2")], GALLERY, LABELS, other_cameras_only=True)
    assert figures.map == pytest.approx(1 / 2)


def test_what_is_kept_in_contracts() -> None:
    kept = evaluate(GALLERY[:1], [("a", "c9")], GALLERY, LABELS).to_dict()
    assert kept["map"] == 0.7556
    assert list(kept) == [
        "rank_1", "rank_5", "rank_10", "map", "minp", "probes", "gallery", "excluded", "interval", "rank_1_interval", "map_interval", "cmc",
    ]  # fmt: skip
    assert kept["map_interval"] == [0.7556, 0.7556]
    assert kept["cmc"] == [1.0] * 5


def test_several_draws_are_averaged_and_their_probes_counted_once() -> None:
    def drawn(first: list[int], probe: list[int]) -> Scores:
        places = np.array(first, np.int64)
        return Scores(
            probe=np.array(probe), first=places, precision=1 / places, inverse_penalty=1 / places,
            gap=np.zeros(len(places)), excluded=0, gallery=7,
        )  # fmt: skip

    figures = summarize([drawn([1, 2, 4], [0, 1, 2]), drawn([1, 1, 4], [0, 1, 3])])
    assert figures.rank_1 == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert figures.map == pytest.approx(((1 + 1 / 2 + 1 / 4) / 3 + (1 + 1 + 1 / 4) / 3) / 2)
    assert (figures.probes, figures.gallery) == (3, 7)
    assert figures.cmc == pytest.approx((1 / 2, 2 / 3, 2 / 3, 1, 1, 1, 1))


def test_the_curve_ends_where_nobody_looks_any_more() -> None:
    vectors = np.arange(200, dtype=np.float32)[:, None]
    labels = [("a" if n % 60 == 0 else f"v{n}", "c1") for n in range(200)]
    cmc = evaluate(vectors[:1], [("a", "c2")], vectors, labels).cmc
    assert (len(cmc), cmc[0], cmc[-1]) == (50, 1.0, 1.0)
    far = evaluate(
        vectors[:1] + 61, [("a", "c2")], vectors, [("a", "c1") if n == 120 else ("b", "c1") for n in range(200)]
    )
    assert (far.cmc[-1], far.rank_10) == (0.0, 0.0)  # it stands behind 118 others


def test_one_camera_only_cannot_be_measured() -> None:
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(InvalidValue, match="another camera"):
        evaluate(vectors, [("a", "c1"), ("b", "c1")], vectors, [("a", "c1"), ("b", "c1")])
