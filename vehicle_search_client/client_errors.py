"""Everything that a call of the client raises on purpose.

VehicleSearchError
├── UnusableInput             nothing was sent: a picture that cannot be read, a value that no request can carry
├── Unreachable               no connection, or it was lost and the request may not be repeated
│   └── TimedOut              no answer in time
├── UnexpectedAnswer          the answer is none of this service's: another program, or a proxy's page
└── Refused                   the service said no; ``problem`` is what it said (RFC 9457)
    ├── BadRequest            400  a picture, multipart or JSON that cannot be read
    ├── Unauthorized          401  no API key, or an unknown one
    ├── Forbidden             403  the key may not do that, or the service only reads
    ├── NotFound              404  no such gallery, image, import or migration
    ├── Conflict              409  embedding space or gallery mismatch
    ├── TooLarge              413  more bytes, pixels or parts than the limit, which the message names (431: of a head)
    ├── UnsupportedType       415  not a picture type that is read
    ├── InvalidRequest        422  a parameter or metadata field
    ├── Busy                  429  the queue was full, each time
    ├── Unavailable           503  not ready, each time
    └── DiskFull              507  reads go on
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOCAL = "urn:vehicle-search-client:problem:"  # types of problems that no answer carried


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One part of a request that is at fault; ``pointer`` is an RFC 6901 pointer to it."""

    pointer: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong, as the service tells it. ``status`` is None where the client itself found it."""

    type: str
    title: str
    detail: str
    status: int | None = None
    errors: tuple[Fault, ...] = ()

    @property
    def kind(self) -> str:
        """The last part of the type, as ``undecodable-picture``: what a program tells problems apart by."""
        return self.type.rpartition(":")[2]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Problem":
        """Of a problem document; raises KeyError or TypeError where it is none."""
        faults = [Fault(pointer=str(one["pointer"]), detail=str(one["detail"])) for one in document.get("errors", ())]
        return cls(
            type=str(document["type"]), title=str(document["title"]), detail=str(document["detail"]),
            status=int(document["status"]), errors=tuple(faults),
        )  # fmt: skip


class VehicleSearchError(Exception):
    """Root of the tree; the message says what to do."""

    @property
    def problem(self) -> Problem:
        """The error as a problem document has it."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).capitalize()
        return Problem(type=LOCAL + words.lower().replace(" ", "-"), title=words, detail=str(self))


class UnusableInput(VehicleSearchError, ValueError):
    """Nothing was sent: a picture that cannot be read, or a value that no request can carry."""


class Unreachable(VehicleSearchError):
    """No connection, or it was lost and the request may not be repeated."""


class TimedOut(Unreachable):
    """No answer in time."""


class UnexpectedAnswer(VehicleSearchError):
    """The answer is none of this service's."""


class Refused(VehicleSearchError):
    """The service said no. ``retry_after`` is the seconds after which it wants to be asked again, where it said so."""

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(problem.detail)
        self._problem, self.retry_after = problem, retry_after

    @property
    def problem(self) -> Problem:
        return self._problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._problem.status or 0


class BadRequest(Refused):
    """A picture, multipart or JSON that cannot be read."""


class Unauthorized(Refused):
    """No API key, or an unknown one."""


class Forbidden(Refused):
    """The key may not do that, or the service only reads."""


class NotFound(Refused):
    """No such gallery, image, import or migration."""


class Conflict(Refused):
    """Embedding space or gallery mismatch."""


class TooLarge(Refused):
    """More bytes, pixels or parts than the limit, which the message names."""


class UnsupportedType(Refused):
    """Not a picture type that is read."""


class InvalidRequest(Refused):
    """A parameter or metadata field that is unknown or wrong; ``problem.errors`` points at it."""


class Busy(Refused):
    """The queue was full, each time."""


class Unavailable(Refused):
    """The service was not ready, each time."""


class DiskFull(Refused):
    """No space is left there; reads go on."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 413: TooLarge,
    415: UnsupportedType, 422: InvalidRequest, 429: Busy, 431: TooLarge, 503: Unavailable, 507: DiskFull,
}  # fmt: skip


def refusal(problem: Problem, *, retry_after: float | None = None) -> Refused:
    """The error of a problem, by its status."""
    return _BY_STATUS.get(problem.status or 0, Refused)(problem, retry_after=retry_after)
