"""What keeps a release from being made."""

import subprocess
from pathlib import Path

import pytest

from scripts import check_release, check_upgrade


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that can be released as 1.2.3, as far as files say."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vehicle_search_client").mkdir()
    (tmp_path / "vehicle_search_client/VERSION").write_text("1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-27\n\n## [1.2.2] - 2026-11-01\n"
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/openapi.json").write_text('{"info": {"version": "1.2.3"}}')
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all of it")
    return tmp_path


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], check=True)


def test_what_is_ready_has_nothing_against_it(repository: Path) -> None:
    assert check_release.uncommitted() is None
    assert check_release.tagged() is None
    assert check_release.changelog_lacks() is None
    assert check_release.openapi_is_another() is None


def test_what_is_not_says_what_to_do(repository: Path) -> None:
    (repository / "vehicle_search_client/VERSION").write_text("1.3.0\n")
    assert check_release.uncommitted() == " M vehicle_search_client/VERSION"
    assert "has 1.2.3: make [Unreleased] a section [1.3.0] - DATE" in str(check_release.changelog_lacks())
    assert check_release.openapi_is_another() == "it says 1.2.3: make openapi"
    assert "0.1.0 is installed" in str(check_release.installed_is_another())
    git("tag", "-a", "v1.3.0", "-m", "")
    assert "v1.3.0 is there already" in str(check_release.tagged())
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    assert "has no release" in str(check_release.changelog_lacks())


def test_the_last_line_of_what_failed_is_told() -> None:
    assert (
        check_release.failure("sh", "-c", "echo first; echo last >&2; exit 3")
        == "sh -c echo first; echo last >&2; exit 3: last"
    )
    assert check_release.failure("true") is None


def test_a_folder_of_the_last_release_is_opened(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no tag yet, of this commit itself: the way is the same."""
    since = check_upgrade.last_tag() or "HEAD"
    assert check_upgrade.main(["--since", since]) == 0
    out = capsys.readouterr().out
    assert f"50 matches and {len(check_upgrade.READS) + 1} answers, as before" in out
    assert "does not take" not in out


def test_what_an_upgrade_lost_is_told() -> None:
    before = {"images": [{"id": "a", "n": 1}, {"id": "b", "n": 2}], "disk_bytes": 5, "name": "yard"}
    more = {"images": [{"id": "b", "n": 2, "new": 0}, {"id": "a", "n": 1}], "disk_bytes": 7, "name": "yard", "new": 1}
    assert list(check_upgrade.lost("/v1", before, more)) == []
    assert sorted(check_upgrade.lost("/v1", before, {"images": [{"id": "a", "n": 1}, {"id": "b", "n": 3}]})) == [
        "/v1 images: {'id': 'b', 'n': 2} is gone", "/v1 name: yard was told, None is now",
    ]  # fmt: skip
    assert list(check_upgrade.lost("/crop", b"picture", None)) == ["/crop: b'picture' was told, None is now"]


def test_who_asks_for_help_or_names_no_commit_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for script, words in (
        (check_release, ["--help"]),
        (check_release, ["all"]),
        (check_upgrade, ["--since", "nothing"]),
    ):
        with pytest.raises(SystemExit):
            script.main(words)
    assert "git knows no such commit" in capsys.readouterr().err
