"""The model against its own formulas."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from index.errors import InvalidValue
from model_export.network.mvan import LRN, MVAN, Attention, Branch, IdentityHead, Lam, MVANConfig, VNet
from tests.conftest import TINY, untrained


def _crops(count: int, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def _branch(model: MVAN, view: int = 0) -> Branch:
    branch = model.branches[view]
    assert isinstance(branch, Branch)
    return branch


@pytest.mark.parametrize("attention", ["none", "gam", "lam", "glam"])
@pytest.mark.parametrize("lam", ["paper", "standardized"])
def test_equations_3_to_6_written_out(attention: Attention, lam: Lam) -> None:
    shape = replace(TINY, attention=attention, lam=lam, neck=False, normalized=False, routing_threshold=None)
    model = untrained(shape).model
    crops = _crops(5)
    with torch.no_grad():
        output = model(crops)
        x = model.shared((crops.float() - model.mean) / model.std)
        expected = torch.zeros_like(output.fused)
        for view in range(3):
            branch = _branch(model, view)
            f = branch.stages(x)
            first, _, second = branch.gam
            g = torch.sigmoid(second(torch.relu(first(f))))
            s = f.sum(1).flatten(1)
            if lam == "standardized":
                s = (s - s.mean(1, keepdim=True)) / (s.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
                local = torch.softmax(s, 1) * s.shape[1]
            else:
                local = torch.softmax(s, 1)
            local = local.view_as(g)
            weight = {"none": torch.ones_like(g), "gam": g, "lam": local, "glam": g + local}[attention]
            expected += output.viewpoint[:, view, None] * F.adaptive_avg_pool2d(f * weight, 1).flatten(1)
    assert torch.allclose(output.fused, expected, atol=1e-5)
    assert torch.allclose(output.viewpoint.sum(1), torch.ones(5))


def test_the_papers_lam_survives_sums_that_overflow_exp() -> None:
    branch = _branch(untrained(replace(TINY, lam="paper")).model)
    local = branch.local_map(torch.full((1, 32, 8, 8), 100.0))
    assert torch.allclose(local, torch.full_like(local, 1 / 64))


def test_routing_runs_only_the_branches_above_the_threshold() -> None:
    model = untrained().model
    crops = _crops(4)
    p = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.995, 0.005, 0], [0.5, 0.5, 0]])
    rows: list[int] = []
    for view in range(3):
        _branch(model, view).register_forward_hook(lambda _m, inputs, _o: rows.append(len(inputs[0])))
    with torch.no_grad():
        routed = model(crops, p)
        model.config = replace(model.config, routing_threshold=None)
        dense = model(crops, p)
    assert rows[:3] == [3, 2, 0]
    assert torch.allclose(routed.fused[[0, 1, 3]], dense.fused[[0, 1, 3]], atol=1e-6)
    assert 0 < float((routed.fused[2] - dense.fused[2]).norm() / dense.fused[2].norm()) < 0.02


def test_a_row_does_not_depend_on_its_batch() -> None:
    model = untrained().model
    crops = _crops(7)
    with torch.no_grad():
        together = model(crops).embedding
        alone = torch.cat([model(crop[None]).embedding for crop in crops])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(7), atol=1e-5)


def test_vnet_is_frozen_under_mnet() -> None:
    model = untrained().model.train()
    output = model(_crops(4))
    (output.embedding.sum() + output.viewpoint.sum()).backward()
    assert model.vnet is not None
    assert all(parameter.grad is None for parameter in model.vnet.parameters())
    assert any(parameter.grad is not None for parameter in model.shared.parameters())


def test_lrn_is_torchs() -> None:
    x = torch.rand(2, 7, 3, 3) * 50
    assert torch.allclose(LRN(7)(x), F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0), rtol=1e-5)


def test_the_papers_model_has_the_papers_shapes() -> None:
    model = MVAN(MVANConfig()).eval()
    with torch.no_grad():
        output = model(_crops(1, 224))
    assert output.embedding.shape == (1, 512)
    assert output.global_attention.shape == (1, 14, 14)
    assert torch.allclose(output.local_attention.sum((1, 2)), torch.ones(1), atol=1e-4)
    head = IdentityHead(model, 776).eval()
    [logits] = head(output, model)
    assert logits.shape == (1, 776)


def test_fc512_and_v_of_1_2_and_4() -> None:
    for viewpoints in (("any",), ("front", "rear"), ("front", "rear", "left", "right")):
        model = untrained(replace(TINY, viewpoints=viewpoints, embedding="fc512")).model
        with torch.no_grad():
            output = model(_crops(3))
        assert output.embedding.shape == (3, 512)
        assert output.viewpoint.shape == (3, len(viewpoints))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"attention": "both"}, "attention"),
        ({"viewpoints": ("a", "a")}, "viewpoints"),
        ({"routing_threshold": 0.5}, "0.5"),
        ({"input_size": 3}, "input_size"),
        ({"kept_views": ("left",)}, "left"),
        ({"fusion": "sum"}, "fusion"),
        ({"temperature": 0.0}, "at most 100, not 0.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"networks": 3}, "networks is 3 with fusion soft"),
        ({"fusion": "concatenate", "networks": 3}, "3 viewpoints"),
        ({"fusion": "bilinear", "viewpoints": ("any",)}, "networks is 1 with fusion bilinear"),
    ],
)
def test_a_wrong_key_is_named_with_its_value(change: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_a_wrong_split_names_the_stages() -> None:
    with pytest.raises(InvalidValue, match="conv2, conv3"):
        MVAN(replace(TINY, split="conv9"))


def _loss_gradients(model: MVAN, part: int) -> list[bool]:
    """Which networks the loss on one part of f reaches."""
    model.train()
    f = model(_crops(4)).fused
    f.chunk(model.config.networks, 1)[part].square().sum().backward()
    return [any(p.grad is not None and bool(p.grad.any()) for p in branch.parameters()) for branch in model.branches]


def test_baseline_2_is_three_networks_that_share_nothing() -> None:
    shape = replace(
        TINY, viewpoints=("any",), networks=3, fusion="concatenate", split="conv1", neck=False, normalized=False
    )
    alone = untrained(replace(shape, networks=1, fusion="soft")).model
    model = untrained(shape).model
    assert list(model.shared.parameters()) == []
    trained = sum(p.numel() for p in model.parameters())
    assert trained == 3 * sum(p.numel() for p in alone.parameters())
    with torch.no_grad():
        output = model(_crops(5))
        parts = [branch((_crops(5).float() - model.mean) / model.std)[0] for branch in model.branches]
    assert torch.equal(output.embedding, torch.cat(parts, 1))
    assert output.embedding.shape == (5, 3 * 32)
    assert not torch.equal(parts[0], parts[1])
    assert _loss_gradients(model, 1) == [False, True, False]
    assert [logits.shape for logits in IdentityHead(model, 7).eval()(output, model)] == [(5, 7)] * 3


def test_bilinear_fusion_is_the_signed_root_of_products_of_pairs() -> None:
    shape = replace(
        TINY, viewpoints=("any",), networks=3, fusion="bilinear", split="conv1", neck=False, normalized=False
    )
    model = untrained(shape).model
    with torch.no_grad():
        output = model(_crops(5))
        parts = [branch((_crops(5).float() - model.mean) / model.std)[0] for branch in model.branches]
        turned = [layer(part) for layer, part in zip(model.bilinear, parts, strict=True)]
        pairs = torch.cat([turned[0] * turned[1], turned[0] * turned[2], turned[1] * turned[2]], 1)
    assert output.embedding.shape == (5, 3 * 32)
    assert torch.allclose(output.embedding, pairs.sign() * pairs.abs().sqrt(), atol=2e-3)
    assert _loss_gradients(model, 0) == [True, True, False]  # the first pair
    model.zero_grad()
    assert len(IdentityHead(model, 7)(model(_crops(5)), model)) == 1
    model(torch.zeros(2, 3, 64, 64)).fused.sum().backward()  # the root's slope at nothing is finite
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_kept_views_share_all_of_p_among_them() -> None:
    p = torch.tensor([[0.6, 0.2, 0.2], [0.0, 0.0, 1.0]])
    two = untrained(replace(TINY, kept_views=("rear", "front"))).model
    assert len(two.branches) == 2
    assert torch.allclose(two.weights(p), torch.tensor([[0.25, 0.75], [0.5, 0.5]]), atol=1e-4)
    one = untrained(replace(TINY, kept_views=("side",))).model
    with torch.no_grad():
        output = one(_crops(2), p)
        pooled = one.branches[0](one.shared((_crops(2).float() - one.mean) / one.std))[0]
    assert torch.allclose(output.fused, pooled)
    assert torch.equal(output.viewpoint, p)  # what V-Net says is told whole


def test_branches_learn_under_p_and_answer_under_a_softer_one() -> None:
    model = untrained(replace(TINY, temperature=2.0)).model
    p = torch.tensor([[0.64, 0.32, 0.04], [1.0, 0.0, 0.0]])
    root = torch.tensor([[0.8, 0.32**0.5, 0.2], [1.0, 0.0, 0.0]])
    assert torch.equal(model.train().weights(p), p)
    assert torch.allclose(model.eval().weights(p), root / root.sum(1, keepdim=True))
    with torch.no_grad():
        output = model(_crops(2), p)
        plain = untrained().model(_crops(2), model.weights(p))
    assert torch.equal(output.fused, plain.fused)
    assert torch.equal(output.viewpoint, p)


def test_routing_asks_what_a_branch_weighs() -> None:
    model = untrained(replace(TINY, temperature=4.0)).model
    ran: list[int] = []
    for view in range(3):
        _branch(model, view).register_forward_hook(lambda _m, inputs, _o: ran.append(len(inputs[0])))
    with torch.no_grad():
        model(_crops(1), torch.tensor([[0.9999, 1e-4, 1e-9]]))  # weighs 0.905, 0.09 and 0.005
    assert ran == [1, 1, 0]


def test_multi_view_binary_takes_the_most_probable_branch_alone() -> None:
    p = torch.tensor([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7]])
    for mode in (True, False):
        soft = untrained().model.train(mode)
        binary = untrained(replace(TINY, fusion="binary")).model.train(mode)
        sure = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
        with torch.no_grad():
            assert torch.equal(binary(_crops(2), p).fused, soft(_crops(2), sure).fused)
            assert not torch.allclose(binary(_crops(2), p).fused, soft(_crops(2), p).fused)


def test_the_papers_v_net_starts_with_its_signal_alive() -> None:
    torch.manual_seed(0)
    vnet = VNet(MVANConfig())
    crops = _crops(4, 224).float()
    with torch.no_grad():
        x = (crops - vnet.mean) / vnet.std
        spread = [float(x.std())]
        for layer in vnet.layers:
            x = layer(x)
            spread.append(float(x.std()))
    assert spread[-1] > 0.05 * spread[0]  # from torch's own start it is a hundredth
