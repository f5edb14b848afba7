"""Every row of every family has the names and shapes of torchvision's and timm's network, whose weights are not even made."""

import pytest

import jaxvision as jv
from jaxvision.weights.rules import IGNORED, named, rules_of, shapes_of
from tests.marks import slow
from tests.oracles.references import LIBRARIES, without_memory

QUICK = {"convnextv2_atto", "regnet_y_400mf", "resnet18", "vgg11_bn", "vit_tiny_patch16_224"}


def check(name: str) -> list[str]:
    """Compares a row in every layout it has; gives the layouts that a reference was found for."""
    compared = []
    for library, rules in rules_of(jv.create_model(name)).items():
        network = without_memory(name, library) if library in LIBRARIES else None
        if network is None:
            continue
        leaves = named(shapes_of(jv.create_model(name)), rules)
        ours = {entry.name: entry.theirs for entry in leaves}
        assert len(ours) == len(leaves), "two leaves have one name"
        theirs = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if key.rpartition(".")[2] not in IGNORED}
        if (name, library) == ("inception_v3", "timm"):  # it makes no classifiers for training unless asked
            ours = {entry.name: entry.theirs for entry in leaves if not entry.auxiliary}
        assert ours == theirs, library
        compared.append(library)
    return compared


@pytest.mark.parametrize("name", [*sorted(QUICK), slow("mobilenet_v3_large")])
def test_names_and_shapes(name):
    assert check(name)
