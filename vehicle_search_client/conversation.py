"""What is asked and how long is waited, as generators that yield calls and pauses and are given what comes of them.

What comes of a call is a response or a transport's error, of a pause nothing.

Nothing here knows whether somebody blocks or awaits, so repeating, splitting and watching are written once.
"""

import email.utils
import itertools
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import httpx
from tqdm import tqdm

from vehicle_search_client.calls import Call
from vehicle_search_client.client_errors import (
    Problem,
    Refused,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
    refusal,
)

T = TypeVar("T")

_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # nothing of the request has left
_SHOWN: Final = 200  # characters of an answer that is none
_POLL_SECONDS: Final = 0.5, 5.0  # between two looks at a job: at first, at most


@dataclass(frozen=True)
class Wait:
    """A pause before the next step."""

    seconds: float


Outcome = httpx.Response | httpx.TransportError | None
Talk = Generator[Call[Any] | Wait, Outcome, T]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often and when a request is sent again. Seconds; ``longest`` bounds one pause, also one that is asked for.

    Pauses double from ``first``, each drawn between its half and its whole, so that many clients do not come at once.
    What ``Retry-After`` says is waited at least; where it is beyond ``longest`` the refusal is raised.
    """

    retries: int = 5
    first: float = 0.5
    longest: float = 30.0
    draw: Callable[[], float] = random.random  # in [0, 1)

    def pause(self, attempt: int, retry_after: float | None) -> float | None:
        """Seconds before the attempt after ``attempt`` (from 0); None where there is none."""
        if attempt >= self.retries or (retry_after or 0) > self.longest:
            return None
        backed_off: float = min(self.longest, self.first * 2**attempt) * (1 + self.draw()) / 2
        return backed_off if retry_after is None else max(backed_off, retry_after + self.first * self.draw())


class Progress(Protocol):
    """A job that is watched."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int | None: ...
    @property
    def ended(self) -> bool: ...


Job = TypeVar("Job", bound=Progress)


def asked(call: Call[T], patience: Patience) -> Talk[T]:
    """The answer to a call, which is sent again where it may be; raises what the tree of errors has."""
    lost = False
    for attempt in itertools.count():
        response = yield call
        assert response is not None  # noqa: S101  # something comes of a call
        if isinstance(response, httpx.TransportError):
            begun = not isinstance(response, _UNSENT)
            pause = patience.pause(attempt, None) if _may_follow(call, response) else None
            if pause is None:
                raise _unreachable(response) from response
            lost = lost or begun
        else:
            if response.status_code < 400 or response.status_code in call.accepted:
                return _read(call, response)
            refused = _refused(response)
            if lost and call.method == "DELETE" and response.status_code == 404:
                return _read(call, httpx.Response(204, request=response.request))  # what was lost did it
            pause = patience.pause(attempt, refused.retry_after) if _may_follow(call, response) else None
            if pause is None:
                raise refused
        yield Wait(pause)
    raise AssertionError  # the count has no end


def watched(look: Call[Job], patience: Patience, *, progress: bool, unit: str) -> Talk[Job]:
    """A job when it has ended; asked about now and then, with a bar of how far it is."""
    seconds, longest = _POLL_SECONDS
    with tqdm(unit=unit, disable=None if progress else True) as bar:
        while True:
            job = yield from asked(look, patience)
            bar.total = job.total
            bar.update(job.done - bar.n)
            if job.ended:
                return job
            yield Wait(seconds)
            seconds = min(longest, seconds * 1.5)


def _may_follow(call: Call[Any], mishap: httpx.Response | httpx.TransportError) -> bool:
    """Whether the call may be sent again after this."""
    if isinstance(mishap, httpx.Response):
        undone, passing = mishap.status_code == 429, mishap.status_code == 503
    else:
        undone = isinstance(mishap, _UNSENT)
        passing = not isinstance(mishap, httpx.TimeoutException)  # who is slow is not given a second one to do
    return call.repetition != "never" and (undone or (passing and call.repetition == "always"))


def _read(call: Call[T], response: httpx.Response) -> T:
    try:
        return call.read(response)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unexpected(response) from error


def _refused(response: httpx.Response) -> Refused:
    try:
        problem = Problem.from_document(response.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if response.status_code not in (429, 503):  # a proxy says these, too
            raise _unexpected(response) from error
        detail = f"{response.url} answers {response.status_code} {response.reason_phrase}"
        problem = Problem(type="about:blank", title=response.reason_phrase, status=response.status_code, detail=detail)
    return refusal(problem, retry_after=_retry_after(response.headers.get("retry-after", "")))


def _retry_after(text: str) -> float | None:
    """Seconds, of a number or a date (RFC 9110, 10.2.3); None where it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _unexpected(response: httpx.Response) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{response.request.method} {response.url} answers {response.status_code} with {response.text[:_SHOWN]!r}: "
        "is that a vehicle search service?"
    )


def _unreachable(error: httpx.TransportError) -> Unreachable:
    where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{where} did not answer in time ({type(error).__name__}); give the client a larger timeout")
    return Unreachable(f"{where} cannot be reached: {error or type(error).__name__}; is the service running there?")
