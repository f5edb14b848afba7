"""Xception: timm's numbers (legacy_xception)."""

import pytest

import jaxvision as jv
from tests.oracles.parity import check_logits, check_training, torch

timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


def small(num_classes: int):
    """A few channels, and one unit for three in the eight middle blocks, in both libraries."""
    from timm.models.xception import Block, SeparableConv2d

    network = timm.create_model("legacy_xception", num_classes=num_classes)
    network.block1, network.block2 = Block(64, 16, 2, 2, start_with_relu=False), Block(16, 24, 2, 2)
    network.block3, network.block12 = Block(24, 32, 2, 2), Block(32, 40, 2, 2, grow_first=False)
    for index in range(4, 12):
        setattr(network, f"block{index}", Block(32, 32, 1, 1))
    network.conv3, network.bn3 = SeparableConv2d(40, 48, 3, 1, 1), torch.nn.BatchNorm2d(48)
    network.conv4, network.bn4 = SeparableConv2d(48, 64, 3, 1, 1), torch.nn.BatchNorm2d(64)
    network.fc = torch.nn.Linear(64, num_classes)
    widths = ((16, 16), (24, 24), (32, 32), *((32,),) * 8, (32, 40))
    return jv.create_model("xception", num_classes=num_classes, drop_rate=0.0).clone(widths=widths, last_widths=(48, 64)), network


@pytest.mark.slow
def test_small_forms_logits():
    check_logits(*small(11), size=(65, 77), layout="timm", double=True)


@pytest.mark.slow
def test_logits():
    network = timm.create_model("legacy_xception", num_classes=11)
    check_logits(jv.create_model("xception", num_classes=11), network, size=(65, 77), layout="timm")


@pytest.mark.slow
def test_training():
    check_training(*small(3), size=(65, 65), layout="timm")


@pytest.mark.slow
def test_training_of_the_whole_network():
    network = timm.create_model("legacy_xception", num_classes=3)
    check_training(jv.create_model("xception", num_classes=3, drop_rate=0.0), network, size=(65, 65), layout="timm")


def test_the_other_librarys_name():
    assert jv.create_model("legacy_xception") == jv.create_model("xception")
