"""Plans are held against what was measured, and against sums by hand."""

import json
import re
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.planning.capacity_plan import BUSY, FILLED, GIB, Load, Machine, plan
from index.planning.measured_points import BASE_BYTES, KINDS, PICTURE_SECONDS
from index.vehicle_index import main as vehicle_index

BENCHMARKS = Path("docs/benchmarks.md").read_text(encoding="utf-8").split("## Kinds of index")[1]
LARGE = Machine(cores=1000, memory=1e15, disk=1e16)


def rows_of(kind: str) -> list[list[str]]:
    """The lines of both tables of the benchmarks for a kind."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in re.findall(rf"^\| {kind} \|.*$", BENCHMARKS, re.MULTILINE)
    ]


def first_number(text: str) -> float:
    found = re.search(r"[0-9.]+", text)
    assert found
    return float(found[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_points_are_those_that_were_measured(kind: str) -> None:
    flat, own = rows_of("flat fp32"), rows_of(kind)
    for point, all_rows, cells, build in zip(KINDS[kind].points, flat, own, KINDS[kind].build, strict=True):
        whole = first_number(all_rows[1])
        assert point.searches == pytest.approx(whole if kind == "flat fp32" else whole * first_number(cells[1]))
        said = re.search(r"recall ([0-9.]+)", cells[1])
        assert point.recall == (float(said[1]) if said else 1.0)
        assert build * point.rows == pytest.approx(first_number(cells[8]) if cells[8] else 0)
        memory, disk = (float(each) for each in re.findall(r"[0-9]+", cells[-1].replace(",", "")))
        assert memory <= KINDS[kind].memory <= memory * 1.1
        assert disk <= KINDS[kind].disk <= disk * 1.02


@pytest.mark.parametrize("kind", KINDS)
def test_at_what_was_measured_it_says_what_was_measured(kind: str) -> None:
    for point in KINDS[kind].points:
        made = plan(kind, Load(rows=point.rows), LARGE)
        assert made.search_seconds == pytest.approx(PICTURE_SECONDS + 1 / point.searches)
        assert made.machines == 1
        assert made.beyond <= 1


def test_rows_that_do_not_fit_are_parted_and_cores_that_are_few_are_copied() -> None:
    flat = KINDS["flat fp32"]
    machine = Machine(cores=4, memory=10 * GIB, disk=1e15)
    made = plan("flat fp32", Load(rows=10e6, searches=30), machine)
    assert made.shards == 3  # 21.8 GB in machines that have 7.29 GB for rows
    assert made.memory == pytest.approx(10e6 / 3 * 2180 + BASE_BYTES)
    a_search = 3 * (PICTURE_SECONDS + flat.search_seconds(10e6 / 3))  # each shard is sent the picture
    assert made.copies == -(-30 * a_search // (3 * 4 * BUSY))
    assert made.cores_used == pytest.approx(30 * a_search / made.machines)
    assert made.cores_used <= machine.cores * BUSY
    assert made.memory <= machine.memory * FILLED
    assert made.first == "memory"  # 7.50 of 7.52 GB


def test_the_disk_parts_them_too() -> None:
    made = plan("hnsw sq8", Load(rows=1e6, crop=100_000), Machine(disk=50 * GIB))
    assert (made.shards, made.first) == (3, "disk")


def test_what_comes_takes_cores() -> None:
    without, with_pictures = (
        plan("hnsw sq8", Load(rows=1e6, searches=1, added=added), Machine()) for added in (0, 1000)
    )
    assert with_pictures.cores_used * with_pictures.machines == pytest.approx(without.cores_used + 1000 * 0.0168)
    assert with_pictures.copies == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"rows": 0}, "rows = 0"), ({"rows": 1e13}, "rows = 1e\\+13"), ({"rows": 1, "searches": -1}, "searches = -1")],
)
def test_a_load_that_is_none_is_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        Load(**wrong)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert vehicle_index(["plan", "--rows", "1e9", "--searches", "12000/min", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["load"]["searches"] == 200
    assert [each["kind"] for each in told["plans"]] == list(KINDS)
    assert vehicle_index(["plan", "--rows", "1e9"]) == 0
    assert "a guess, measure before you buy" in capsys.readouterr().out
    assert vehicle_index(["plan", "--rows", "1e5"]) == 0
    assert "guess" not in capsys.readouterr().out
    assert vehicle_index(["plan", "--rows", "1e5", "--memory", "0.1"]) == 2
    assert "holds no rows beside the model; 0.3 is the least" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--rows", "many"], ["--rows", "1", "--searches", "2/fortnight"], ["--rows", "-1"], ["--rows", "inf"]]
)
def test_what_is_no_number_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        vehicle_index(["plan", *words])
    assert "error" in capsys.readouterr().err
