"""What model files may say about themselves."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from index.contract import METADATA_KEY, Contract, MatchProbability, Resize, fingerprint
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


OPTIONAL = ("training", "probability")
LOGISTIC = MatchProbability(
    form="logistic", parameters={"intercept": 9.0, "slope": 14.0}, ranks=10, prior=0.1, data_set="roads (30%)",
    figures={"matches": 2620},
)  # fmt: skip
ISOTONIC = MatchProbability(
    form="isotonic", parameters={"distances": [0.25, 0.5, 1.0], "probabilities": [0.96, 0.5, 0.0]}, ranks=10, prior=0.1,
    data_set="roads",
)  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Contract) if field.name not in OPTIONAL])
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


@pytest.mark.parametrize("probability", [LOGISTIC, ISOTONIC])
def test_what_a_distance_means_comes_back(probability: MatchProbability) -> None:
    contract = dataclasses.replace(CONTRACT, probability=probability)
    assert Contract.from_json(contract.to_json()) == contract


def test_a_file_that_tells_no_probability_has_no_such_field() -> None:
    assert "probability" not in json.loads(CONTRACT.to_json())
    assert Contract.from_json(CONTRACT.to_json()).probability is None
    with pytest.raises(ContractError, match="field probability must be an object, not 3"):
        Contract.from_json(changed(probability=3))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"form": "beta"}, "probability.form must be one of logistic, isotonic, not 'beta'"),
        ({"form": ["logistic"]}, "probability.form must be one of"),
        ({"colour": 1}, "probability.colour is unknown"),
        ({"ranks": None}, "probability.ranks must be a positive integer"),
        ({"ranks": 0}, "probability.ranks must be a positive integer"),
        ({"prior": 0}, "probability.prior must lie between 0 and 1"),
        ({"prior": float("nan")}, "probability.prior must lie between 0 and 1"),
        ({"data_set": 5}, "probability.data_set must be a string"),
        ({"figures": []}, "probability.figures must be an object"),
        ({"parameters": 5}, "probability.parameters must be intercept and slope"),
        ({"parameters": {"intercept": 1.0}}, "probability.parameters must be intercept and slope"),
        ({"parameters": {"intercept": 1.0, "slope": 0}}, "parameters.slope must be a number above 0, not 0"),
        ({"parameters": {"intercept": "1", "slope": 1}}, "parameters.intercept must be a number, not '1'"),
        ({"parameters": {"intercept": float("inf"), "slope": 1}}, "parameters.intercept must be a number"),
        ({"form": "isotonic"}, "must be distances and probabilities for the form isotonic"),
        (
            {"form": "isotonic", "parameters": {"distances": [], "probabilities": []}},
            "parameters.distances must be numbers",
        ),
        (
            {"form": "isotonic", "parameters": {"distances": [0.1], "probabilities": [True]}},
            "parameters.probabilities must be numbers",
        ),
        (
            {"form": "isotonic", "parameters": {"distances": [0.1, 0.2], "probabilities": [0.5]}},
            "have 2 and 1 numbers",
        ),
        (
            {"form": "isotonic", "parameters": {"distances": [0.2, 0.2], "probabilities": [0.5, 0.4]}},
            "parameters.distances must rise",
        ),
        (
            {"form": "isotonic", "parameters": {"distances": [0.1, 0.2], "probabilities": [0.4, 0.5]}},
            "parameters.probabilities must fall",
        ),
        (
            {"form": "isotonic", "parameters": {"distances": [0.1], "probabilities": [1.5]}},
            "parameters.probabilities must fall, within 0…1",
        ),
    ],
)
def test_a_wrong_field_of_the_probability_is_named(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        Contract.from_json(changed(probability=dataclasses.asdict(LOGISTIC) | fields))


@pytest.mark.parametrize("name", ["form", "parameters", "ranks", "prior", "data_set"])
def test_a_missing_field_of_the_probability_is_named(name: str) -> None:
    document = dataclasses.asdict(LOGISTIC)
    del document[name]
    with pytest.raises(ContractError, match=f"probability.{name} is missing"):
        Contract.from_json(changed(probability=document))


@pytest.mark.parametrize("probability", [LOGISTIC, ISOTONIC])
def test_a_probability_falls_with_the_distance_and_is_never_certain(probability: MatchProbability) -> None:
    said = [probability.of(n / 500) for n in range(2000)] + [probability.of(1e300)]
    assert said == sorted(said, reverse=True)
    assert 0.001 <= said[-1] < said[0] <= 0.999
    assert all(round(each, 3) == each for each in said)


def test_a_probability_is_what_the_formula_says() -> None:
    assert LOGISTIC.of(0.7) == round(1 / (1 + math.exp(14 * 0.7 - 9)), 3)
    assert [ISOTONIC.of(d) for d in (0, 0.25, 0.375, 0.5, 0.75, 1, 2)] == [0.96, 0.96, 0.73, 0.5, 0.25, 0.001, 0.001]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1", "[]", "null"])
def test_what_is_no_contract(text: str) -> None:
    with pytest.raises(ContractError, match="the model's contract is not"):
        Contract.from_json(text)


@pytest.mark.parametrize("threshold", [None, 0, 0.01])
def test_routing_may_be_off(threshold: float | None) -> None:
    assert Contract.from_json(changed(routing_threshold=threshold)).routing_threshold == threshold
