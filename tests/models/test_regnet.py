"""RegNetX and RegNetY against torchvision and timm: logits and the training step of whole networks."""

import pytest

import jaxvision as jv
from tests.marks import slow
from tests.oracles.parity import check_logits, check_training
from tests.oracles.references import GAINS

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
NAMES = (slow("regnet_x_400mf"), "regnet_y_400mf")


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_logits(name):
    network = getattr(torchvision.models, name)(num_classes=11)
    check_logits(jv.create_model(name, num_classes=11), network, size=(65, 71), gain=GAINS.get(name, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regnety_004", "regnetx_004_tv"])
def test_timms_logits_under_its_own_name(name):
    model = jv.create_model(name, num_classes=11)
    gain = GAINS["regnet_y_400mf"] if name.startswith("regnety") else 2.0
    check_logits(model, timm.create_model(name, num_classes=11), size=(65, 71), layout="timm", gain=gain)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf"])
def test_training(name):
    check_training(jv.create_model(name, num_classes=3), getattr(torchvision.models, name)(num_classes=3), size=(33, 40))
