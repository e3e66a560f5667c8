"""The paper's tables as data."""

import pytest

from index.errors import InvalidValue
from model_export.reproducing.tables import COUNTED, TABLES, chosen_tables, trained_rows


def test_every_system_of_the_paper_stands_in_a_table() -> None:
    names = {number: [row.name for row in table.rows] for number, table in TABLES.items()}
    assert names[1] == ["baseline-1", "baseline-2", "baseline-2-bilinear", "multi-view-binary", "split-4-none",
                        "multi-view-softened"]  # fmt: skip
    assert names[2] == ["baseline-3", "baseline-4", "split-4-glam"]
    assert names[3] == ["loss-softmax", "loss-triplet", "split-4-glam"]
    grid = [f"split-{stage}-{attention}" for stage in (1, 2, 3, 4) for attention in ("none", "gam", "lam", "glam")]
    assert names[4][:16] == grid
    assert all(row.ours for row in TABLES[4].rows[16:])
    assert [row.starts_from for row in TABLES[5].rows] == ["second"] * 3
    assert all(row.ours for row in TABLES[7].rows)
    assert set(names[COUNTED]) <= {name for number in range(1, 6) for name in names[number]}


def test_a_row_of_several_tables_is_one_system_and_trained_once() -> None:
    rows = trained_rows(tuple(TABLES.values()))
    assert len(rows) == len({row.name for row in rows}) == 44
    by_name = {row.name: row for row in rows}
    assert all(by_name[row.name] == row for table in TABLES.values() for row in table.rows)
    assert trained_rows((TABLES[COUNTED],)) == ()


def test_tables_are_chosen_by_number() -> None:
    assert [table.number for table in chosen_tables("3,1, 3")] == [1, 3]
    for wrong in ("0", "1,x", "8", ""):
        with pytest.raises(InvalidValue, match="--tables"):
            chosen_tables(wrong)
