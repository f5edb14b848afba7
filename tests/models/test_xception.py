"""Xception: timm's numbers (legacy_xception)."""

import pytest

import jaxvision as jv
from tests.oracles.parity import check_logits, check_training

timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


def test_logits():
    network = timm.create_model("legacy_xception", num_classes=11)
    check_logits(jv.create_model("xception", num_classes=11), network, size=(65, 77), layout="timm")


@pytest.mark.long
def test_training():
    network = timm.create_model("legacy_xception", num_classes=3)
    check_training(jv.create_model("xception", num_classes=3, drop_rate=0.0), network, size=(65, 65), layout="timm")


def test_the_other_librarys_name():
    assert jv.create_model("legacy_xception") == jv.create_model("xception")
