"""Wheels and sdists of the service and of its client in dist/, looked through before anybody gets them.

python -m scripts.make_dist [--out dist]

Who builds the same commit again gets the same bytes: every time in them is the commit's, or SOURCE_DATE_EPOCH where
that is set (https://reproducible-builds.org/docs/source-date-epoch/).
"""

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

MODEL = Path("models/default.onnx")
VERSION = Path("vehicle_search_client/VERSION")
CLIENT = Path("vehicle_search_client")
PACKAGES = ("index", "model_export", "service", "vehicle_search_client")


def main(arguments: list[str] | None = None) -> int:
    """Build all four; 1 where something is missing from one."""
    parser = argparse.ArgumentParser(description="Build wheels and sdists, and look through them.")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder that takes them (default: dist)")
    out: Path = parser.parse_args(arguments).out
    epoch = source_date()
    for source in (Path(), CLIENT):
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    version = VERSION.read_text(encoding="utf-8").strip()
    for sdist in out.glob(f"vehicle_search*-{version}.tar.gz"):
        date_sdist(sdist, epoch)
    wheel, sdist = out / f"vehicle_search-{version}-py3-none-any.whl", out / f"vehicle_search-{version}.tar.gz"
    problems = [*problems_of_wheel(wheel), *problems_of_sdist(sdist)]
    for name in (wheel, sdist, *sorted(out.glob(f"vehicle_search_client-{version}*"))):
        print(f"{name}  {name.stat().st_size:,} bytes  sha256 {hashlib.sha256(name.read_bytes()).hexdigest()}")
    for problem in problems:
        print(f"wrong: {problem}")
    return 1 if problems else 0


def source_date() -> int:
    """Seconds since 1970 that everything is dated."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or subprocess.run(["git", "log", "-1", "--format=%ct"], check=True, capture_output=True).stdout)


def date_sdist(sdist: Path, epoch: int) -> None:
    """Write an sdist again in the order of names, dated and without a builder's name: setuptools dates wheels only."""
    with tarfile.open(sdist) as old:
        members = sorted(old.getmembers(), key=lambda member: member.name)
        contents = [old.extractfile(member) if member.isfile() else None for member in members]
        with (
            sdist.with_suffix(".new").open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member, content in zip(members, contents, strict=True):
                member.pax_headers, member.mtime = {}, epoch
                member.mode = 0o755 if member.mode & 0o100 else 0o644  # whatever the umask
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                new.addfile(member, content)
    sdist.with_suffix(".new").replace(sdist)


def problems_of_wheel(wheel: Path) -> list[str]:
    """What of the repository the wheel lacks or has in another state."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        found = [f"{wheel.name} lacks {path}" for path in sources() if path.as_posix() not in names]
        if "index/default.onnx" not in names:
            return [*found, f"{wheel.name} lacks the default model"]
        if archive.read("index/default.onnx") != MODEL.read_bytes():
            found.append(f"{wheel.name} has another model than {MODEL}")
    return found


def problems_of_sdist(sdist: Path) -> list[str]:
    """The same of the sdist."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [*sources(), MODEL, VERSION, Path("LICENSE"), Path("NOTICE"), Path("examples/query.jpg")]
    return [f"{sdist.name} lacks {path}" for path in wanted if path.as_posix() not in names]


def sources() -> list[Path]:
    """Every file of the packages that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z", *PACKAGES], check=True, capture_output=True, text=True).stdout
    paths = [Path(name) for name in listed.split("\0") if name]
    own = {CLIENT / "README.md", CLIENT / "pyproject.toml", VERSION, Path("service/console/tsconfig.json")}
    return [path for path in paths if path not in own]


if __name__ == "__main__":
    sys.exit(main())
