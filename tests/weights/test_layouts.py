"""Every row of every family has the names and shapes of torchvision's and timm's network, whose weights are not even made."""

import pytest

import jaxvision as jv
from jaxvision.weights.rules import IGNORED, named, rules_of, shapes_of
from tests.oracles.references import LIBRARIES, reference, torch

QUICK = (
    *("alexnet", "convnextv2_atto", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "mobilenet_v2"),
    *(
        "mobilenet_v3_large",
        "regnet_y_400mf",
        "resnet18",
        "seresnet18",
        "swin_tiny_patch4_window7_224",
        "vgg11_bn",
        "vit_tiny_patch16_224",
        "xception",
    ),
)


def check(name: str) -> list[str]:
    """Compares a row in every layout it has; gives the layouts that a reference was found for."""
    compared = []
    for library, rules in rules_of(jv.create_model(name)).items():
        # torchvision computes RegNet's widths with tensors, so that it cannot be made without memory.
        with torch.device("cpu" if (name[:6], library) == ("regnet", "torchvision") else "meta"):
            network = reference(name, library) if library in LIBRARIES else None
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


@pytest.mark.parametrize("name", QUICK)
def test_names_and_shapes(name):
    assert check(name)


@pytest.mark.slow
def test_names_and_shapes_of_every_row(capsys):
    found = {name: check(name) for name in jv.list_models()}
    with capsys.disabled():
        for name, layouts in found.items():
            print(f"{name}: {', '.join(layouts) or 'no reference'}")
    assert sum(map(len, found.values())) > 90
