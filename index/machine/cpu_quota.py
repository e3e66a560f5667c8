"""How many cores this process may really use: its affinity and its container's quota, not the host's count."""

import os
from collections.abc import Iterator
from pathlib import Path

from index.machine.control_groups import groups, words


def usable_cpus(root: Path = Path("/"), *, affinity: int | None = None) -> int:
    """Whole cores that this process may keep busy, at least 1.

    The smaller of ``affinity`` (default: what the scheduler allows) and the cgroup quotas below ``root``, rounded down
    so that a fraction of a core is left to everything else.
    """
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    return max(1, int(min([allowed, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Every quota that binds this process, in cores: its own group's and those of the groups around it."""
    for group in groups(root, "cpu"):
        match words(group / "cpu.max"):  # cgroup version 2
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)
        match words(group / "cpu.cfs_quota_us") + words(group / "cpu.cfs_period_us"):  # version 1; -1 is no limit
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)
