"""What is asked next and what was decided: by several windows, over restarts."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import Conflict, InvalidValue, NotFound
from index.manifest import read_manifest
from model_export.annotating.annotation import Annotation
from model_export.annotating.label_file import Label, open_label_file
from model_export.annotating.work_list import Picture, pictures_of

VIEWPOINTS = ("front", "rear", "side")


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pictures(folder: Path, count: int = 12) -> list[Picture]:
    manifest = folder / "manifest.csv"
    manifest.write_text("path,vehicle_id,camera_id\n" + "".join(f"{n}.jpg,v{n},c1\n" for n in range(count)))
    return pictures_of(read_manifest(manifest), folder / "labels.csv")


@contextlib.contextmanager
def working(
    folder: Path, given: list[Picture] | None = None, *, review: bool = False, clock: Clock | None = None
) -> Iterator[Annotation]:
    with (
        open_label_file(folder / "labels.csv", viewpoints=VIEWPOINTS, carried=["vehicle_id"]) as labels,
        open_label_file(folder / "labels.skipped.csv", viewpoints=()) as skipped,
    ):
        yield Annotation(
            pictures(folder) if given is None else given, labels, skipped, viewpoints=VIEWPOINTS, review=review,
            clock=clock or Clock(),
        )  # fmt: skip


def names(found: list[Picture]) -> list[int]:
    return [int(picture.shown_path.removesuffix(".jpg")) for picture in found]


def said(folder: Path, file: str = "labels.csv") -> dict[str, str | None]:
    return {row.path.name: row.viewpoint for row in read_manifest(folder / file, required=("path",))}


def test_two_windows_are_asked_about_different_pictures(tmp_path: Path) -> None:
    clock = Clock()
    with working(tmp_path, clock=clock) as work:
        first = work.next("one", 4)
        second = work.next("two", 4)
        assert (names(first), names(second)) == ([0, 1, 2, 3], [4, 5, 6, 7])
        assert names(work.next("one", 2, holding=[picture.id for picture in first])) == [8, 9]
        second += work.next("two", 9, holding=[picture.id for picture in second])
        assert names(second) == [4, 5, 6, 7, 10, 11]
        assert work.next("two", 9, holding=[picture.id for picture in second]) == []
        assert len(work.next("three", 20)) == 12  # nothing is free: it may help with what others hold
        work.leave("two")
        assert names(work.next("one", 20, holding=[picture.id for picture in first]))[:4] == [4, 5, 6, 7]


def test_pictures_of_a_window_that_is_gone_come_back(tmp_path: Path) -> None:
    clock = Clock()
    with working(tmp_path, clock=clock) as work:
        held = work.next("gone", 4)
        clock.now = 100
        assert names(work.next("here", 1)) == [4]
        work.next("gone", 0, holding=[picture.id for picture in held[:1]])  # it still shows the first
        clock.now = 130
        assert names(work.next("here", 3)) == [1, 2, 3]


def test_the_first_of_two_answers_stays_and_the_second_is_told(tmp_path: Path) -> None:
    with working(tmp_path) as work:
        name = work.next("one", 1)[0].id
        work.decide(name, "rear")
        work.decide(name, "rear")  # sent again because the answer was lost
        with pytest.raises(Conflict, match=r"0\.jpg is already labelled rear"):
            work.decide(name, "front")
        with pytest.raises(Conflict, match="labelled rear"):
            work.decide(name, None)
        skip = work.next("one", 1)[0].id
        work.decide(skip, None)
        work.decide(skip, None)
        with pytest.raises(Conflict, match="already skipped"):
            work.decide(skip, "side")
        assert work.progress().done == 2
    assert said(tmp_path) == {"0.jpg": "rear"}
    assert said(tmp_path, "labels.skipped.csv") == {"1.jpg": None}


def test_many_windows_at_once_lose_nothing(tmp_path: Path) -> None:
    given = pictures(tmp_path, 120)
    told: list[str] = []
    with working(tmp_path, given) as work:

        def label(window: str) -> None:
            while found := work.next(window, 3):
                for picture in found:
                    with contextlib.suppress(Conflict):
                        work.decide(picture.id, VIEWPOINTS[int(picture.shown_path.removesuffix(".jpg")) % 3])
                        told.append(picture.shown_path)

        threads = [threading.Thread(target=label, args=(f"window {n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert work.progress().done == 120
    assert set(told) == {picture.shown_path for picture in given}
    assert said(tmp_path) == {f"{n}.jpg": VIEWPOINTS[n % 3] for n in range(120)}


def test_work_goes_on_after_a_restart_and_undo_goes_back_through_it(tmp_path: Path) -> None:
    decisions = ["front", None, "rear", None, "side"]
    for viewpoint in decisions:  # a restart after each
        with working(tmp_path) as work:
            work.decide(work.next("window", 1)[0].id, viewpoint)
    with working(tmp_path) as work:
        assert names(work.next("window", 2)) == [5, 6]
        progress = work.progress()
        assert (progress.total, progress.done, progress.skipped) == (12, 5, 2)
        assert progress.by_viewpoint == {"front": 1, "rear": 1, "side": 1}
    for left in (4, 3, 2):
        with working(tmp_path) as work:
            undone = work.undo("window")
            assert (names([undone.picture]), undone.viewpoint) == ([left], decisions[left])
            assert names(work.next("window", 1)) == [left]
    with working(tmp_path) as work:
        work.undo("window")
        work.undo("window")
        with pytest.raises(NotFound, match="nothing to undo"):
            work.undo("window")
        assert work.progress().done == 0
    assert said(tmp_path) == said(tmp_path, "labels.skipped.csv") == {}


def test_undo_of_a_windows_own_picture_leaves_the_others_decisions(tmp_path: Path) -> None:
    with working(tmp_path) as work:
        one, two = work.next("one", 1)[0], work.next("two", 1)[0]
        work.decide(one.id, "front")
        work.decide(two.id, "rear")
        assert names(work.next("two", 1)) == [2]
        assert work.undo("one", one.id).viewpoint == "front"
        assert names(work.next("two", 1)) == [2]  # the undone one is lent to its window
        with pytest.raises(NotFound, match=r"nothing was decided by hand about 0\.jpg"):
            work.undo("one", one.id)
        work.leave("one")
        assert names(work.next("two", 1)) == [0]
    assert said(tmp_path) == {"1.jpg": "rear"}


def test_labels_of_other_pictures_and_of_auto_are_not_undone(tmp_path: Path) -> None:
    given = pictures(tmp_path)
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS, carried=["vehicle_id"]) as file:
        file.add(Label(place=given[0].place, viewpoint="rear", source="auto", confidence=0.99))
        file.add(Label(place=given[1].place, viewpoint="side", source="hand", decision=7))
    with working(tmp_path, given[2:]) as work:
        assert work.progress().done == 0
        with pytest.raises(NotFound):
            work.undo("window")
    with working(tmp_path, given) as work:
        assert names(work.next("window", 1)) == [2]
        work.decide(given[2].id, "front")
        assert names([work.undo("window").picture]) == [2]
        assert names([work.undo("window").picture]) == [1]
        with pytest.raises(NotFound):
            work.undo("window")
        with pytest.raises(NotFound):
            work.undo("window", given[0].id)
    assert said(tmp_path) == {"0.jpg": "rear"}


def test_a_review_asks_about_what_auto_said_and_the_hand_wins(tmp_path: Path) -> None:
    given = pictures(tmp_path, 4)
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS, carried=["vehicle_id"]) as file:
        for picture in given[:3]:
            file.add(Label(place=picture.place, viewpoint="rear", source="auto", confidence=0.99))
    with working(tmp_path, given, review=True) as work:
        assert names(work.next("window", 9)) == [0, 1, 2, 3]
        assert work.progress().done == 0
        work.decide(given[0].id, "rear")
        work.decide(given[1].id, "side")
        work.decide(given[2].id, None)
        assert work.progress().done == 3
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS) as file:
        assert [(each.viewpoint, each.source) for each in file.labels.values()] == [("rear", "hand"), ("side", "hand")]
    assert said(tmp_path, "labels.skipped.csv") == {"2.jpg": None}


@pytest.mark.parametrize("decision", ["rear", "side", None])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("review_again", [False, True])
def test_undo_brings_back_what_auto_said(
    decision: str | None, restarted: bool, review_again: bool, tmp_path: Path
) -> None:
    given = pictures(tmp_path, 2)
    automatic = Label(
        place=given[0].place, viewpoint="rear", source="auto", confidence=0.99, carried={"vehicle_id": "v0"}
    )
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS, carried=["vehicle_id"]) as file:
        file.add(automatic)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(working(tmp_path, given, review=True))
        work.decide(given[0].id, decision)
        if restarted:
            stack.close()
            work = stack.enter_context(working(tmp_path, given, review=review_again))
        assert work.undo("window").viewpoint == decision
        assert work.progress().done == 0
        assert names(work.next("window", 1)) == [0]
        work.decide(given[0].id, "front")  # over what came back
        assert work.undo("window").viewpoint == "front"
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS) as file:
        assert list(file.labels.values()) == [automatic]
    assert said(tmp_path, "labels.skipped.csv") == {}


def test_a_crash_between_the_two_files_is_put_right(tmp_path: Path) -> None:
    given = pictures(tmp_path, 3)
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS, carried=["vehicle_id"]) as file:
        file.add(Label(place=given[0].place, viewpoint="rear", source="auto", confidence=0.99))
        file.add(Label(place=given[1].place, viewpoint="rear", source="hand", decision=1))
    with open_label_file(tmp_path / "labels.skipped.csv", viewpoints=()) as file:
        for picture in given[:2]:
            file.add(Label(place=picture.place, viewpoint="", source="hand", decision=2))
    with working(tmp_path, given) as work:
        assert (work.progress().done, work.progress().skipped) == (2, 1)
    assert said(tmp_path) == {"1.jpg": "rear"}
    assert said(tmp_path, "labels.skipped.csv") == {"0.jpg": None}


def test_a_broken_picture_is_left_out_and_named(tmp_path: Path) -> None:
    with working(tmp_path) as work:
        name = work.next("window", 1)[0].id
        work.mark_broken(name, "it is truncated")
        assert names(work.next("window", 1)) == [1]
        assert work.broken == [("0.jpg", "it is truncated")]
        assert work.progress().total == 11
        with pytest.raises(NotFound):
            work.mark_broken("none", "")


def test_a_picture_or_viewpoint_that_is_not_of_this_work_is_refused(tmp_path: Path) -> None:
    with working(tmp_path) as work:
        with pytest.raises(NotFound, match="reload"):
            work.decide("none", "front")
        with pytest.raises(InvalidValue, match="'back' is not one of front, rear, side"):
            work.decide(work.next("window", 1)[0].id, "back")
    assert said(tmp_path) == {}


def test_pace_and_time_left(tmp_path: Path) -> None:
    clock = Clock()
    with working(tmp_path, clock=clock) as work:
        for _ in range(6):
            clock.now += 2
            work.decide(work.next("window", 1)[0].id, "front")
        assert work.progress().per_minute == pytest.approx(30)
        assert work.progress().seconds_left == pytest.approx(12)


def test_confidence_is_what_v_net_gave_to_the_viewpoint_that_was_chosen(tmp_path: Path) -> None:
    given = [replace(picture, guess=(0.7, 0.2, 0.1)) for picture in pictures(tmp_path, 1)]
    with working(tmp_path, given) as work:
        work.decide(given[0].id, "rear")
    row = next(read_manifest(tmp_path / "labels.csv", required=("path",)))
    assert (row.attributes["confidence"], row.attributes["source"], row.vehicle_id) == (0.2, "hand", "v0")
