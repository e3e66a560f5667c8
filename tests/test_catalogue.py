"""Where data sets come from."""

import hashlib
import json

import pytest

from index.errors import InvalidValue
from model_export.data_sets.catalogue import catalogue, find
from model_export.data_sets.data_set import open_data_set
from tests.file_server import serving_files

DEPOSITED = {
    "data": {
        "latestVersion": {
            "license": {"name": "CC BY 4.0", "uri": "https://creativecommons.org/licenses/by/4.0"},
            "files": [
                {"dataFile": {"id": 7, "filename": "highway.zip", "filesize": 3, "md5": hashlib.md5(b"abc").hexdigest()}},
                {"directoryLabel": "../a/b", "dataFile": {"id": 8, "filename": "c.json", "filesize": 2,
                 "checksum": {"type": "SHA-256", "value": hashlib.sha256(b"{}").hexdigest()}}},
                {"restricted": True, "dataFile": {"id": 9, "filename": "plates.zip"}},
            ],
        }
    }
}  # fmt: skip
API = "/api/datasets/:persistentId/?persistentId=doi:10.21950/MKWOEQ"


def test_every_entry_says_its_terms_and_how_it_is_had() -> None:
    for name, entry in catalogue().items():
        assert entry.name == name
        assert entry.licence
        assert entry.citation
        assert entry.page.startswith("https://")
        assert [bool(entry.files), entry.deposit is not None, bool(entry.ask)].count(True) == 1
        if entry.ask:
            assert entry.citation in entry.ask
            assert "Subject:" in entry.ask


def test_every_spec_of_an_entry_is_read() -> None:
    for entry in catalogue().values():
        if entry.spec.endswith(":DIR"):
            with pytest.raises(InvalidValue, match="there is no such folder"):
                open_data_set(entry.spec.replace("DIR", "/nowhere/at/all"))


def test_a_name_that_is_not_known_lists_those_that_are() -> None:
    with pytest.raises(InvalidValue, match="'cars' is not one of veri776, veri776-viewpoints, vehicleid, "):
        find("cars")


def test_a_deposit_tells_licence_files_and_checksums() -> None:
    with serving_files() as server:
        server.files[API] = json.dumps(DEPOSITED).encode()
        licence, (archive, label) = find("uc3m-vri").offer(mirror=f"{server.address}/")
    assert licence == "CC BY 4.0 https://creativecommons.org/licenses/by/4.0"
    assert (archive.name, archive.size, archive.md5) == ("highway.zip", 3, hashlib.md5(b"abc").hexdigest())
    assert archive.url == f"{server.address}/api/access/datafile/7"
    assert (label.name, label.sha256) == ("a/b/c.json", hashlib.sha256(b"{}").hexdigest())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("[]", "not what a Dataverse says"),
        ('{"data": {"latestVersion": {"files": [{"restricted": true, "dataFile": {"filename": "a.zip"}}]}}}', r"all files are restricted \(a\.zip\)"),
        ("<html>", "no JSON document there"),
    ],
)  # fmt: skip
def test_a_deposit_that_gives_nothing_is_said(answer: str, words: str) -> None:
    with serving_files() as server:
        server.files[API] = answer.encode()
        with pytest.raises(InvalidValue, match=words):
            find("uc3m-vri").offer(mirror=server.address)
