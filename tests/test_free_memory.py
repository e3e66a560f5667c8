"""Free memory by the machine and its control groups, on small trees of files."""

from pathlib import Path

import pytest

from index.machine.free_memory import free_memory
from tests.test_cpu_quota import tree

INFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable:    4000 kB\nBuffers: 1 kB\n"}
V2 = INFO | {"proc/self/cgroup": "0::/\n"}
STAT = "anon 5\ninactive_file 1024\nactive_file 7\n"


@pytest.mark.parametrize(
    ("files", "kib"),
    [
        ({}, None),
        (INFO, 4000),
        (V2 | {"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "5"}, 4000),
        (V2 | {"sys/fs/cgroup/memory.max": "2048000", "sys/fs/cgroup/memory.current": "1024000"}, 1000),
        (V2 | {"sys/fs/cgroup/memory.max": "1024", "sys/fs/cgroup/memory.current": "2048"}, 0),
        (
            V2
            | {
                "sys/fs/cgroup/memory.max": "2048000",
                "sys/fs/cgroup/memory.current": "1024000",
                "sys/fs/cgroup/memory.stat": STAT,
            },
            1001,
        ),
        (
            INFO
            | {
                "proc/self/cgroup": "0::/pod/container\n",
                "sys/fs/cgroup/pod/memory.max": "1024000",
                "sys/fs/cgroup/pod/memory.current": "512000",
                "sys/fs/cgroup/pod/container/memory.max": "9024000",
                "sys/fs/cgroup/pod/container/memory.current": "0",
            },
            500,
        ),
        (
            INFO
            | {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "2048000",
                "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": "1024000",
                "sys/fs/cgroup/memory/docker/x/memory.stat": "total_inactive_file 2048\n",
            },
            1002,
        ),
    ],
)
def test_the_smallest_bound_counts(tmp_path: Path, files: dict[str, str], kib: int | None) -> None:
    assert free_memory(tree(tmp_path, files)) == (None if kib is None else kib * 1024)


def test_this_machine_has_some() -> None:
    free = free_memory()
    assert free is not None
    assert free > 0
