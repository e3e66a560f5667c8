"""A .zip made as it is sent: in memory is one picture, or a part of a table. The same members are the same archive."""

import zipfile
from collections.abc import Iterable, Iterator
from typing import Final

Member = tuple[str, bytes | Iterable[bytes]]
"""Name and content: bytes are stored as they are, which pictures want; parts of a text are deflated."""

_TIME: Final = (1980, 1, 1, 0, 0, 0)  # of every member


def zip_stream(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of an archive of these, some at a time; a member is asked for when those before it are taken."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w") as archive:  # type: ignore[call-overload]  # it asks for no more than write and flush
        for name, content in members:
            info = zipfile.ZipInfo(name, _TIME)
            if isinstance(content, bytes):
                archive.writestr(info, content)
                yield outlet.take()
                continue
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                for part in content:
                    member.write(part)
                    yield outlet.take()
    yield outlet.take()


class _Outlet:
    """A file that only takes what is written, until that is taken from it."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken, self._held = b"".join(self._held), []
        return taken
