"""Errors as problem documents."""

import json

import pytest

from index import errors
from index.errors import InvalidValue, VehicleSearchError
from service.wire import problems
from service.wire.problems import RESPONSES, problem_of, problem_response, status_of


def family(kind: type[VehicleSearchError]) -> list[type[VehicleSearchError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in family(child))]


def test_every_error_that_a_client_can_cause_has_a_status() -> None:
    ours = {  # and what nobody hears
        errors.DataFolderLocked, errors.DataFolderUnusable, errors.IndexDeviceUnavailable, errors.JobTaken, errors.NotEnoughMemory,
        VehicleSearchError, problems.ClientLeft,
    }  # fmt: skip
    groups = {errors.PictureError, errors.NotFound, errors.Conflict}
    for kind in family(VehicleSearchError):
        if kind.__module__ in (errors.__name__, problems.__name__) and kind not in ours | groups:
            status, title = status_of(kind("why"))
            assert status in RESPONSES, kind
            assert title


@pytest.mark.parametrize(
    ("error", "status"),
    [(errors.StorageFull("full"), 507), (errors.StorageError("broken"), 503)],
)
def test_the_disk(error: VehicleSearchError, status: int) -> None:
    assert status_of(error)[0] == status


def test_the_nearest_kind_decides() -> None:
    class Rotten(errors.UndecodablePicture):
        """A kind that the table does not know."""

    assert status_of(Rotten("x"))[0] == 400


def test_input_at_fault_has_a_pointer() -> None:
    document = problem_of(InvalidValue("wrong", pointer="/query/top_k"), pointer="/unused")
    assert document["errors"] == [{"pointer": "/query/top_k", "detail": "wrong"}]
    assert problem_of(errors.UndecodablePicture("cut"), pointer="/image/3")["errors"][0]["pointer"] == "/image/3"
    assert "errors" not in problem_of(errors.GalleryNotFound("none"))


def test_whatever_a_detail_says_it_can_be_sent() -> None:
    response = problem_response(problem_of(InvalidValue("lone \ud800 and \0 and ü", pointer="/\udfff")))
    assert json.loads(bytes(response.body))["detail"] == "lone \ud800 and \0 and ü"
    assert response.headers["content-type"] == "application/problem+json"


def test_a_full_queue_says_when_to_come_back() -> None:
    assert problem_response(problem_of(problems.QueueFull("full"))).headers["retry-after"] == "1"


def test_a_type_tells_problems_of_one_status_apart() -> None:
    assert problem_of(errors.GalleryNotFound("x"))["type"] == "urn:vehicle-search:problem:gallery-not-found"
    assert problem_of(errors.ImageNotFound("x"))["type"] == "urn:vehicle-search:problem:image-not-found"
    assert problems.plain_problem(405, "x")["type"] == "about:blank"
