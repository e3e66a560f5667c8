"""The Open Inference Protocol: ``tritonclient`` as it is installed, and what the protocol says of everything else."""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from index.embedder import Embedder
from model_export.exporting.onnx_export import export_model
from service.wire.inference_protocol import HEADER_LENGTH, MAX_JSON
from tests.conftest import untrained
from tests.http_client import body_of, form, raw, status_of
from tests.pictures import png
from tests.server_process import serving

SIZE = 64
CROPS = np.random.default_rng(0).integers(0, 256, (19, SIZE, SIZE, 3), dtype=np.uint8)
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


@pytest.fixture
def triton(server: str) -> Iterator[Any]:
    with InferenceServerClient(server.removeprefix("http://")) as opened:
        yield opened


def given(crops: NDArray[np.uint8], *, binary: bool = True) -> Any:
    tensor = InferInput("crops", list(crops.shape), "UINT8")
    tensor.set_data_from_numpy(crops, binary_data=binary)
    return tensor


def document(**changes: Any) -> dict[str, Any]:
    """A request of one crop in JSON, with changes of its input."""
    tensor = {"name": "crops", "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3], "data": CROPS[:1].ravel().tolist()}
    return {"inputs": [{key: value for key, value in (tensor | changes).items() if value is not None}]}


def test_triton_asks_who_is_there(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("tiny")
    assert not triton.is_model_ready("huge")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("tiny")
    assert metadata["inputs"] == [{"name": "crops", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]}]
    shapes = {output["name"]: output["shape"] for output in metadata["outputs"]}
    assert shapes == {
        "embedding": [-1, 32], "viewpoint": [-1, 3], "global_attention": [-1, -1, -1], "local_attention": [-1, -1, -1],
    }  # fmt: skip


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [1, 19])
def test_triton_infers(triton: Any, embedder: Embedder, binary: bool, count: int) -> None:
    result = triton.infer("tiny", [given(CROPS[:count], binary=binary)], request_id="mine")
    expected = embedder.embed(CROPS[:count])
    assert expected.viewpoint is not None
    np.testing.assert_allclose(result.as_numpy("embedding"), expected.embedding, atol=1e-5)
    np.testing.assert_allclose(result.as_numpy("viewpoint"), expected.viewpoint, atol=1e-5)
    answer = result.get_response()
    assert (answer["id"], answer["model_name"]) == ("mine", "tiny")
    assert [output["name"] for output in answer["outputs"]] == ["embedding", "viewpoint"]  # attention was not asked for


@pytest.mark.parametrize("binary", [True, False])
def test_triton_names_outputs(triton: Any, embedder: Embedder, binary: bool) -> None:
    names = ["local_attention", "embedding", "global_attention"]
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in names]
    result = triton.infer("tiny", [given(CROPS)], outputs=outputs)
    maps = embedder.attention(CROPS)
    np.testing.assert_allclose(result.as_numpy("global_attention"), maps.globally, atol=1e-5)
    np.testing.assert_allclose(result.as_numpy("local_attention"), maps.locally, atol=1e-5)
    assert [output["name"] for output in result.get_response()["outputs"]] == names
    assert ("data" in result.get_output("embedding")) is not binary


def test_triton_hears_what_is_wrong(triton: Any) -> None:
    wrong = InferInput("crops", [1, 8, 8, 3], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(InferenceServerException, match=r"\[422\] shape \[1, 8, 8, 3\]: crops are \[N, 64, 64, 3\]"):
        triton.infer("tiny", [wrong])
    with pytest.raises(InferenceServerException, match=r"\[404\] no model 'huge' is loaded; there is tiny"):
        triton.infer("huge", [given(CROPS[:1])])
    with pytest.raises(
        InferenceServerException, match=r"\[413\] 65 crops in one request; the limit is max_queries = 64"
    ):
        triton.infer("tiny", [given(np.zeros((65, SIZE, SIZE, 3), np.uint8))])
    with pytest.raises(InferenceServerException, match=r"\[415\] content encoding 'gzip'"):
        triton.infer("tiny", [given(CROPS[:1])], request_compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match=r"\[422\] parameters has the key 'sequence_id'"):
        triton.infer("tiny", [given(CROPS[:1])], sequence_id=5)


def test_triton_is_told_of_a_full_queue_and_a_full_body(tiny_model: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path, tiny_model, "--max-body-bytes", "100000") as address,
        InferenceServerClient(address.removeprefix("http://")) as triton,
        pytest.raises(InferenceServerException, match=r"\[413\] .* max_body_bytes"),
    ):
        triton.infer("tiny", [given(CROPS)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "images"}, "input 'images'"), ({"datatype": "FP32"}, "UINT8"), ({"shape": [1, 64, 64]}, "[1, 64, 64]"),
        ({"shape": [0, 64, 64, 3]}, "N from 1"), ({"shape": [True, 64, 64, 3]}, "shape"), ({"shape": "x"}, "shape"),
        ({"data": None}, "12,288 whole numbers"), ({"data": [1, 2]}, "12,288"), ({"data": [[1], [2, 3]]}, "12,288"),
        ({"data": [256] * 12288}, "0 to 255"), ({"data": [-1] * 12288}, "0 to 255"), ({"data": [0.5] * 12288}, "whole"),
        ({"data": ["a"] * 12288}, "whole"), ({"data": [10**30] * 12288}, "whole"), ({"data": [True] * 12288}, "whole"),
        ({"data": {}}, "12,288"), ({"extra": 1}, "'extra'"), ({"parameters": []}, "parameters"),
        ({"parameters": {"binary_data_size": 12288}}, "either data or"),
        ({"data": None, "parameters": {"binary_data_size": 12288}}, "0 bytes follow"),
        ({"data": None, "parameters": {"shared_memory_region": "x"}}, "shared_memory_region"),
    ],
)  # fmt: skip
def test_an_input_that_is_wrong(client: httpx.Client, changes: dict[str, Any], words: str) -> None:
    answer = client.post(INFER, json=document(**changes))
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": []}, "one tensor"), ({"inputs": None}, "one tensor"), ({"inputs": [5]}, "an input must be"),
        ({"inputs": document()["inputs"] * 2}, "one tensor"), ({"id": 5}, "id must be"), ({"id": "x" * 1001}, "id must be"),
        ({"outputs": 5}, "outputs must be"), ({"outputs": [{"name": "logits"}]}, "the model has embedding, viewpoint"),
        ({"outputs": [{"name": "embedding"}, {"name": "embedding"}]}, "twice"), ({"outputs": [{}]}, "output 'None'"),
        ({"outputs": [{"name": "embedding", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "embedding", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({"parameters": {"binary_data_output": "yes"}}, "true or false"), ({"model": "x"}, "'model'"),
    ],
)  # fmt: skip
def test_a_request_that_is_wrong(client: httpx.Client, changes: dict[str, Any], words: str) -> None:
    answer = client.post(INFER, json=document() | changes)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "header", "status"),
    [
        (b"", None, 400), (b"no json", None, 400), (b"[]", None, 422), (b"{}", "3", 400), (b"{}", "-1", 400),
        (b"{}", "x", 400), (b"{}", "9" * 30, 400), (b" " * (MAX_JSON + 1), None, 413),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong(client: httpx.Client, body: bytes, header: str | None, status: int) -> None:
    answer = client.post(INFER, content=body, headers={} if header is None else {HEADER_LENGTH: header})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize("size", [0, 12287, 12289, "12288", True])
def test_bytes_behind_the_json_are_as_many_as_it_says(client: httpx.Client, size: object) -> None:
    head = json.dumps(document(data=None, parameters={"binary_data_size": size})).encode()
    answer = client.post(INFER, content=head + bytes(12288), headers={HEADER_LENGTH: str(len(head))})
    assert answer.status_code == 422
    assert "binary_data_size" in answer.json()["error"]
    head = json.dumps(document()).encode()
    answer = client.post(INFER, content=head + b"surplus", headers={HEADER_LENGTH: str(len(head))})
    assert (answer.status_code, "no input has" in answer.json()["error"]) == (400, True)


def test_one_output_may_be_json_and_another_binary(client: httpx.Client, embedder: Embedder) -> None:
    outputs = [{"name": "viewpoint"}, {"name": "embedding", "parameters": {"binary_data": True}}]
    answer = client.post(INFER, json={**document(), "outputs": outputs})
    length = int(answer.headers[HEADER_LENGTH])
    viewpoint, embedding = json.loads(answer.content[:length])["outputs"]
    assert "parameters" not in viewpoint
    assert embedding["parameters"] == {"binary_data_size": len(answer.content) - length}
    vector = np.frombuffer(answer.content[length:], "<f4")
    np.testing.assert_allclose(vector, embedder.embed(CROPS[:1]).embedding[0], atol=1e-5)


def test_nested_data_is_as_data_in_a_row(client: httpx.Client) -> None:
    rows = client.post(INFER, json=document()).json()["outputs"]
    assert client.post(INFER, json=document(data=CROPS[:1].tolist())).json()["outputs"] == rows


def test_whoever_refuses_speaks_the_protocol(server: str, client: httpx.Client) -> None:
    for path, status in (("/v2/nothing", 404), ("/v2/models/tiny/config", 404), ("/v2/", 404), ("/v2?x=1", 422)):
        answer = client.get(path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), path
    assert client.get(INFER).headers["allow"] == "POST"
    assert list(client.get(INFER).json()) == ["error"]
    assert list(client.get("/v2/models/a%2fb").json()) == ["error"]
    foreign = raw(server, "GET", "/v2", host="example.org")
    assert (status_of(foreign), list(body_of(foreign))) == (403, ["error"])
    assert "detail" in client.get("/v1/nothing").json()
    assert client.head("/v2/models/huge").status_code == 404
    assert client.post(INFER, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}).status_code == 415


def test_a_form_is_no_inference(client: httpx.Client) -> None:
    body, headers = form(('form-data; name="image"', b"x"))
    assert client.post(INFER, content=body, headers=headers).status_code == 400


def test_the_model_that_galleries_move_from_answers_by_its_name(tiny_model: Path, tmp_path: Path) -> None:
    restored = untrained(seed=1)
    other = export_model(replace(restored, config=replace(restored.config, name="other")), tmp_path / "other.onnx")
    assert other is not None
    with serving(tmp_path / "data", tiny_model, "--previous-model", str(tmp_path / "other.onnx")) as address:
        answers = [
            httpx.post(f"{address}/v2/models/{name}/infer", json=document()).json() for name in ("tiny", "other")
        ]
    assert [answer["model_name"] for answer in answers] == ["tiny", "other"]
    vectors = [answer["outputs"][0]["data"] for answer in answers]
    expected = Embedder(tmp_path / "other.onnx", device="cpu", threads=1).embed(CROPS[:1]).embedding[0]
    np.testing.assert_allclose(vectors[1], expected, atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)


def test_the_example_of_the_docs_runs(
    server: str, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = Path("docs/integrating.md").read_text(encoding="utf-8").split("## From other inference clients")[1]
    (block,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    data = png(0, (SIZE, SIZE))  # no resizing: what the service makes of the same pixels is the same
    Path("car.jpg").write_bytes(data)
    names: dict[str, Any] = {}
    text = block.replace("127.0.0.1:8000", server.removeprefix("http://")).replace('"default"', '"tiny"')
    exec(compile(text, "integrating.md", "exec"), names)
    (seen,) = client.post("/v1/embeddings", content=data).json()["results"]
    np.testing.assert_allclose(names["embedding"][0], seen["embedding"], atol=1e-5)
