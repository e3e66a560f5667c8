"""How many cores this process may really use: its affinity and its container's quota, not the host's count."""

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/"), *, affinity: int | None = None) -> int:
    """Whole cores that this process may keep busy, at least 1.

    The smaller of ``affinity`` (default: what the scheduler allows) and the cgroup quotas below ``root``, rounded down
    so that a fraction of a core is left to everything else.
    """
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    return max(1, int(min([allowed, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Every quota that binds this process, in cores: its own group's and those of the groups around it."""
    for group in _groups(root):
        match _words(group / "cpu.max"):  # cgroup version 2
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)
        match _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us"):  # version 1; -1 is no limit
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's CPU groups, innermost first.

    A container usually sees its own group as the root of the mount, whatever path the host's name for it has; folders
    that do not exist are simply read as saying nothing.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "/")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        for mount in [mounts / controllers, mounts / "cpu"] if controllers else [mounts]:
            for depth in range(len(names), -1, -1):
                yield mount.joinpath(*names[:depth])


def _words(path: Path) -> list[str]:
    return _read(path).split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
