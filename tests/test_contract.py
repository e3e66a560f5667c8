"""What model files may say about themselves."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from index.contract import METADATA_KEY, Contract, Resize, fingerprint
from index.errors import ContractError

CONTRACT = Contract(
    contract_version=1,
    name="mvan",
    backbone="efficientnet-lite0",
    input_size=(160, 128),
    resize=Resize(size=(176, 144), crop=(160, 128), filter="bicubic", aspect="pad"),
    embedding_dim=512,
    viewpoints=("front", "rear", "side"),
    distance="l2",
    normalized=True,
    precision="fp16",
    routing_threshold=0.01,
    embedding_space="9f2c",
    trained_on=("road-vehicles", "Straße"),
    viewpoint_labels_from="viewpoints",
    metrics={"rank-1": 81.5},
    created_at="2026-05-04T10:11:12Z",
    git_revision="abc",
)


def changed(**fields: object) -> str:
    """The contract's text with other fields; ``resize_NAME`` is one of resize's."""
    document: dict[str, Any] = json.loads(CONTRACT.to_json())
    for name, value in fields.items():
        if name.startswith("resize_"):
            document["resize"][name.removeprefix("resize_")] = value
        else:
            document[name] = value
    return json.dumps(document)


def test_a_contract_comes_back() -> None:
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT
    assert CONTRACT.has_viewpoint
    assert not dataclasses.replace(CONTRACT, viewpoints=("any",)).has_viewpoint


def test_the_exporter_writes_what_is_read(tiny_model: Path) -> None:
    session = ort.InferenceSession(str(tiny_model), providers=["CPUExecutionProvider"])
    contract = Contract.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (contract.input_size, contract.embedding_dim) == ((64, 64), 32)
    assert contract.viewpoints == ("front", "rear", "side")
    assert contract.normalized


def test_the_fingerprint_is_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"model")
    assert fingerprint(tmp_path / "model") == hashlib.sha256(b"model").hexdigest()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Contract) if field.name != "training"])
def test_a_missing_field_is_named(name: str) -> None:
    document = json.loads(CONTRACT.to_json())
    del document[name]
    with pytest.raises(ContractError, match=name):
        Contract.from_json(json.dumps(document))


def test_a_file_from_before_the_configuration_was_kept_is_read() -> None:
    document = json.loads(CONTRACT.to_json())
    del document["training"]
    assert Contract.from_json(json.dumps(document)).training == {}
    with pytest.raises(ContractError, match="field training must be an object, not 3"):
        Contract.from_json(json.dumps(document | {"training": 3}))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Resize)])
def test_a_missing_field_of_resize_is_named(name: str) -> None:
    document = json.loads(CONTRACT.to_json())
    del document["resize"][name]
    with pytest.raises(ContractError, match=f"resize.{name} is missing"):
        Contract.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"contract_version": 2}, "contract_version is 2; this release reads 1"),
        ({"contract_version": True}, "contract_version is True"),
        ({"contract_version": "1"}, "contract_version is '1'"),
        ({"colour": 1}, "colour is unknown"),
        ({"resize_colour": 1}, "resize.colour is unknown"),
        ({"name": ""}, "name must be"),
        ({"embedding_space": None}, "embedding_space must be"),
        ({"input_size": [64]}, "input_size must be two positive integers"),
        ({"input_size": [64, 64.0]}, "input_size must be two positive integers"),
        ({"input_size": "64"}, "input_size must be an array"),
        ({"input_size": [64, 64]}, "resize.crop .* is not input_size"),
        ({"resize": None}, "resize must be an object"),
        ({"resize_size": [10, 10]}, "resize.crop .* is larger than resize.size"),
        ({"resize_filter": "nearest"}, "resize.filter must be one of"),
        ({"resize_aspect": ["pad"]}, "resize.aspect must be one of"),
        ({"embedding_dim": 0}, "embedding_dim must be a positive integer"),
        ({"embedding_dim": True}, "embedding_dim must be a positive integer"),
        ({"viewpoints": []}, "viewpoints must be distinct"),
        ({"viewpoints": ["front", "front"]}, "viewpoints must be distinct"),
        ({"viewpoints": ["front", ["rear"]]}, "viewpoints must hold non-empty strings"),
        ({"viewpoints": {"front": 1}}, "viewpoints must be an array"),
        ({"distance": "cosine"}, "distance must be one of l2"),
        ({"normalized": 1}, "normalized must be true or false"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"routing_threshold": 0.5}, "routing_threshold must lie in"),
        ({"routing_threshold": float("nan")}, "routing_threshold must lie in"),
        ({"metrics": []}, "metrics must be an object"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        Contract.from_json(changed(**fields))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1", "[]", "null"])
def test_what_is_no_contract(text: str) -> None:
    with pytest.raises(ContractError, match="the model's contract is not"):
        Contract.from_json(text)


@pytest.mark.parametrize("threshold", [None, 0, 0.01])
def test_routing_may_be_off(threshold: float | None) -> None:
    assert Contract.from_json(changed(routing_threshold=threshold)).routing_threshold == threshold
