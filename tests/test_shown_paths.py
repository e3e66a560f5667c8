"""Messages without the machine's folders."""

from pathlib import Path

import pytest

from service.wire.shown_paths import shown as shown_to


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/v/galleries/a/x: broken", "galleries/a/x: broken"), ("see '/srv/v/layout'", "see 'layout'"),
        ("/srv/vehicles/x", "/srv/vehicles/x"), ("/mnt/srv/v/x", "/mnt/srv/v/x"),
    ],
)  # fmt: skip
def test_paths_begin_below_the_data_folder(text: str, shown: str) -> None:
    assert shown_to(text, Path("/srv/v"), admin=False) == shown
    assert shown_to(text, Path("/srv/v"), admin=True) == text


def test_a_relative_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_to(f"{tmp_path}/data/a: metadata/b, data/c", Path("data"), admin=False) == "a: metadata/b, c"
