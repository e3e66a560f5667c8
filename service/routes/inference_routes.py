"""The model by the Open Inference Protocol, for programs that speak it to any server: crops in, tensors out."""

from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from index.embedder import Embedder
from index.errors import EmbeddingNotFinite
from service.answering.request_turn import turn_of
from service.answering.uploads import Limits
from service.context import Context, context_of
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.openapi import examples
from service.routes.probe_routes import require_ready
from service.wire.documents import answer
from service.wire.inference_protocol import HEADER_LENGTH, Asked, Inference, read_inference, write_inference
from service.wire.parameters import read_parameters
from service.wire.problems import ModelNotFound

ModelName = Annotated[str, Path(description="The contract's name of a loaded model.", examples=[examples.MODEL])]

router = APIRouter(tags=["open inference protocol"])


@router.get("/v2", summary="The server", responses=say.inference_responses(say.SERVER_ANSWER, 422, key=False))
async def server(request: Request) -> Response:
    """Name, release, and the extensions of the protocol that are understood."""
    read_parameters(request, ())
    return answer(
        {"name": "vehicle-search", "version": version("vehicle-search"), "extensions": ["binary_tensor_data"]}
    )


@router.get(
    "/v2/health/live", summary="Is it alive?", responses=say.inference_responses(say.LIVE_ANSWER, 422, key=False)
)
async def live(request: Request) -> Response:
    """Whatever the model does."""
    read_parameters(request, ())
    return answer({"live": True})


@router.get(
    "/v2/health/ready", summary="Is it ready?", responses=say.inference_responses(say.READY_ANSWER, 422, 503, key=False)
)
async def ready(request: Request) -> Response:
    """The model answers and the service is not stopping, as ``/readyz``."""
    read_parameters(request, ())
    await require_ready(request)
    return answer({"ready": True})


@router.get(
    "/v2/models/{model}", summary="A model's tensors", responses=say.inference_responses(say.TENSORS_ANSWER, 404, 422)
)
async def metadata(request: Request, model: ModelName) -> Response:
    """Its input and outputs; −1 is any number."""
    read_parameters(request, ())
    embedder = _model(context_of(request), model)
    contract = embedder.contract
    shapes = {"embedding": [-1, contract.embedding_dim], "viewpoint": [-1, len(contract.viewpoints)]}
    outputs = [
        {"name": name, "datatype": "FP32", "shape": shapes.get(name, [-1, -1, -1])} for name in _outputs(embedder)
    ]
    crops = {"name": "crops", "datatype": "UINT8", "shape": [-1, *contract.input_size, 3]}
    return answer({"name": contract.name, "platform": "onnxruntime_onnx", "inputs": [crops], "outputs": outputs})


@router.get(
    "/v2/models/{model}/ready", summary="Is a model ready?",
    responses=say.inference_responses(say.MODEL_READY_ANSWER, 404, 422, 503),
)  # fmt: skip
async def model_ready(request: Request, model: ModelName) -> Response:
    """It is loaded, and the service is ready."""
    read_parameters(request, ())
    _model(context_of(request), model)
    await require_ready(request)
    return answer({"name": model, "ready": True})


@router.post(
    "/v2/models/{model}/infer", summary="Infer",
    responses=say.inference_responses(say.INFERENCE_ANSWER, 400, 404, 413, 415, 422, 429, 503, binary=True),
    openapi_extra=say.request(say.INFERENCE, (), timed=True),
)  # fmt: skip
async def infer(request: Request, model: ModelName) -> Response:
    """One input ``crops``, UINT8 (N, H, W, 3): upright RGB crops that are resized as the contract says.

    Outputs are ``embedding`` and ``viewpoint``; ``global_attention`` and ``local_attention`` where they are asked for.
    Tensors go as JSON, or as binary data behind it (header ``Inference-Header-Content-Length``).
    """
    context = context_of(request)
    read_parameters(request, ())
    embedder = _model(context, model)
    settings = context.settings
    asked = Asked(
        size=embedder.contract.input_size, most=settings.max_queries, setting=f"max_queries = {settings.max_queries}",
        outputs=_outputs(embedder), usual=[name for name in _outputs(embedder) if not name.endswith("attention")],
    )  # fmt: skip
    async with turn_of(request) as turn:
        body = await turn.body(Limits.of(settings, "max_queries"))
        inference = await run_in_threadpool(read_inference, body, request.headers.get(HEADER_LENGTH), asked)
        note(request, count=len(inference.crops))
        parts, _ = await context.engine.in_chunks(
            inference.crops, lambda crops: _tensors(context, embedder, crops, inference)
        )
        tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        content, length = await run_in_threadpool(write_inference, embedder.contract.name, inference, tensors)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})


def _model(context: Context, name: str) -> Embedder:
    for embedder in (context.models.present, context.models.previous):
        if embedder is not None and embedder.contract.name == name:
            return embedder
    raise ModelNotFound(f"no model {name[:60]!a} is loaded; there is {context.models.present.contract.name}")


def _outputs(embedder: Embedder) -> list[str]:
    viewpoint = ["viewpoint"] if embedder.contract.has_viewpoint else []
    attention = ["global_attention", "local_attention"] if embedder.has_attention else []
    return ["embedding", *viewpoint, *attention]


def _tensors(
    context: Context, embedder: Embedder, crops: NDArray[np.uint8], inference: Inference
) -> dict[str, NDArray[np.float32]]:
    """The outputs that are asked for, float32 (N, …), of some of the crops; runs on a worker."""
    wanted = {output.name for output in inference.outputs}
    tensors: dict[str, Any] = {}
    if wanted & {"embedding", "viewpoint"}:
        embedded = context.engine.embed(embedder, crops).embedded
        tensors |= {"embedding": embedded.embedding, "viewpoint": embedded.viewpoint}
    if wanted & {"global_attention", "local_attention"}:
        maps = embedder.attention(crops)
        tensors |= {"global_attention": maps.globally, "local_attention": maps.locally}
    chosen = {name: tensor for name, tensor in tensors.items() if name in wanted}
    if not all(np.isfinite(tensor).all() for tensor in chosen.values()):
        raise EmbeddingNotFinite("the model's answer to these crops is not finite")
    return chosen
