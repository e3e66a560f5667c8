"""The exported file: what it computes, what it says, and that a bad one does not stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from index.errors import ContractError, ModelError
from model_export.exporting import onnx_export
from model_export.exporting.onnx_export import check_crops, describe, embedding_space, export_model, mixed_crops
from tests.conftest import TINY, untrained
from tests.small_disk import fill, small_disk


def test_the_file_has_the_contract_and_the_tensors_of_the_design(tiny_model: Path) -> None:
    contract = describe(tiny_model)
    session = onnxruntime.InferenceSession(str(tiny_model), providers=["CPUExecutionProvider"])
    (crops,) = session.get_inputs()
    assert (crops.name, crops.type, crops.shape[1:]) == ("crops", "tensor(uint8)", [64, 64, 3])
    assert [output.name for output in session.get_outputs()] == list(onnx_export._OUTPUTS)
    assert contract.embedding_dim == session.get_outputs()[0].shape[1]
    assert contract.viewpoints == ("front", "rear", "side")
    assert onnx.load(str(tiny_model)).opset_import[0].version <= 20


@pytest.mark.parametrize("view", [0, 1, 2])
def test_a_batch_of_one_viewpoint_leaves_the_other_branches_empty(view: int, tmp_path: Path) -> None:
    restored = untrained()
    assert restored.model.vnet is not None
    with torch.no_grad():
        for name, parameter in restored.model.vnet.head.named_parameters():
            parameter.copy_(torch.eye(3)[view] * 50 if name.endswith("bias") else torch.zeros_like(parameter))
    report = export_model(restored, tmp_path / "model.onnx")
    assert list(report.checked.values())[view] == sum(onnx_export.CHECKED_BATCHES)
    assert report.against_pytorch <= 1e-4
    assert report.alone <= 1e-4


def test_routed_and_dense_agree_where_probabilities_are_above_the_threshold(tmp_path: Path) -> None:
    restored = untrained()
    routed = export_model(restored, tmp_path / "routed.onnx")
    dense = export_model(restored, tmp_path / "dense.onnx", dense=True)
    crops = check_crops(16, (64, 64))
    outputs = [
        onnxruntime.InferenceSession(str(tmp_path / name)).run(["embedding"], {"crops": crops})[0]
        for name in ("routed.onnx", "dense.onnx")
    ]
    assert routed.against_dense <= 0.03
    assert np.abs(outputs[0] - outputs[1]).max() <= 0.03
    assert routed.embedding_space == dense.embedding_space
    assert describe(tmp_path / "dense.onnx").routing_threshold is None


def test_a_model_of_one_viewpoint_has_no_viewpoint_output(tmp_path: Path) -> None:
    restored = untrained(replace(TINY, viewpoints=("any",)))
    export_model(restored, tmp_path / "one.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"))
    assert "viewpoint" not in [output.name for output in session.get_outputs()]
    assert not describe(tmp_path / "one.onnx").has_viewpoint


def test_the_embedding_space_follows_weights_and_resize() -> None:
    first, second = untrained(seed=0), untrained(seed=1)
    resize = first.config.crop_resize
    assert embedding_space(first.model, resize) == embedding_space(untrained(seed=0).model, resize)
    assert embedding_space(first.model, resize) != embedding_space(second.model, resize)
    assert embedding_space(first.model, resize) != embedding_space(first.model, replace(resize, filter="bicubic"))


def test_a_file_that_fails_the_check_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    (tmp_path / "model.onnx").write_bytes(b"the old one")
    with pytest.raises(ModelError, match="self-check"):
        export_model(untrained(), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the old one"


def test_half_weights_halve_the_file_and_compute_what_was_checked(tmp_path: Path) -> None:
    half = export_model(untrained(), tmp_path / "half.onnx")
    full = export_model(untrained(), tmp_path / "full.onnx", half_weights=False)
    assert half.against_pytorch <= 1e-4
    assert half.bytes < full.bytes


def test_describe_refuses_what_is_not_ours(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        describe(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.onnx"):
        describe(tmp_path / "text.onnx")
    proto = onnx.load(str(tiny_model))
    del proto.metadata_props[:]
    onnx.save(proto, str(tmp_path / "bare.onnx"))
    with pytest.raises(ModelError, match="contract"):
        describe(tmp_path / "bare.onnx")
    onnx.helper.set_model_props(proto, {"contract": '{"contract_version": 2}'})
    onnx.save(proto, str(tmp_path / "newer.onnx"))
    with pytest.raises(ContractError, match="contract_version"):
        describe(tmp_path / "newer.onnx")


def test_the_check_meets_every_viewpoint_and_its_empty_branches(tiny_model: Path) -> None:
    model = untrained().model
    crops = mixed_crops(model, 7)
    with torch.no_grad():
        p = model.viewpoint(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    assert set(p.argmax(1).tolist()) == {0, 1, 2}
    assert (p > 0.01).sum(1).min() == 1


def test_a_model_that_gives_nan_does_not_pass(tmp_path: Path) -> None:
    restored = untrained()
    with torch.no_grad():
        for parameter in restored.model.branches[0].get_submodule("gam").parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ModelError, match="self-check"):
        export_model(restored, tmp_path / "model.onnx", half_weights=False)
    assert not list(tmp_path.iterdir())


def test_the_file_says_nothing_of_the_machine_that_wrote_it(tiny_model: Path) -> None:
    data = tiny_model.read_bytes()
    assert str(Path(onnx_export.__file__).parent.parent).encode() not in data
    assert b"Traceback" not in data
    assert b"site-packages" not in data


@pytest.mark.parametrize(
    "change",
    [
        {"kept_views": ("front", "rear")},
        {"kept_views": ("side",)},
        {"fusion": "binary"},
        {"temperature": 16.0},
        {"viewpoints": ("any",), "networks": 3, "fusion": "concatenate", "split": "conv1"},
        {"viewpoints": ("any",), "networks": 3, "fusion": "bilinear", "split": "conv1"},
        {"attention": "none", "split": "conv2", "lam": "paper"},
        {"backbone": "vgg_small", "attention": "gam", "split": "conv3"},
        {"backbone": "resnet_small", "attention": "lam"},
    ],
    ids=str,
)
def test_every_system_of_the_paper_is_exported(change: dict[str, object], tmp_path: Path) -> None:
    restored = untrained(replace(TINY, neck=False, normalized=False, **change))  # type: ignore[arg-type]
    report = export_model(restored, tmp_path / "model.onnx", half_weights=False)
    assert report.against_pytorch <= 1e-4
    assert describe(tmp_path / "model.onnx").embedding_dim == restored.model.embedding_dim
    other = untrained(replace(TINY, neck=False, normalized=False))
    assert report.embedding_space != embedding_space(other.model, other.config.crop_resize)


@pytest.mark.parametrize("always", [0, 1, 2])
def test_the_check_meets_every_viewpoint_also_where_vnet_names_one_only(always: int) -> None:
    """Weights stay as they are: only the bias says one name for every test picture, and some can be bent to the others."""
    restored = untrained()
    assert restored.model.vnet is not None
    last = list(restored.model.vnet.head.children())[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias[always] += 30
    crops = mixed_crops(restored.model, 9)
    with torch.no_grad():
        views = restored.model.viewpoint(torch.from_numpy(crops).permute(0, 3, 1, 2).float()).argmax(1)
    assert sorted(set(views.tolist())) == [0, 1, 2]
    assert crops.dtype == np.uint8


def test_a_full_disk_and_a_place_that_is_none_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    restored = untrained()
    with small_disk(tmp_path) as disk:
        fill(disk, leave=4096)
        with pytest.raises(ModelError, match=r"model\.onnx was not written: No space left on device; free some space"):
            export_model(restored, disk / "model.onnx")
        assert [path.name for path in disk.iterdir()] == ["filler"]
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="was not written: File exists"):
        export_model(restored, tmp_path / "file" / "model.onnx")
