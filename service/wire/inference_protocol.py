"""The Open Inference Protocol, version 2, as bytes: requests to tensors, tensors to answers.

The specification is kserve/open-inference-protocol, inference_rest.md; binary tensor data is Triton's
extension_binary_data.md: raw little-endian numbers behind the JSON, whose length a header says.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidValue
from service.wire.documents import encode, read_json
from service.wire.problems import MalformedRequest, RequestTooLarge

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MAX_JSON: Final = 4 * 2**20  # bytes; reading a tensor from JSON holds other requests up
MAX_ID: Final = 1000  # characters
_REQUEST_KEYS: Final = ("id", "inputs", "outputs", "parameters")
_INPUT_KEYS: Final = ("name", "shape", "datatype", "data", "parameters")
_OUTPUT_KEYS: Final = ("name", "parameters")


@dataclass(frozen=True, kw_only=True)
class WantedOutput:
    """An output, and whether it goes behind the JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What is asked: ``crops`` uint8 (N, H, W, 3), and the outputs in the order of the answer."""

    request_id: str | None
    crops: NDArray[np.uint8]
    outputs: Sequence[WantedOutput]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request may ask of one model: crops of ``size`` (H, W), at most ``most`` of them, set by ``setting``.

    ``outputs`` are the model's; those of ``usual`` come where none are named.
    """

    size: tuple[int, int]
    most: int
    setting: str
    outputs: Sequence[str]
    usual: Sequence[str]


def read_inference(body: bytes, header_length: str | None, asked: Asked) -> Inference:
    """A request's body; raises MalformedRequest, InvalidValue, RequestTooLarge (JSON, or number of crops)."""
    head, binary = _parts(body, header_length)
    document = _object(read_json(head, what="the request", short=True), _REQUEST_KEYS, "the request", "")
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= MAX_ID):
        raise InvalidValue(f"id must be a string of at most {MAX_ID} characters", pointer="/id")
    parameters = _parameters(document, ("binary_data_output",), "")
    outputs = _outputs(
        document, asked, everywhere=_flag(parameters, "binary_data_output", "/parameters", default=False)
    )
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise InvalidValue("inputs must be an array with the one tensor crops", pointer="/inputs")
    return Inference(request_id=request_id, crops=_crops(inputs[0], binary, asked), outputs=outputs)


def write_inference(
    model: str, inference: Inference, tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[bytes, int | None]:
    """The answer, and how many bytes of it are JSON where tensors follow; ``tensors`` are float32 (N, …)."""
    documents, behind = [], []
    for wanted in inference.outputs:
        tensor = tensors[wanted.name]
        document: dict[str, Any] = {"name": wanted.name, "datatype": "FP32", "shape": list(tensor.shape)}
        if wanted.binary:
            behind.append(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
            document["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            document["data"] = tensor.ravel().tolist()
        documents.append(document)
    own = {} if inference.request_id is None else {"id": inference.request_id}
    head = encode({"model_name": model, **own, "outputs": documents})
    return b"".join([head, *behind]), len(head) if behind else None


def _parts(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    """JSON, and the bytes behind it."""
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdecimal() and len(header_length) < 20):
            raise MalformedRequest(f"{HEADER_LENGTH} = {header_length[:40]!a} is no number of bytes")
        length = int(header_length)
        if length > len(body):
            raise MalformedRequest(f"{HEADER_LENGTH} is {length}, but the body has {len(body)} bytes")
    if length > MAX_JSON:
        raise RequestTooLarge(
            f"the request has {length:,} bytes of JSON, the fixed limit is {MAX_JSON:,}; send crops as binary data "
            f"behind it ({HEADER_LENGTH})"
        )
    return body[:length], body[length:]


def _outputs(document: Mapping[str, Any], asked: Asked, *, everywhere: bool) -> list[WantedOutput]:
    """``everywhere``: outputs are binary where they do not say otherwise themselves."""
    listed = document.get("outputs") or [{"name": name} for name in asked.usual]
    if not isinstance(listed, list):
        raise InvalidValue("outputs must be an array", pointer="/outputs")
    wanted: list[WantedOutput] = []
    for number, each in enumerate(listed):
        at = f"/outputs/{number}"
        one = _object(each, _OUTPUT_KEYS, "an output", at)
        name = str(one.get("name"))
        if name not in asked.outputs:
            raise InvalidValue(f"output {name!a:.80}: the model has {', '.join(asked.outputs)}", pointer=f"{at}/name")
        if any(name == other.name for other in wanted):
            raise InvalidValue(f"output {name} is asked for twice", pointer=f"{at}/name")
        parameters = _parameters(one, ("binary_data",), at)
        wanted.append(
            WantedOutput(name=name, binary=_flag(parameters, "binary_data", f"{at}/parameters", default=everywhere))
        )
    return wanted


def _crops(document: object, binary: bytes, asked: Asked) -> NDArray[np.uint8]:
    at = "/inputs/0"
    one = _object(document, _INPUT_KEYS, "an input", at)
    if one.get("name") != "crops":
        raise InvalidValue(f"input {one.get('name')!a:.80}: the model has crops", pointer=f"{at}/name")
    if one.get("datatype") != "UINT8":
        raise InvalidValue(f"datatype {one.get('datatype')!a:.80}: crops are UINT8", pointer=f"{at}/datatype")
    shape = one.get("shape")
    plain = isinstance(shape, list) and all(type(side) is int for side in shape)
    if not plain or len(shape) != 4 or tuple(shape[1:]) != (*asked.size, 3) or shape[0] < 1:  # type: ignore[arg-type,index]
        expected = f"[N, {asked.size[0]}, {asked.size[1]}, 3] with N from 1"
        raise InvalidValue(f"shape {shape!a:.80}: crops are {expected}", pointer=f"{at}/shape")
    assert isinstance(shape, list)  # noqa: S101  # looked at above
    if shape[0] > asked.most:
        raise RequestTooLarge(f"{shape[0]:,} crops in one request; the limit is {asked.setting}")
    parameters = _parameters(one, ("binary_data_size",), at)
    if "binary_data_size" not in parameters:
        if binary:
            raise MalformedRequest("bytes follow the JSON, but no input has the parameter binary_data_size")
        return _from_json(one.get("data"), shape, at)
    if "data" in one:
        raise InvalidValue("an input has either data or binary_data_size", pointer=f"{at}/data")
    size = parameters["binary_data_size"]
    numbers = math.prod(shape)
    if type(size) is not int or not size == len(binary) == numbers:
        raise InvalidValue(
            f"binary_data_size is {size!a:.40}, {len(binary)} bytes follow the JSON, and the shape has {numbers}",
            pointer=f"{at}/parameters/binary_data_size",
        )
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _from_json(data: object, shape: Sequence[int], at: str) -> NDArray[np.uint8]:
    """Numbers of a tensor, nested or in a row."""
    try:
        numbers = np.array(data)
        fits = (
            numbers.dtype.kind == "i"
            and numbers.size == math.prod(shape)
            and 0 <= numbers.min() <= numbers.max() <= 255
        )
    except (ValueError, OverflowError):  # ragged, or no numbers
        fits = False
    if not fits:
        raise InvalidValue(f"data must hold {math.prod(shape):,} whole numbers from 0 to 255", pointer=f"{at}/data")
    return numbers.astype(np.uint8).reshape(shape)


def _object(document: object, known: Sequence[str], what: str, at: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidValue(f"{what} must be a JSON object", pointer=at)
    for key in document:
        if key not in known:
            raise InvalidValue(f"{what} has the key {key!a:.60}; known are {', '.join(known)}", pointer=at)
    return document


def _parameters(document: Mapping[str, Any], known: Sequence[str], at: str) -> dict[str, Any]:
    return _object(document.get("parameters", {}), known, "parameters", f"{at}/parameters")


def _flag(parameters: Mapping[str, Any], name: str, at: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} must be true or false", pointer=f"{at}/{name}")
    return value
