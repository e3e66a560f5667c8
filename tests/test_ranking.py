"""Candidates become hits: ranked, and told whether others could come before."""

import numpy as np

from index.gallery import SearchOptions
from index.searching.ranking import rank_hits
from index.searching.vector_index import Candidates
from index.storage.image_rows import Row


def test_a_limit_is_sure_only_as_far_as_the_candidates_are() -> None:
    """The candidate beyond the limit proves nothing where rows within it may be missing."""
    rows = {1: Row("near", None), 2: Row("beyond", None)}
    for certain, complete in ((0.4, False), (0.55, True), (np.inf, True)):
        candidates = Candidates(row_ids=np.array([1, 2]), distances=np.array([0.1, 0.6]), certain=certain)
        hits, known = rank_hits(candidates, rows, SearchOptions(top_k=5, max_distance=0.5))
        assert ([hit.row_id for hit in hits], known) == ([1], complete)
