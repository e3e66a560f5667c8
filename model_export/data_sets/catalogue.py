"""Public data sets that are read, and how one comes by them: from an address, or by asking.

Addresses, terms and contacts are those that the sets' own pages give; where a page gives no checksum or licence, the
entry says so and nothing is made up.
"""

from dataclasses import dataclass, replace
from typing import Any

from index.errors import InvalidValue
from model_export.data_sets.transfer import RemoteFile, read_json

_ORIENTATION = "https://sekilab-students.s3.ap-northeast-1.amazonaws.com/2021/vehicle-orientation-dataset"
_KEYPOINTS = "https://raw.githubusercontent.com/Zhongdao/VehicleReIDKeyPointData/master"


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """A data set in a Dataverse, which tells its files, checksums and licence itself."""

    server: str
    doi: str


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A data set: what it is, under which terms, and its files, its deposit, or whom to ask how."""

    name: str
    spec: str
    what: str
    page: str
    licence: str
    citation: str
    files: tuple[RemoteFile, ...] = ()
    deposit: Deposit | None = None
    ask: str = ""  # whom, and what to write
    then: str = ""  # what to do with the files

    def offer(self, *, mirror: str = "") -> tuple[str, tuple[RemoteFile, ...]]:
        """(licence, files), asked of the deposit where there is one; ``mirror`` replaces the server.

        Raises InvalidValue where the deposit does not answer.
        """
        base = mirror.rstrip("/")
        if self.deposit is None:
            files = self.files
            if base:
                files = tuple(replace(file, url=f"{base}/{file.name}") for file in files)
            return self.licence, files
        return _deposited(self.deposit, base or self.deposit.server)


def catalogue() -> dict[str, CatalogueEntry]:
    """All entries by name."""
    return {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> CatalogueEntry:
    """The entry of a name; raises InvalidValue naming those that there are."""
    entries = catalogue()
    if name not in entries:
        raise InvalidValue(f"data set {name!r} is not one of {', '.join(entries)}")
    return entries[name]


def _deposited(deposit: Deposit, server: str) -> tuple[str, tuple[RemoteFile, ...]]:
    """Licence and files by Dataverse's native API (https://guides.dataverse.org/en/latest/api/native-api.html)."""
    url = f"{server}/api/datasets/:persistentId/?persistentId=doi:{deposit.doi}"
    try:
        version = read_json(url)["data"]["latestVersion"]
        closed = [file["dataFile"]["filename"] for file in version["files"] if file.get("restricted")]
        files = tuple(_deposited_file(server, file) for file in version["files"] if not file.get("restricted"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidValue(f"{url}: not what a Dataverse says of a data set: {error!r}") from error
    if not files:
        raise InvalidValue(f"{url}: all files are restricted ({', '.join(closed)}); ask for access on the page")
    licence = version.get("license")
    if isinstance(licence, dict):
        licence = f"{licence.get('name', '')} {licence.get('uri', '')}".strip()
    return str(licence or version.get("termsOfUse") or "none stated by the deposit"), files


def _deposited_file(server: str, file: dict[str, Any]) -> RemoteFile:
    data = file["dataFile"]
    checksum = data.get("checksum") or {}
    path = f"{file.get('directoryLabel') or ''}/{data['filename']}".replace("\\", "/")
    return RemoteFile(
        name="/".join(word for word in path.split("/") if word not in ("", ".", "..")),  # never outside the folder
        url=f"{server}/api/access/datafile/{int(data['id'])}",
        size=data.get("filesize"),
        sha256=checksum.get("value") if checksum.get("type") == "SHA-256" else None,
        md5=data.get("md5") or (checksum.get("value") if checksum.get("type") == "MD5" else None),
    )


_LETTER = """\
Subject: Request for {name}

Dear {whom},

I am NAME, POSITION at INSTITUTION. I would like to use {name} for PURPOSE. I shall use it for research only, not
commercially, shall not pass it on, and shall cite

  {citation}

Kind regards,
NAME, INSTITUTION, ADDRESS OF THE INSTITUTION"""

_VERI = (
    "Liu, Liu, Mei, Ma: A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban "
    "Surveillance. ECCV 2016."
)
_VEHICLEID = (
    "Liu, Tian, Wang, Pang, Huang: Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles. "
    "CVPR 2016."
)

_ENTRIES = (
    CatalogueEntry(
        name="veri776",
        spec="veri776:DIR",
        what="776 vehicles, 20 cameras, 49,357 crops, colour and type",
        page="https://github.com/JDAI-CV/VeRidataset",
        licence="non-commercial research; not to be passed on",
        citation=_VERI,
        ask="xinchenliu at bupt dot edu dot cn, from your institution's address, with full name and affiliation:\n\n"
        + _LETTER.format(name="VeRi-776", whom="Dr Liu", citation=_VERI),
    ),
    CatalogueEntry(
        name="veri776-viewpoints",
        spec="(read by veri776:DIR)",
        what="orientation and 20 keypoints of VeRi-776's pictures, by hand",
        page="https://github.com/Zhongdao/VehicleReIDKeyPointData",
        licence="none stated; labels of VeRi-776's pictures, whose terms are non-commercial research",
        citation="Wang et al.: Orientation Invariant Feature Embedding and Spatial Temporal Regularization for Vehicle "
        "Re-identification. ICCV 2017.",
        files=tuple(
            RemoteFile(name=name, url=f"{_KEYPOINTS}/{name}") for name in ("keypoint_train.txt", "keypoint_test.txt")
        ),
        then="put both files into VeRi-776's folder",
    ),
    CatalogueEntry(
        name="vehicleid",
        spec="vehicleid:DIR",
        what="26,328 vehicles from the front or rear, 221,567 crops, model and colour of some",
        page="https://www.pkuml.org/resources/pku-vehicleid.html",
        licence="academic research; no commercial use",
        citation=_VEHICLEID,
        ask="the National Engineering Laboratory for Video Technology, Peking University: sign the agreement on the "
        "page and send it from an academic address:\n\n"
        + _LETTER.format(name="PKU VehicleID", whom="Sir or Madam", citation=_VEHICLEID),
    ),
    CatalogueEntry(
        name="vehicle-orientation",
        spec="vehicle-orientation:DIR",
        what="213,714 street pictures, over a million boxes: class and front, back or side; 5 parts, about 100 GB",
        page="https://github.com/sekilab/VehicleOrientationDataset",
        licence="MIT",
        citation="Kumar, Kashiyama, Maeda, Sekimoto: Citywide reconstruction of cross-sectional traffic flow from "
        "moving camera videos. IEEE Big Data 2021.",
        files=tuple(
            RemoteFile(name=f"vehicle-orientation-{n}.zip", url=f"{_ORIENTATION}/vehicle-orientation-{n}.zip")
            for n in range(1, 6)
        ),
        then="unpack each archive where it lies",
    ),
    CatalogueEntry(
        name="uc3m-vri",
        spec="uc3m-vri:DIR",
        what="1,611 frames of 286 vehicles, highway and intersections, make, model, year and colour",
        page="https://github.com/ramajoballester/UC3M-VRI",
        licence="as its deposit says (asked when downloading)",
        citation="Ramajo-Ballester, Armingol Moreno, de la Escalera Hueso: Dual license plate recognition and visual "
        "features encoding for vehicle identification. Robotics and Autonomous Systems 172, 2024.",
        deposit=Deposit(server="https://edatos.consorciomadrono.es", doi="10.21950/MKWOEQ"),
        then="unpack the archives",
    ),
)
