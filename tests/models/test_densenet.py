"""DenseNet: torchvision's and timm's numbers."""

import pytest

import jaxvision as jv
from tests.oracles.parity import check_logits, check_training

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


@pytest.mark.slow
def test_logits():
    """The other rows: ``python -m benchmarks.parity_table``."""
    check_logits(jv.create_model("densenet121", num_classes=11), torchvision.models.densenet121(num_classes=11), size=(33, 45))


@pytest.mark.slow
def test_timms_logits():
    model = jv.create_model("densenet121", num_classes=11)
    check_logits(model, timm.create_model("densenet121", num_classes=11), size=(64, 50), layout="timm")


def small(num_classes: int):
    """Six layers of a few channels, in both libraries."""
    network = torchvision.models.DenseNet(8, (2, 1, 2, 1), 16, num_classes=num_classes)
    return jv.create_model("densenet121", num_classes=num_classes).clone(depths=(2, 1, 2, 1), growth=8, width=16), network


def test_small_forms_logits():
    check_logits(*small(11), size=(33, 45), double=True)


def test_training():
    check_training(*small(3), size=(65, 65))
