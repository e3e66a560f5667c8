"""The labels on disk: a manifest at every moment, whatever happens to the program, the disk or the file."""

import csv
from pathlib import Path

import pytest

from index.errors import Conflict, InvalidValue, StorageError, StorageFull
from index.manifest import read_manifest
from model_export.annotating.label_file import Label, LabelFile, Place, open_label_file, relative_cell, true_path
from model_export.data_sets.selection import read_rows
from tests.small_disk import fill, small_disk

VIEWPOINTS = ("front", "rear", "side")


def opened(path: Path, *carried: str) -> LabelFile:
    return LabelFile(path, viewpoints=VIEWPOINTS, carried=carried)


def place(folder: Path, number: int, box: tuple[int, int, int, int] | None = None) -> Place:
    return Place(true_path(folder / f"p{number}.jpg"), box)


def label(where: Place, viewpoint: str = "front", decision: int | None = None, **carried: str) -> Label:
    return Label(place=where, viewpoint=viewpoint, source="hand", decision=decision, carried=carried)


def said(path: Path) -> dict[str, str | None]:
    return {row.path.name: row.viewpoint for row in read_manifest(path, required=("path", "viewpoint"))}


def test_after_every_label_the_file_is_a_manifest_that_training_reads(tmp_path: Path) -> None:
    path = tmp_path / "labels" / "labels.csv"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with open_label_file(path, viewpoints=VIEWPOINTS, carried=["vehicle_id", "box", "scene"]) as file:
        for number, viewpoint in enumerate(["rear", "side", "front"]):
            (pictures / f"p{number}.jpg").touch()
            where = place(pictures, number, (1, 2, 30, 40) if number == 1 else None)
            file.add(label(where, viewpoint, number + 1, vehicle_id=f"v{number}", scene="a, b"))
            rows = read_rows(path, "viewpoint")
            assert [row.viewpoint for row in rows] == ["rear", "side", "front"][: number + 1]
            assert all(row.path.is_file() for row in rows)
    assert rows[1].box == (1, 2, 30, 40)
    assert rows[2].vehicle_id == "v2"
    assert rows[2].attributes == {"source": "hand", "decision": 3, "scene": "a, b"}


def test_what_was_written_is_read_again_and_a_label_can_be_replaced_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        file.add(Label(place=place(tmp_path, 0), viewpoint="rear", source="auto", confidence=0.98765))
        file.add(label(place(tmp_path, 1), "side", 1))
        file.add(label(place(tmp_path, 0), "front", 2))
        file.add(label(place(tmp_path, 2), "front", 3))
        file.remove(place(tmp_path, 2))
        file.remove(place(tmp_path, 7))
        written = dict(file.labels)
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        assert dict(file.labels) == written
        assert list(said(path).items()) == [("p1.jpg", "side"), ("p0.jpg", "front")]
        assert [each.decision for each in file.labels.values()] == [1, 2]


def test_a_crash_at_any_byte_loses_no_label_and_invents_none(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    ends = []
    with open_label_file(path, viewpoints=VIEWPOINTS, carried=["scene"]) as file:
        for number, viewpoint in enumerate(["rear", "side", "front"]):
            file.add(label(place(tmp_path, number), viewpoint, number + 10, scene='odd, "quoted" ü'))
            ends.append(path.stat().st_size)
    content = path.read_bytes()
    truth = said(path)
    first = content.index(b"\n") + 1
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        with open_label_file(path, viewpoints=VIEWPOINTS) as file:
            complete = sum(end <= length for end in ends)
            assert len(file.labels) in (complete, complete + 1)
            found = said(path)
            assert found.items() <= truth.items()
            assert list(truth)[:complete] == list(found)[:complete]
            file.add(label(place(tmp_path, 9), "rear"))
        assert said(path) == {**found, "p9.jpg": "rear"}


def test_another_programs_file_keeps_its_columns_and_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,viewpoint,source,height\r\na/x.jpg,rear,flickr,0.50\r\na/y.jpg,side,auto,007")
    with open_label_file(path, viewpoints=VIEWPOINTS, carried=["scene"]) as file:
        assert file.dropped == ""
        assert [each.source for each in file.labels.values()] == ["hand", "auto"]
        file.add(label(place(tmp_path, 1), scene="s"))
    with path.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["height"] for row in rows] == ["0.50", "007", ""]
    assert [row["source"] for row in rows] == ["flickr", "auto", "hand"]
    assert [row["path"] for row in rows] == ["a/x.jpg", "a/y.jpg", "p1.jpg"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("path,vehicle_id\nx.jpg,v1\n", "viewpoint"),
        ("path,viewpoint\nx.jpg,back\n", "line 2, column viewpoint: 'back' is not one of front, rear, side"),
        ("path,viewpoint\nx.jpg,\n", "line 2, column viewpoint"),
        ("path,viewpoint,confidence\nx.jpg,rear,2\n", "line 2, column confidence"),
        ("path,viewpoint,decision\nx.jpg,rear,first\n", "line 2, column decision"),
        ("path,viewpoint\nx.jpg\n", "line 2, column path"),
        ("no csv at all", "viewpoint|path"),
        ('path,viewpoint\n"x.jpg,rear\n', "CSV"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(InvalidValue, match=complaint):
        opened(path)
    assert path.read_text() == content
    path.write_text("path,viewpoint\n")
    opened(path).close()  # and the refusal left no lock behind


def test_one_process_owns_the_file_even_after_it_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        for _ in range(2):
            with pytest.raises(Conflict, match=r"labels\.csv is open in another"):
                opened(path)
            file.add(label(place(tmp_path, 1)))
            file.rewrite(file.labels.values())
    opened(path).close()


def test_a_file_that_somebody_else_changed_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        file.add(label(place(tmp_path, 1)))
        edited = tmp_path / "edited"
        edited.write_text("path,viewpoint\np1.jpg,side\np2.jpg,rear\n")
        edited.replace(path)  # as editors save
        with pytest.raises(StorageError, match="changed or removed by another program"):
            file.add(label(place(tmp_path, 3)))
        with pytest.raises(StorageError, match="changed or removed"):
            file.remove(place(tmp_path, 1))
    assert said(path) == {"p1.jpg": "side", "p2.jpg": "rear"}
    path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_change_in_place_and_a_file_of_the_same_length_are_noticed_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        file.add(label(place(tmp_path, 1)))
        with path.open("a") as other:
            other.write("p2.jpg,rear,,,\n")
        with pytest.raises(StorageError, match="changed or removed"):
            file.add(label(place(tmp_path, 3)))
    with open_label_file(path, viewpoints=VIEWPOINTS) as file:
        (tmp_path / "copy").write_bytes(path.read_bytes().replace(b"rear", b"side"))
        (tmp_path / "copy").replace(path)
        with pytest.raises(StorageError, match="changed or removed"):
            file.add(label(place(tmp_path, 3)))
    assert said(path) == {"p1.jpg": "front", "p2.jpg": "side"}


def test_a_full_disk_leaves_the_labels_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path) as folder:
        path = folder / "labels.csv"
        with open_label_file(path, viewpoints=VIEWPOINTS) as file:
            file.add(label(place(folder, 0)))
            filler = fill(folder)
            number = 0
            with pytest.raises(StorageFull, match=r"labels\.csv cannot be written: no space is left"):  # noqa: PT012
                while number < 2000:  # until the last block of the file is full
                    number += 1
                    file.add(label(place(folder, number), "rear"))
            before = path.read_bytes()
            assert before.endswith(b"\n")
            assert len(said(path)) == number
            with pytest.raises(StorageFull):
                file.remove(place(folder, 0))
            assert path.read_bytes() == before
            assert not path.with_name("labels.csv.partial").exists()
            filler.unlink()
            file.add(label(place(folder, number), "side"))
        assert said(path)[f"p{number}.jpg"] == "side"


def test_paths_lead_to_the_pictures_through_symbolic_links(tmp_path: Path) -> None:
    pictures, far = tmp_path / "pictures", tmp_path / "far" / "away"
    pictures.mkdir()
    far.mkdir(parents=True)
    (pictures / "p1.jpg").write_bytes(b"one")
    link = tmp_path / "link"
    link.symlink_to(far)
    with open_label_file(link / "labels.csv", viewpoints=VIEWPOINTS) as file:
        file.add(label(place(pictures, 1)))
    for path in (link / "labels.csv", far / "labels.csv"):
        assert [row.path.read_bytes() for row in read_rows(path, "viewpoint")] == [b"one"]
    (tmp_path / "alias.csv").symlink_to(far / "labels.csv")
    with pytest.raises(InvalidValue, match="symbolic link"):
        opened(tmp_path / "alias.csv")


@pytest.mark.parametrize("name", ["a\nb.jpg", " a.jpg", "a.jpg ", "a\\b.jpg"])
def test_a_name_that_a_manifest_cannot_keep_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="cannot be named in a manifest"):
        relative_cell(str(tmp_path / name), tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="--labels"):
        opened(tmp_path / "file" / "labels.csv")
    with pytest.raises(StorageError, match="--labels"):
        opened(tmp_path)


def test_line_ends_in_a_carried_cell_do_not_break_a_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_label_file(path, viewpoints=VIEWPOINTS, carried=["note"]) as file:
        file.add(label(place(tmp_path, 1), note="two\r\nlines"))
    assert len(path.read_bytes().splitlines()) == 2
    assert next(read_manifest(path, required=("path",))).attributes["note"] == "two lines"
    assert path.stat().st_mode & 0o777 == 0o644
