"""What is there twice is erased, and nothing that only one of them knew is lost, also by a kill."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from index.duplicates.duplicate_removal import remove_duplicates
from index.duplicates.duplicate_search import find_duplicates
from index.gallery import Metadata
from index.local_gallery import LocalGallery
from index.maintenance.verification import examine
from tests.pictures import photograph
from tests.test_duplicate_search import NOW, at, gallery, made, shown

__all__ = ["gallery"]


def test_the_kept_one_learns_what_only_the_others_know(gallery: LocalGallery) -> None:
    knows = [
        Metadata(camera_id="c", attributes={"lane": 1, "own": "kept"}),
        Metadata(vehicle_id="v", captured_at=NOW, attributes={"own": "other", "weather": "rain"}),
        Metadata(captured_at=NOW + timedelta(hours=1)),
    ]
    gallery.add([shown(f"i{n}", photograph(1), at(0), minutes=n, metadata=each) for n, each in enumerate(knows)])
    gallery.add([shown("other", photograph(2), at(0, seed=3))])
    vector = gallery.embedding("i0")
    assert remove_duplicates(gallery, find_duplicates(gallery).groups) == 2
    assert gallery.count() == 2
    kept = gallery.get("i0")
    assert kept.metadata == Metadata(
        vehicle_id="v", camera_id="c", captured_at=NOW, attributes={"lane": 1, "own": "kept", "weather": "rain"}
    )
    assert kept.ingested_at == NOW
    assert (gallery.embedding("i0") == vector).all()
    assert gallery.crop("i0")[1] == shown("", photograph(1), vector).crop
    assert find_duplicates(gallery).groups == []


def test_groups_that_disagree_are_left_alone(gallery: LocalGallery) -> None:
    gallery.add([
        shown("a", photograph(1), at(0), metadata=Metadata(camera_id="c1")),
        shown("b", photograph(1), at(0), metadata=Metadata(camera_id="c2")),
    ])  # fmt: skip
    told: list[int] = []
    assert remove_duplicates(gallery, find_duplicates(gallery).groups, progress=told.append) == 0
    assert (gallery.count(), told) == (2, [1])


def test_killed_it_loses_nothing_and_is_done_by_another_run(tmp_path: Path) -> None:
    with closing(made(tmp_path, "yard")) as gallery:
        for n in range(6):
            said = [Metadata(camera_id="c"), Metadata(vehicle_id=f"v{n}"), Metadata(attributes={"n": n})]
            gallery.add([
                shown(f"{n}-{k}", photograph(n), at(0, seed=n), minutes=k, metadata=each) for k, each in enumerate(said)
            ])  # fmt: skip
    folder = tmp_path / "yard"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from index.duplicates.duplicate_removal import remove_duplicates\n"
        "from index.duplicates.duplicate_search import find_duplicates\n"
        "from index.local_gallery import LocalGallery\n"
        "gallery = LocalGallery(Path(sys.argv[1]))\n"
        "left = int(sys.argv[2])\n"
        "delete = gallery.delete\n"
        "def stopping(image_id):\n"
        "    global left\n"
        "    if not left: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left -= 1; delete(image_id)\n"
        "gallery.delete = stopping\n"
        "remove_duplicates(gallery, find_duplicates(gallery).groups)"
    )
    for after in (0, 3, 4):
        killed = subprocess.run([sys.executable, "-c", script, str(folder), str(after)])
        assert killed.returncode == -9
        with closing(LocalGallery(folder)) as gallery:
            assert all(gallery.get(f"{n}-0").metadata.camera_id == "c" for n in range(6))
    with closing(LocalGallery(folder)) as gallery:
        remove_duplicates(gallery, find_duplicates(gallery).groups)
        assert gallery.count() == 6
        for n in range(6):
            known = replace(Metadata(camera_id="c"), vehicle_id=f"v{n}", attributes={"n": n})
            assert gallery.get(f"{n}-0").metadata == known
    assert examine(folder).findings == []
