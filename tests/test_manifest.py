"""One kind of CSV file for data sets and imports."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InvalidValue
from index.manifest import ManifestRow, attribute_value, parse_time, read_manifest

HEADER = "path,vehicle_id,camera_id,captured_at,box,speed\n"


def manifest(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_are_read_in_order_with_their_lines(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "path,vehicle_id,camera_id,image_id,viewpoint,captured_at,box,speed,note\n"
        'a.jpg,v1,c1,i1,rear,2026-05-04T12:00:00+02:00,"1, 2,3,4",5.5,"two\nlines"\n'
        "b\\c.jpg, v2 ,,,,,,,\n",
    )
    assert list(read_manifest(path)) == [
        ManifestRow(
            line=3,  # the last line of a cell of two
            path=tmp_path / "a.jpg",
            vehicle_id="v1",
            camera_id="c1",
            image_id="i1",
            viewpoint="rear",
            captured_at=datetime(2026, 5, 4, 10, tzinfo=UTC),
            box=(1, 2, 3, 4),
            attributes={"speed": 5.5, "note": "two\nlines"},
        ),
        ManifestRow(line=4, path=tmp_path / "b/c.jpg", vehicle_id="v2", camera_id=None),
    ]


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = manifest(tmp_path, b"\xef\xbb\xbfpath,vehicle_id,camera_id\r\na.jpg,v1,c1\r\n\r\n")
    assert [row.vehicle_id for row in read_manifest(path)] == ["v1"]


def test_fewer_columns_can_be_required(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path\na.jpg\n")
    assert [row.path.name for row in read_manifest(path, required=("path",))] == ["a.jpg"]
    with pytest.raises(InvalidValue, match=r"manifest\.csv line 1: the column 'vehicle_id' is missing"):
        list(read_manifest(path))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InvalidValue, match=f"{path} does not exist or is not a file"):
            list(read_manifest(path))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'path,vehicle_id,camera_id\n"a', b"path\0", b"\xff" * 1000])
def test_what_is_no_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"manifest\.csv"):
        list(read_manifest(manifest(tmp_path, content)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",v,c,,,", "line 2, column path: is empty"),
        ("a.jpg,v", "line 2, column path: the line has not as many cells"),
        ("a.jpg,v,c,,,,,", "line 2, column path: the line has not as many cells"),
        ("a.jpg,v,c,2026-05-04,,", "line 2, column captured_at: '2026-05-04' is not an RFC 3339 time"),
        ('a.jpg,v,c,,"1,2,3",', "line 2, column box: '1,2,3' is not x,y,width,height"),
        ('a.jpg,v,c,,"1,2,3,-4",', "column box"),
        ('a.jpg,v,c,,"1,2,3,²",', "column box"),
        (f'a.jpg,v,c,,"1,2,3,{"9" * 5000}",', "column box"),
    ],
)
def test_a_wrong_cell_is_named_by_line_and_column(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        list(read_manifest(manifest(tmp_path, HEADER + line + "\n")))
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("-0", 0),
        ("5.0", 5.0),
        ("1e3", 1000.0),
        ("-2.5E-1", -0.25),
        (str(2**63), 2**63),
        ("007", "007"),
        ("+5", "+5"),
        (".5", ".5"),
        ("5.", "5."),
        ("0x5", "0x5"),
        ("1_000", "1_000"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("٥", "٥"),
        ("", ""),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_json_numbers_are_numbers_and_everything_else_is_text(text: str, expected: str | float) -> None:
    value = attribute_value(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-04T10:11:12Z", datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)),
        ("2026-05-04t10:11:12z", datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)),
        ("2026-05-04 10:11:12.5+02:00", datetime(2026, 5, 4, 8, 11, 12, 500_000, tzinfo=UTC)),
        ("2026-05-04T10:11:12 02:00", datetime(2026, 5, 4, 8, 11, 12, tzinfo=UTC)),
        ("2026-05-04T10:11:12.123456789Z", datetime(2026, 5, 4, 10, 11, 12, 123_456, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-05-04T10:11:12", "2026-05-04", "2026-02-30T00:00:00Z", "2026-05-04T25:00:00Z", "2026-05-04T10:00:00+05:99", "2026-05-04T10:00:00+24:00", "20260504T101112Z",
        "2026-05-04T10:11:12+2:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "٢٠٢٦-05-04T10:11:12Z",
    ],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_time(text)


@given(st.text())
def test_no_text_is_anything_but_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_time(text).tzinfo is UTC


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_manifest_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = manifest(tmp_path_factory.getbasetemp(), HEADER.encode() + data)
    with contextlib.suppress(InvalidValue):
        list(read_manifest(path))


def test_a_column_that_stands_twice_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,vehicle_id,camera_id,path\na.jpg,v,c,b.jpg\n")
    with pytest.raises(InvalidValue, match="'path' stands twice"):
        list(read_manifest(tmp_path / "manifest.csv"))
