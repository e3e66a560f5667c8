"""The tree of the client's errors."""

import re

import pytest

from service.wire.problems import RESPONSES
from vehicle_search_client import Fault, NotFound, Problem, Refused, UnusableInput, VehicleSearchError, client_errors
from vehicle_search_client.client_errors import refusal


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = dict.fromkeys(re.findall(r"^[│ ]*[├└]── (\w+)", client_errors.__doc__ or "", re.MULTILINE))
    classes = [each for each in vars(client_errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert set(drawn) == {each.__name__ for each in classes} - {"VehicleSearchError"}
    assert all(issubclass(each, VehicleSearchError) for each in classes)
    statuses = re.findall(r"[├└]── (\w+) +(\d{3})", client_errors.__doc__ or "")
    for name, status in statuses:
        assert type(refusal(Problem(type="t", title="t", detail="d", status=int(status)))).__name__ == name


@pytest.mark.parametrize("status", sorted(RESPONSES))
def test_what_the_service_answers_is_an_error_here(status: int) -> None:
    error = refusal(Problem(type="urn:x:y", title="t", detail="because", status=status), retry_after=3)
    assert isinstance(error, Refused)
    assert (str(error), error.status, error.retry_after, error.problem.kind) == ("because", status, 3, "y")
    assert type(error) is not Refused or status == 408  # only what is seldom has no class of its own


def test_a_problem_is_read_with_its_faults() -> None:
    document = {
        "type": "urn:x:image-not-found", "title": "t", "status": 404, "detail": "d",
        "errors": [{"pointer": "/path", "detail": "e"}], "more": 1,
    }  # fmt: skip
    problem = Problem.from_document(document)
    assert problem.errors == (Fault(pointer="/path", detail="e"),)
    assert isinstance(refusal(problem), NotFound)
    for missing in ("type", "title", "status", "detail"):
        with pytest.raises((KeyError, TypeError)):
            Problem.from_document({key: value for key, value in document.items() if key != missing})


def test_what_the_client_finds_is_a_problem_too() -> None:
    problem = UnusableInput("no picture").problem
    assert (problem.status, problem.kind, problem.detail) == (None, "unusable-input", "no picture")
