"""The model that answers, and the probes of whoever watches the service."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from index.embedder import Embedder
from service.access.caller import caller_of
from service.answering.uploads import require_no_properties
from service.context import context_of
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.watching.usable_galleries import index_problems
from service.wire.documents import answer
from service.wire.parameters import read_parameters
from service.wire.problems import NotReady
from service.wire.shown_paths import shown

router = APIRouter(tags=["model and health"])


@router.get("/v1/model", summary="The loaded model", responses=say.responses(say.MODEL_ANSWER, 422))
async def model(request: Request) -> Response:
    """The contract of the model file, its fingerprint, and the execution provider that runs it.

    ``previous`` is the same of the model that answers for galleries which have not moved yet, null where none is set.
    """
    read_parameters(request, ())
    models = context_of(request).models
    previous = None if models.previous is None else _model_document(models.previous)
    return answer({**_model_document(models.present), "previous": previous})


@router.post(
    "/v1/model/reload", summary="Load the model file anew",
    responses=say.responses(say.RELOAD_ANSWER, 400, 409, 413, 422, 503),
    openapi_extra=say.request(say.NO_PROPERTIES, (), required=False),
)  # fmt: skip
async def reload_model(request: Request) -> Response:
    """For a file that was replaced: until this, or SIGHUP, that changes nothing.

    It is opened beside the model that answers, proved, and answers from then on; what is at work ends with the old one.
    The same file again changes nothing. A file that cannot be used (422), or whose embedding space would leave a
    gallery without a model (409), leaves the old one in its place.
    """
    context = context_of(request)
    read_parameters(request, ())
    await require_no_properties(request, context.settings, what="a reload")
    done = await run_in_threadpool(context.reloader.reload)
    note(request, old=done.old.fingerprint, new=done.new.fingerprint)
    document = {"changed": done.changed, "old": asdict(done.old), "new": asdict(done.new)}
    return answer({**document, "seconds": round(done.seconds, 3)})


@router.get(
    "/livez", summary="Is the process alive?",
    responses={200: say.answered(say.ALIVE_ANSWER, description="Yes"), **say.problems(422, key=False)},
)  # fmt: skip
async def livez(request: Request) -> Response:
    """Whatever the model does."""
    read_parameters(request, ())
    return answer({"status": "alive"})


@router.get(
    "/readyz",
    summary="Is the service ready?",
    responses={200: say.answered(say.READINESS_ANSWER, description="Yes"), **say.problems(422, 503, key=False)},
)
async def readyz(request: Request) -> Response:
    """The model is warmed up on the wanted provider, the galleries are loaded, and the service is not stopping.

    ``degraded``: some galleries are damaged and answer 503, or their files failed a request in the last ten minutes;
    ``damaged`` says why, the others are served.
    ``problems`` has what makes searches slower than they should be, never wrong, by gallery: why an index could not be
    built, or why the GPU does not answer. Where keys are asked for both name only the galleries of the caller's key.
    """
    read_parameters(request, ())
    await require_ready(request)
    context = context_of(request)
    damaged = context.failures.told() | dict(context.home.problems())
    slower = await run_in_threadpool(index_problems, context.home)
    caller, folder = caller_of(request), context.settings.data_dir

    def told(reasons: Mapping[str, str | None]) -> dict[str, str]:
        return {
            name: shown(why, folder, admin=caller.admin)
            for name, why in reasons.items()
            if why is not None and caller.reaches(name)
        }

    return answer({"status": "degraded" if damaged else "ready", "damaged": told(damaged), "problems": told(slower)})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: say.FIGURES, **say.problems(422)},
)
def metrics(request: Request) -> Response:
    """In base units: seconds, bytes, requests, images."""
    read_parameters(request, ())
    return Response(context_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def require_ready(request: Request) -> None:
    """Raise NotReady where the service is stopping, lets nobody in, or the model does not answer."""
    if request.app.state.stopping:
        raise NotReady("the service is stopping")
    context_of(request).keyring.require_fresh()
    await context_of(request).engine.check()


def _model_document(embedder: Embedder) -> dict[str, Any]:
    contract = json.loads(embedder.contract.to_json())
    return {"fingerprint": embedder.fingerprint, "provider": embedder.provider, "contract": contract}
