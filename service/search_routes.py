"""Searching: one picture, several of one vehicle, a batch, or a stored image."""

import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from index.crops import model_crop, read_picture
from index.errors import InvalidValue, VehicleSearchError
from index.gallery import Gallery, Match, SearchOptions, StoredImage
from service import descriptions as say
from service.context import Context, context_of, image_id_of
from service.documents import answer, match_document, viewpoint_document
from service.engine import Seen
from service.parameters import BOX, COMBINE, SEARCH, Values, read_parameters, search_options_of
from service.problems import problem_of, problem_response
from service.uploads import Limits, read_upload

MAX_COMBINED = 8  # pictures of one vehicle, DESIGN section 4

router = APIRouter(tags=["search"])


@router.post(
    "/v1/galleries/{gallery}/search",
    summary="Where else was this vehicle seen?",
    responses=say.responses(say.SEARCH_ANSWER, 400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=say.request(say.PICTURE_OR_PARTS, (BOX, COMBINE, *SEARCH), attributes=True),
)
async def search(request: Request, gallery: str) -> Response:
    """Send a picture as the raw body (``--data-binary @car.jpg``) or as the part ``image``; get ranked matches.

    Distances are Euclidean. With ``combine=mean``, 2–8 parts ``image`` of one vehicle are searched for together.
    """
    began = time.perf_counter()
    context = context_of(request)
    values = read_parameters(request, (BOX, COMBINE, *SEARCH), attributes=True)
    target = await context.comparable(gallery)
    options = search_options_of(values, target.spec.viewpoints)
    limits = Limits(
        max_bytes=context.settings.max_body_bytes, max_images=MAX_COMBINED, images_setting="8 pictures of one vehicle"
    )
    async with context.engine.place():
        upload = await read_upload(request, limits)
        if len(upload.images) > 1 and values.one("combine") is None:
            raise InvalidValue(
                f"{len(upload.images)} parts 'image': add combine=mean if they show one vehicle, else use search/batch",
                pointer="/image",
            )
        box = values.one("box")
        if box is not None and len(upload.images) > 1:
            raise InvalidValue("parameter box goes with one picture only", pointer="/query/box")
        if len(upload.images) == 1:
            picture = upload.images[0]
            (seen, matches, seconds), waited = await context.engine.run(
                lambda: _one(context, target, picture, box, options)
            )
            looked = [seen]
        else:
            everything = await context.engine.look_at_all([(data, None) for data in upload.images], keep=False)
            looked = []
            for number, one in enumerate(everything):
                if isinstance(one, VehicleSearchError):
                    error = type(one)(f"image {number}: {one}")
                    return problem_response(problem_of(error, pointer=f"/image/{number}"))
                looked.append(one)
            query = _mean(looked, normalized=context.embedder.contract.normalized)
            (matches, seconds), waited = await context.engine.run(lambda: _find(context, target, query, options))
        document = _document(context, target, matches, values, looked)
        if "attention" in values.one("include", ()):
            document["attention"], _ = await context.engine.run(lambda: _attention(context, looked[0].crop))
    document["timing_ms"] = _milliseconds(
        decode=sum(one.decode for one in looked), queue=waited, embed=sum(one.embed for one in looked), search=seconds,
        total=time.perf_counter() - began,
    )  # fmt: skip
    return answer(document)


@router.post(
    "/v1/galleries/{gallery}/search/batch",
    summary="Search for several vehicles",
    responses=say.responses(say.BATCH_ANSWER, 400, 404, 409, 413, 422, 429, 503),
    openapi_extra=say.request(say.PARTS, SEARCH, attributes=True),
)
async def search_batch(request: Request, gallery: str) -> Response:
    """One vehicle a part ``image``; the results come in the order of the parts, a bad picture's as a problem."""
    began = time.perf_counter()
    context = context_of(request)
    values = read_parameters(request, SEARCH, attributes=True)
    target = await context.comparable(gallery)
    options = search_options_of(values, target.spec.viewpoints)
    async with context.engine.place():
        upload = await read_upload(request, _query_limits(context))
        looked = await context.engine.look_at_all([(data, None) for data in upload.images], keep=False)
        good = [one for one in looked if isinstance(one, Seen)]
        found: list[list[Match]] = []
        seconds = 0.0
        if good:
            queries = np.stack([one.embedding for one in good])  # (Q, D)
            (found, seconds), _ = await context.engine.run(lambda: _find_all(context, target, queries, options))
        answers = iter(zip(good, found, strict=True))
        results = []
        for number, one in enumerate(looked):
            if not isinstance(one, Seen):
                results.append({"problem": problem_of(one, pointer=f"/image/{number}")})
                continue
            seen, matches = next(answers)
            results.append(_document(context, target, matches, values, [seen], whole=False))
    timing = _milliseconds(search=seconds, total=time.perf_counter() - began)
    return answer({"gallery": gallery, "model": context.embedder.fingerprint, "results": results, "timing_ms": timing})


@router.get(
    "/v1/galleries/{gallery}/images/{image_id}/similar",
    summary="Search with a stored image",
    responses=say.responses(say.SEARCH_ANSWER, 404, 409, 422, 429, 503),
    openapi_extra=say.request(None, SEARCH, attributes=True),
)
async def similar(request: Request, gallery: str, image_id: str) -> Response:
    """The same search with a stored image as the query; the image itself is left out."""
    began = time.perf_counter()
    context = context_of(request)
    values = read_parameters(request, SEARCH, attributes=True)
    target = await context.comparable(gallery)
    own = image_id_of(image_id)
    options = search_options_of(values, target.spec.viewpoints, exclude=own)
    async with context.engine.place():

        def find() -> tuple[StoredImage, NDArray[np.float32], list[Match], float]:
            stored, query = target.get(own), target.embedding(own)
            return stored, query, *_find(context, target, query, options)

        (stored, query, matches, seconds), waited = await context.engine.run(find)
        document = _document(context, target, matches, values, [])
        document["viewpoint"] = {name: round(p, 4) for name, p in stored.viewpoint.items()}
        if "embedding" in values.one("include", ()):
            document["embedding"] = query.tolist()
        if "attention" in values.one("include", ()):
            document["attention"], _ = await context.engine.run(lambda: _stored_attention(context, target, own))
    document["timing_ms"] = _milliseconds(queue=waited, search=seconds, total=time.perf_counter() - began)
    return answer(document)


@router.post(
    "/v1/embeddings",
    summary="Embed pictures",
    responses=say.responses(say.EMBEDDINGS_ANSWER, 400, 413, 415, 422, 429, 503),
    openapi_extra=say.request(say.PICTURE_OR_PARTS, ()),
)
async def embeddings(request: Request) -> Response:
    """The vectors that a gallery would store, and the viewpoint; a bad one of several is a problem in its place."""
    context = context_of(request)
    read_parameters(request, ())
    async with context.engine.place():
        upload = await read_upload(request, _query_limits(context))
        looked = await context.engine.look_at_all([(data, None) for data in upload.images], keep=False)
    if len(looked) == 1 and isinstance(looked[0], VehicleSearchError):
        raise looked[0]
    names = context.embedder.contract.viewpoints
    results = [
        {"embedding": one.embedding.tolist(), "viewpoint": viewpoint_document(names, one.viewpoint)}
        if isinstance(one, Seen)
        else {"problem": problem_of(one, pointer=f"/image/{number}")}
        for number, one in enumerate(looked)
    ]
    return answer({"model": context.embedder.fingerprint, "results": results})


def _one(
    context: Context, gallery: Gallery, data: bytes, box: tuple[int, int, int, int] | None, options: SearchOptions
) -> tuple[Seen, list[Match], float]:
    seen = context.engine.look(data, box)
    return seen, *_find(context, gallery, seen.embedding, options)


def _find(
    context: Context, gallery: Gallery, query: NDArray[np.float32], options: SearchOptions
) -> tuple[list[Match], float]:
    found, seconds = _find_all(context, gallery, query[None], options)
    return found[0], seconds


def _find_all(
    context: Context, gallery: Gallery, queries: NDArray[np.float32], options: SearchOptions
) -> tuple[list[list[Match]], float]:
    start = time.perf_counter()
    found = gallery.search(queries, options)
    seconds = time.perf_counter() - start
    context.metrics.stage("search", seconds)
    return found, seconds


def _mean(looked: list[Seen], *, normalized: bool) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = np.mean([one.embedding for one in looked], axis=0, dtype=np.float32)
    length = float(np.linalg.norm(mean))
    return (mean / np.float32(length)).astype(np.float32) if normalized and length > 0 else mean


def _document(
    context: Context, gallery: Gallery, matches: list[Match], values: Values, looked: list[Seen], *, whole: bool = True
) -> dict[str, Any]:
    embedding = "embedding" in values.one("include", ())
    names = context.embedder.contract.viewpoints
    viewpoint: dict[str, float] = {}
    if looked and looked[0].viewpoint is not None:
        rows = [one.viewpoint for one in looked if one.viewpoint is not None]
        viewpoint = viewpoint_document(names, np.mean(rows, axis=0))
    head = (
        {"gallery": gallery.name, "model": context.embedder.fingerprint, "queries": max(len(looked), 1)}
        if whole
        else {}
    )
    document: dict[str, Any] = {
        **head,
        "viewpoint": viewpoint,
        "matches": [match_document(match, gallery.name, embedding=embedding) for match in matches],
    }
    if embedding and looked:
        normalized = context.embedder.contract.normalized
        document["embedding"] = (
            _mean(looked, normalized=normalized) if len(looked) > 1 else looked[0].embedding
        ).tolist()
    return document


def _attention(context: Context, crop: NDArray[np.uint8]) -> dict[str, Any]:
    maps = context.embedder.attention(crop[None])
    return {
        "global": np.round(maps.globally[0].astype(np.float64), 5).tolist(),
        "local": np.round(maps.locally[0].astype(np.float64), 5).tolist(),
    }


def _stored_attention(context: Context, gallery: Gallery, image_id: str) -> dict[str, Any]:
    _, data = gallery.crop(image_id)
    image = read_picture(data, max_pixels=context.settings.max_pixels)
    return _attention(context, model_crop(image, context.embedder.contract.resize))


def _query_limits(context: Context) -> Limits:
    settings = context.settings
    return Limits(
        max_bytes=settings.max_body_bytes,
        max_images=settings.max_queries,
        images_setting=f"max_queries = {settings.max_queries}",
    )


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {name: round(value * 1000, 3) for name, value in seconds.items()}
