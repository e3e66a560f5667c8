"""What is read from archives, and what is not."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from index.bulk.picture_archive import ArchiveLimits, entry_name, is_archive, open_archive
from index.errors import InvalidValue
from tests.archives import KINDS, pack
from tests.pictures import jpeg

FILES = {"a.jpg": jpeg(0), "cam1/b.jpg": jpeg(1), "cam1/notes.txt": b"x" * 5000}


def read(path: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes | str]:
    """Bytes of every entry by its name, or what is wrong with it."""
    with open_archive(path, limits or ArchiveLimits()) as archive:
        return {entry.name: entry.problem or entry.read() for entry in archive}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_back_what_was_packed(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"x{kind}", FILES)
    assert is_archive(path)
    assert read(path.rename(tmp_path / "named.otherwise")) == FILES


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for number, data in enumerate((jpeg(0), b"", b"path\na.jpg\n")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert not is_archive(path)


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("a.jpg", "a.jpg", None),
        ("./cam1//a.jpg", "cam1/a.jpg", None),
        ("cam1\\a.jpg", "cam1/a.jpg", None),
        ("u\u0308.jpg", "ü.jpg", None),
        ("../a.jpg", "../a.jpg", "its name leads out of the archive"),
        ("cam1/..\\..\\a.jpg", "cam1/../../a.jpg", "its name leads out of the archive"),
        ("/etc/a.jpg", "etc/a.jpg", "its name is an absolute path"),
        ("C:\\a.jpg", "C:/a.jpg", "its name is an absolute path"),
        ("a\0.jpg", "a\0.jpg", "its name is no name of a file"),
        ("./", "", "its name is no name of a file"),
    ],
)
def test_names(text: str, name: str, problem: str | None) -> None:
    assert entry_name(text) == (name, problem)


@pytest.mark.parametrize("kind", KINDS)
def test_paths_that_lead_elsewhere_are_refused_and_the_rest_is_read(tmp_path: Path, kind: str) -> None:
    found = read(pack(tmp_path / f"x{kind}", {"../a.jpg": b"1", "/etc/b.jpg": b"2", "c.jpg": b"3"}))
    assert found == {
        "../a.jpg": "its name leads out of the archive", "etc/b.jpg": "its name is an absolute path", "c.jpg": b"3",
    }  # fmt: skip


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    link = "it is a link; links in archives are not followed"
    assert read(tmp_path / "x.tar") == {
        "0.jpg": link,
        "1.jpg": link,
        "2.jpg": "it is no file",
        "3.jpg": "it is no file",
    }


def test_what_macos_packs_for_itself_is_left_out(tmp_path: Path) -> None:
    assert read(pack(tmp_path / "x.zip", {"a.jpg": b"1", "__MACOSX/._a.jpg": b"2", "._b.jpg": b"3"})) == {"a.jpg": b"1"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_that_is_too_large_is_refused_alone(tmp_path: Path, kind: str) -> None:
    found = read(pack(tmp_path / f"x{kind}", {"a": bytes(101), "b": bytes(100)}), ArchiveLimits(entry_bytes=100))
    assert found == {"a": "it has 101 bytes; the limit is 100", "b": bytes(100)}


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_entries_are_refused(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"x{kind}", {"a": b"1", "b": b"2", "c": b"3"})
    assert len(read(path, ArchiveLimits(entries=3))) == 3
    with pytest.raises(InvalidValue, match=r"x\..* more than 2 entries"):
        read(path, ArchiveLimits(entries=2))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ".tar"])
def test_what_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"x{kind}", {"a": bytes(1_000_000), "b": bytes(1_000_000)})
    assert len(read(path)) == 2
    with pytest.raises(InvalidValue, match="more than 50 times its size"):
        read(path, ArchiveLimits(ratio=50, slack=1000))
    with pytest.raises(InvalidValue, match="more than 1,000,000 bytes"):
        read(path, ArchiveLimits(total_bytes=1_000_000))


def test_a_bomb_ends_although_nobody_reads_its_entry(tmp_path: Path) -> None:
    """Getting past an entry of a compressed TAR means unpacking it."""
    info = tarfile.TarInfo("a")
    info.size = 1 << 40
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(50_000_000), 1))
    limits = ArchiveLimits(slack=1_000_000)
    with pytest.raises(InvalidValue, match="200 times its size"), open_archive(tmp_path / "x.tar.gz", limits) as found:
        for _ in found:
            pass


def test_what_a_tar_says_of_an_entry_is_not_read_without_limit(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(10_000))
    with pytest.raises(InvalidValue, match="an entry of 4,294,967,296 bytes"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_is_told(tmp_path: Path, kind: str) -> None:
    noise = {f"{n}": bytes(jpeg(n)) for n in range(20)}
    path = pack(tmp_path / f"x{kind}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidValue, match=r"the archive .*x\.\S+ cannot be read"):
        read(path)


def test_a_tar_that_is_damaged_in_the_middle_does_not_end_there(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", {"a": b"1" * 600, "b": b"2" * 600})
    data = bytearray(path.read_bytes())
    data[512 + 1024 : 512 + 1024 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(InvalidValue, match="damaged after 1 entries"):
        read(path)


def test_a_damaged_entry_of_a_zip_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", b"first")
        archive.writestr("b", b"second")
    path.write_bytes(path.read_bytes().replace(b"first", b"fisrt", 1))
    with open_archive(path) as opened:
        first, second = opened
        with pytest.raises(InvalidValue, match="the entry is damaged"):
            first.read()
        assert second.read() == b"second"


def test_long_names_of_every_writer_are_read(tmp_path: Path) -> None:
    name = "d" * 150 + "/ü" + "f" * 150
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=kind) as tar:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
        assert read(tmp_path / "x.tar") == {name: b"1"}
