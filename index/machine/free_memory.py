"""How much memory this process may still take: the machine's and its container's, whichever is less."""

from collections.abc import Iterator
from pathlib import Path

from index.machine.control_groups import groups, words


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes; None where nothing says. Page cache that the kernel would give back counts as free."""
    return min([*_available(root), *_left(root)], default=None)


def _available(root: Path) -> Iterator[int]:
    said = words(root / "proc/meminfo")
    if "MemAvailable:" in said:
        yield int(said[said.index("MemAvailable:") + 1]) * 1024


def _left(root: Path) -> Iterator[int]:
    """What each group that binds this process leaves under its limit."""
    for group in groups(root, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),  # cgroup version 2
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
        ):
            match words(group / limit) + words(group / used):
                case [most, now] if most.isdigit() and now.isdigit():
                    yield max(int(most) - int(now) + _number(words(group / "memory.stat"), cache), 0)


def _number(said: list[str], name: str) -> int:
    return int(said[said.index(name) + 1]) if name in said else 0
