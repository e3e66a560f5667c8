"""A file becomes a model to train on again, and answers as the file does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from index.errors import ModelError
from model_export.exporting.onnx_export import check_crops, describe, export_model, stamp
from model_export.exporting.rebuilding import rebuild
from model_export.exporting.reduction import reduce_precision
from model_export.network.folding import fold, unfold
from model_export.network.mvan import MVAN, MVANConfig
from tests.conftest import TINY, untrained

LITE = MVANConfig(
    backbone="efficientnet_lite0", vnet="lite0-blocks3", vnet_size=48, input_size=96, lam="standardized",
    embedding="fc512", neck=True, normalized=True, vnet_standardized=True,
)  # fmt: skip


def answers(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    crops = check_crops(12, (size, size))
    expected = onnxruntime.InferenceSession(str(path)).run(["embedding"], {"crops": crops})[0]
    with torch.no_grad():
        got = rebuild(path).model(torch.from_numpy(crops).permute(0, 3, 1, 2)).embedding.numpy()
    return expected, got


@pytest.mark.parametrize("backbone", ["tiny", "resnet50", "vgg16", "efficientnet_lite0"])
def test_an_unfolded_model_computes_what_its_folded_twin_does(backbone: str) -> None:
    torch.manual_seed(0)
    model = MVAN(replace(TINY, backbone=backbone, embedding="fc512")).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    again = MVAN(model.config).eval()
    unfold(again, fold(model).state_dict())
    crops = torch.from_numpy(check_crops(4, (64, 64))).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(again(crops).embedding, model(crops).embedding, atol=1e-4, rtol=0)


def test_an_fp32_file_comes_back_as_it_was_trained(tmp_path: Path) -> None:
    restored = untrained(LITE)
    export_model(restored, tmp_path / "whole.onnx", half_weights=False)
    expected, got = answers(tmp_path / "whole.onnx", 96)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    again = rebuild(tmp_path / "whole.onnx")
    assert again.config.model == restored.config.model
    assert (again.trained_on, again.viewpoint_labels_from) == (restored.trained_on, "tiny")


def test_a_file_with_half_weights_comes_back(tmp_path: Path) -> None:
    export_model(untrained(LITE), tmp_path / "half.onnx")
    expected, got = answers(tmp_path / "half.onnx", 96)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_neck_without_a_layer_before_it_comes_back(tiny_model: Path) -> None:
    expected, got = answers(tiny_model, 64)  # batch norm on the fused f itself, which nothing folds
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_an_int8_file_comes_back_near_what_it_computes(tmp_path: Path) -> None:
    export_model(untrained(LITE), tmp_path / "whole.onnx", half_weights=False)
    contract = describe(tmp_path / "whole.onnx")
    reduce_precision(tmp_path / "whole.onnx", tmp_path / "int8.onnx", "int8", lambda: check_crops(16, (96, 96)))
    proto = onnx.load(str(tmp_path / "int8.onnx"))
    stamp(proto, replace(contract, precision="int8"))
    onnx.save(proto, str(tmp_path / "int8.onnx"))
    expected, got = answers(tmp_path / "int8.onnx", 96)
    assert (expected * got).sum(1).min() > 0.98


def test_a_file_without_its_configuration_or_with_other_weights_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    proto = onnx.load(str(tiny_model))
    stamp(proto, replace(describe(tiny_model), training={}))
    onnx.save(proto, str(tmp_path / "old.onnx"))
    with pytest.raises(ModelError, match=r"old\.onnx does not say how it was trained"):
        rebuild(tmp_path / "old.onnx")
    proto = onnx.load(str(tiny_model))
    [weight] = [entry for entry in proto.graph.initializer if entry.name == "model.shared.0.0.weight"]
    weight.name = "elsewhere"
    for node in proto.graph.node:
        node.input[:] = ["elsewhere" if name == "model.shared.0.0.weight" else name for name in node.input]
    onnx.save(proto, str(tmp_path / "other.onnx"))
    with pytest.raises(ModelError, match=r"lacks the weights 'shared\.0\.0\.weight'"):
        rebuild(tmp_path / "other.onnx")


def test_weights_that_make_another_model_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.onnx"
    export_model(untrained(LITE), whole, half_weights=False)
    contract, proto = describe(whole), onnx.load(str(whole))
    contract.training["model"]["vnet_standardized"] = False
    stamp(proto, contract)
    onnx.save(proto, str(whole))
    with pytest.raises(ModelError, match="answers otherwise than the file"):
        rebuild(whole)


def test_a_contract_keeps_every_key_but_no_folder(tiny_model: Path) -> None:
    training = describe(tiny_model).training
    assert not {"out", "data_root", "vnet", "warm_start"} & training.keys()
    assert training["model"]["backbone"] == "tiny"
    assert training["fit"]["learning_rate"] > 0
    restored = untrained()
    source = replace(restored.config.sources[0], data="veri776:/home/someone/VeRi")
    export_model(replace(restored, config=replace(restored.config, sources=(source,))), tiny_model.parent / "far.onnx")
    assert describe(tiny_model.parent / "far.onnx").training["sources"][0]["data"] == "veri776:VeRi"
