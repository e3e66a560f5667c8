"""Which file system a folder lies on, by the kernel's own list, and whether a database may lie there."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNT_INFO: Final = Path("/proc/self/mountinfo")

_NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.davfs2", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.goofys", "fuse.grpcfuse", "fuse.juicefs", "fuse.moosefs", "fuse.rclone", "fuse.s3fs",
        "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs",
        "pvfs2", "smb3", "smbfs", "virtiofs", "vboxsf",
    }
)  # fmt: skip
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, of which type, and what is mounted."""

    point: str
    type: str
    source: str

    @property
    def network(self) -> bool:
        """Whether other machines may have it mounted, too."""
        return self.type in _NETWORK


@dataclass(frozen=True)
class _Line:
    """A line of the list: the mount, its number and that of the one it lies on."""

    number: str
    parent: str
    mount: Mount


def mount_of(path: Path, text: str) -> Mount | None:
    """The mount that a path, absolute and without links, lies on; None where the list does not tell.

    The way down from the root is gone as the kernel goes it: at each folder, on from the mount that was reached to what
    is mounted on it there, so that one that is hidden below another, later one is passed by.
    """
    lines = [line for line in map(_line, text.split("\n")) if line is not None]
    numbers = {line.number for line in lines}
    here = next(
        (each for each in lines if each.mount.point == "/" and each.parent not in numbers - {each.number}), None
    )
    if here is None:
        return None
    for folder in (*reversed(path.parents), path):
        point = str(folder)
        while above := next(
            (line for line in lines if line.parent == here.number and line.mount.point == point and line is not here),
            None,
        ):
            lines.remove(here)  # nobody comes back to it
            here = above
    return here.mount


def network_warning(path: Path, text: str | None = None) -> str | None:
    """What to say where a data folder, which need not exist, lies on a network file system.

    ``text``: the kernel's list, by default of this process; nothing is said where there is none.
    """
    if text is None:
        try:
            text = MOUNT_INFO.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    mount = mount_of(Path(os.path.realpath(path)), text)
    if mount is None or not mount.network:
        return None
    return (
        f"the data folder {path} lies on {mount.point}, a network file system ({mount.type} of {mount.source}): a "
        "database there can be damaged when two machines open it, and its locks and flushes may not hold; put it on a "
        "disk of this machine, and back it up to the network (`vehicle-index backup`)"
    )


def _line(text: str) -> _Line | None:
    """``36 35 98:0 /root /point options optional… - type source options``; None for anything else."""
    before, dash, after = text.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 2:
        return None
    return _Line(fields[0], fields[1], Mount(_plain(fields[4]), rest[0], _plain(rest[1])))


def _plain(field: str) -> str:
    r"""A field without the kernel's escapes: ``\040`` is a space; the digits are of bytes."""
    data = field.encode("utf-8", errors="surrogateescape")
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), data).decode("utf-8", errors="surrogateescape")
