"""Archives for tests, written by the standard library."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

TAR_KINDS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
KINDS = (".zip", *TAR_KINDS)


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """An archive of the kind that its name says, with these files in this order; of one name only the last is left."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, TAR_KINDS[path.name[path.name.index(".tar") :]]) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
