"""The control groups that bind this process: where Linux keeps a container's limits."""

from collections.abc import Iterator
from pathlib import Path


def groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's groups for ``controller`` (cpu, memory), innermost first.

    A container usually sees its own group as the root of the mount, whatever path the host's name for it has; folders
    that do not exist are simply read as saying nothing.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "/")
        if controllers and controller not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        for mount in [mounts / controllers, mounts / controller] if controllers else [mounts]:
            for depth in range(len(names), -1, -1):
                yield mount.joinpath(*names[:depth])


def words(path: Path) -> list[str]:
    """What a small file of the kernel's says, word by word; nothing where it cannot be read."""
    return _read(path).split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
