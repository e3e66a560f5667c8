"""Who probes whom, by data set."""

from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet, Finding, Protocol, open_data_set
from model_export.measuring.protocols import DRAWS, Plan, plan


def row(vehicle: str | None, camera: str | None, number: int) -> ManifestRow:
    return ManifestRow(line=number + 2, path=Path(f"{vehicle}_{number}.jpg"), vehicle_id=vehicle, camera_id=camera)


VERI = DataSet(
    name="VeRi", root=Path("veri"), protocol="veri776",
    parts={
        "train": (row("9", "c9", 90),),
        "query": (row("1", "c1", 0), row("2", "c1", 1)),
        "gallery": tuple(row(str(1 + n % 3), f"c{1 + n % 2}", 10 + n) for n in range(6)),
    },
)  # fmt: skip
VEHICLEID = DataSet(
    name="VehicleID", root=Path("vid"), protocol="vehicleid",
    parts={
        "train": (row("90", None, 90),),
        "gallery": (*(row(str(n % 8), None, n) for n in range(40)), row("8", None, 50), row("77", None, 51)),
    },
    test_sizes={"small": ("0", "1", "2"), "large": tuple(str(n) for n in range(9))},
)  # fmt: skip


def probed(planned: Plan, name: str = "") -> list[tuple[list[str], list[str]]]:
    """(probes, gallery) of each draw, by file name."""
    return [
        ([planned.rows[at].path.stem for at in draw.probes], [planned.rows[at].path.stem for at in draw.gallery])
        for draw in planned.draws[name]
    ]


def test_veri_queries_probe_the_gallery_and_its_size_is_told_where_it_is_another() -> None:
    planned = plan(VERI)
    assert planned.rule == "same-camera-junk"
    assert probed(planned) == [(["1_0", "2_1"], ["1_10", "2_11", "3_12", "1_13", "2_14", "3_15"])]
    assert len(planned.tested) == 8
    again = plan(replace(VERI, parts={**VERI.parts, "gallery": VERI.part("gallery") + VERI.part("query")}))
    assert (len(again.rows), len(again.tested)) == (10, 8)  # query pictures that are in the gallery too are judged once
    assert "1,678 × 11,579 pictures, this copy 2 × 6" in planned.note
    assert planned.labels(planned.draws[""][0].probes) == [("1", "c1"), ("2", "c1")]


def test_part_narrows_the_probes_and_never_the_gallery() -> None:
    coloured = replace(
        VERI,
        parts={
            **VERI.parts,
            "query": tuple(
                replace(r, attributes={"colour": c}) for r, c in zip(VERI.part("query"), ("red", "blue"), strict=True)
            ),
        },
    )
    planned = plan(coloured, part="colour=blue")
    assert probed(planned) == [(["2_1"], ["1_10", "2_11", "3_12", "1_13", "2_14", "3_15"])]
    assert planned.note == ""
    with pytest.raises(InvalidValue, match=r"--part colour=pink matches no row"):
        plan(coloured, part="colour=pink")
    with pytest.raises(InvalidValue, match=r"--part 'colour' is neither"):
        plan(coloured, part="colour")


def test_vehicleid_draws_one_picture_a_vehicle_ten_times() -> None:
    planned = plan(VEHICLEID, seed=5)
    assert planned.rule == "everything"
    assert len(planned.rows) == 41  # vehicle 77 is on no list
    assert {name: len(draws) for name, draws in planned.draws.items()} == {"small": DRAWS, "large": DRAWS}
    for probes, gallery in probed(planned, "small"):
        assert sorted(name.split("_")[0] for name in gallery) == ["0", "1", "2"]
        assert len(probes) == 3 * 5 - 3
        assert not {*probes} & {*gallery}
    for probes, gallery in probed(planned, "large"):
        assert len(gallery) == 9
        assert "8_50" in gallery  # the vehicle with one picture is in the gallery, and nobody's probe
        assert len(probes) == 41 - 9
    assert len({tuple(gallery) for _, gallery in probed(planned, "large")}) > 1
    assert probed(plan(VEHICLEID, seed=5), "large") == probed(planned, "large")
    assert probed(plan(VEHICLEID, seed=6), "large") != probed(planned, "large")


def test_vehicleid_is_measured_on_the_lists_that_papers_quote() -> None:
    lists = dict.fromkeys(("800", "1600", "2400", "13164"), ("0", "1"))
    named = replace(VEHICLEID, test_sizes=lists)
    assert list(plan(named).draws) == ["800", "1600", "2400"]
    assert list(plan(named, part="13164,800").draws) == ["13164", "800"]


def test_vehicleid_by_one_list() -> None:
    planned = plan(VEHICLEID, part="small")
    assert list(planned.draws) == ["small"]
    assert len(planned.rows) == 15
    with pytest.raises(InvalidValue, match=r"--part '800': data set VehicleID has the test lists small, large"):
        plan(VEHICLEID, part="800")
    with pytest.raises(InvalidValue, match="has no test list"):
        plan(replace(VEHICLEID, test_sizes={}))


def test_a_manifest_is_probed_camera_against_camera(data: Path) -> None:
    opened = open_data_set("manifest.csv", root=data)
    whole = plan(opened)
    assert whole.rule == "other-cameras"
    assert len(whole.draws[""][0].probes) == len(whole.draws[""][0].gallery) == 72
    part = plan(opened, part="part=test")
    assert len(part.draws[""][0].probes) == len(part.tested) == 18
    assert len(part.draws[""][0].gallery) == 72
    assert {part.rows[at].vehicle_id for at in part.draws[""][0].probes} == {"v0", "v1", "v2"}
    one_camera = plan(opened, part="camera_id=c0")  # rows that match, not all of their vehicles
    assert {one_camera.rows[at].camera_id for at in one_camera.draws[""][0].probes} == {"c0"}
    assert 0 < len(one_camera.draws[""][0].probes) < 72
    drawn = plan(opened, part="25%", seed=1)
    assert len({drawn.rows[at].vehicle_id for at in drawn.draws[""][0].probes}) == 3


def test_part_test_of_a_split_set_probes_all_there_is() -> None:
    split = replace(VERI, protocol="cross-camera", parts={"train": VERI.part("gallery"), "test": VERI.part("query")})
    planned = plan(split)
    assert len(planned.draws[""][0].probes) == 2
    assert len(planned.draws[""][0].gallery) == 8
    assert len(plan(split, part="train").draws[""][0].probes) == 6


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (replace(VERI, parts={**VERI.parts, "query": (row("1", None, 0),)}), r"VeRi line 2, 1_0\.jpg: camera_id is empty"),
        (replace(VERI, protocol="cross-camera", parts={"train": (row(None, "c1", 7),)}), r"names no vehicle, so nothing"),
        (replace(VERI, protocol="cross-camera", parts={"train": (row("1", "c1", 6), row(None, "c1", 7))}),
         r"line 9, None_7\.jpg: vehicle_id is empty"),
        (replace(VERI, protocol="cross-camera", parts={"train": ()}), "VeRi at veri has no pictures"),
        (replace(VERI, findings=(Finding(what="1 vehicle in train and test", count=1, fatal=True),)), "1 vehicle in train and test"),
        (replace(VEHICLEID, test_sizes={"small": ("404",)}), "no pictures to measure|no picture belongs"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(broken: DataSet, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        plan(broken)


def test_cross_viewpoint_takes_the_named_pictures_against_each_other() -> None:
    views = ("front", "rear", "side")
    rows = tuple(
        replace(row(str(n % 4), f"c{n % 3}", n), viewpoint=views[n % 3], attributes={"mesh": f"m{n % 4 // 2}"})
        for n in range(12)
    )
    data = DataSet(name="renders", root=Path("r"), protocol="cross-camera", parts={"train": rows})
    planned = plan(data, part="mesh=m1", protocol="cross-viewpoint")
    assert (planned.protocol, planned.rule) == ("cross-viewpoint", "other-viewpoints")
    assert {r.vehicle_id for r in planned.rows} == {"2", "3"}
    [(probes, gallery)] = probed(planned)
    assert probes == gallery
    assert len(probes) == 6
    assert planned.viewpoints(planned.draws[""][0].probes[:2]) == ["side", "front"]
    with pytest.raises(InvalidValue, match="viewpoint is empty"):
        plan(replace(data, parts={"train": (replace(rows[0], viewpoint=None), *rows[1:])}), protocol="cross-viewpoint")
    with pytest.raises(
        InvalidValue, match="protocol veri776 does not fit renders; cross-camera and cross-viewpoint do"
    ):
        plan(data, protocol="veri776")


@pytest.mark.parametrize(
    ("rows", "protocol", "part", "words"),
    [
        ([("a", "c1"), ("a", "c1"), ("b", "c2")], "cross-camera", "", r"cars at r: no .* saw \(camera_id\)"),
        ([("a", "c1"), ("a", "c2"), ("b", "c2")], "cross-camera", "w=b", r"cars at r, part w=b: no .* two cameras saw"),
        ([("a", "c1"), ("a", "c2"), ("b", "c2")], "cross-viewpoint", "", r"cars at r: no .* from two viewpoints"),
        ([("a", "c1"), ("b", "c2")], "vehicleid", "", r"cars at r, list small: no .* vehicles with two pictures"),
    ],
)  # fmt: skip
def test_a_plan_without_a_match_is_refused_with_the_way_out(
    rows: list[tuple[str, str]], protocol: Protocol, part: str, words: str
) -> None:
    own = tuple(
        replace(row(vehicle, camera, n), viewpoint="front", attributes={"w": vehicle})
        for n, (vehicle, camera) in enumerate(rows)
    )
    parts = {"gallery": own} if protocol == "vehicleid" else {"train": own}
    sizes = {"small": ("a", "b")} if protocol == "vehicleid" else {}
    with pytest.raises(InvalidValue, match=words):
        plan(DataSet(name="cars", root=Path("r"), protocol=protocol, parts=parts, test_sizes=sizes), part=part)
