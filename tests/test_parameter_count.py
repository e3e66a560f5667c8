"""Counts against the published sizes of the networks."""

from dataclasses import replace

import pytest

from model_export.network.mvan import MVAN, MVANConfig
from model_export.reproducing.parameter_count import count_parameters
from tests.conftest import TINY

VGG16_CONVOLUTIONS = 14_714_688  # Simonyan & Zisserman 2015, configuration D without its fully connected layers
CONV5 = 3 * (512 * 512 * 9 + 512)
GAM = 512 * 32 + 32 + 32 + 1
PLAIN = MVANConfig(attention="none")


def test_baselines_of_vgg16() -> None:
    one = replace(PLAIN, viewpoints=("any",))
    alone = count_parameters(one)
    assert (alone.mnet, alone.vnet, alone.embedding_dim) == (VGG16_CONVOLUTIONS, 0, 512)
    three = count_parameters(replace(one, networks=3, fusion="concatenate", split="conv1"))
    assert (three.mnet, three.embedding_dim) == (3 * VGG16_CONVOLUTIONS, 1536)
    bilinear = count_parameters(replace(one, networks=3, fusion="bilinear", split="conv1"))
    assert (bilinear.mnet, bilinear.embedding_dim) == (3 * VGG16_CONVOLUTIONS + 3 * 512 * 512, 1536)


def test_mvan_on_vgg16_has_two_more_last_stages_and_an_attention_each() -> None:
    assert count_parameters(PLAIN).mnet == VGG16_CONVOLUTIONS + 2 * CONV5
    assert count_parameters(replace(PLAIN, attention="lam")).mnet == VGG16_CONVOLUTIONS + 2 * CONV5
    for attention in ("gam", "glam"):
        assert count_parameters(replace(PLAIN, attention=attention)).mnet == VGG16_CONVOLUTIONS + 2 * CONV5 + 3 * GAM
    convolutions = 96 * (3 * 49 + 1) + 256 * (96 * 25 + 1) + 512 * (256 * 9 + 1) + 2 * 512 * (512 * 9 + 1)
    assert count_parameters(PLAIN).vnet == convolutions + 512 * 513 + 513 * 3


@pytest.mark.parametrize("backbone", ["resnet50", "tiny"])
def test_counting_without_tensors_counts_the_real_model(backbone: str) -> None:
    shape = replace(TINY, backbone=backbone, embedding="fc512")
    counted = count_parameters(shape)
    assert counted.mnet + counted.vnet == sum(p.numel() for p in MVAN(shape).parameters())
    assert counted.embedding_dim == 512
