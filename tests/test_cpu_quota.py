"""Cores by affinity and cgroup quota, on small trees of files."""

from pathlib import Path

import pytest

from index.machine.cpu_quota import usable_cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/\n"}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 16),
        (V2, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (V2 | {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        (V2 | {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "nonsense"}, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "100000 0"}, 16),
        (
            {
                "proc/self/cgroup": "0::/pod/container\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000",
                "sys/fs/cgroup/pod/container/cpu.max": "800000 100000",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/../../pod\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
    ],
)
def test_the_smallest_bound_counts(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert usable_cpus(tree(tmp_path, files), affinity=16) == cpus


def test_affinity_bounds_and_is_read_from_the_scheduler() -> None:
    assert usable_cpus(affinity=1) == 1
    assert usable_cpus() >= 1
