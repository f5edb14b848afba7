"""Every row of every family has the names and shapes of torchvision's and timm's network, whose weights are not even made."""

import pytest

import jaxvision as jv
from jaxvision.weights.rules import IGNORED, named, rules_of, shapes_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: names are NOT compared with it")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: names are NOT compared with it")
timm = pytest.importorskip("timm", reason="timm is not installed: names are NOT compared with it")

LIBRARIES = ("torchvision", "timm")
QUICK = ("alexnet", "densenet121", "googlenet", "mobilenet_v2", "resnet18", "seresnet18", "vgg11_bn", "vit_tiny_patch16_224", "xception")
THEIRS = {  # our name: theirs, where they differ
    "timm": {"xception": "legacy_xception", "mobilenet_v2": "mobilenetv2_100"},
    "torchvision": {
        **{f"vit_{size}_patch{patch}_224": f"vit_{size[0]}_{patch}" for size in ("base", "large", "huge") for patch in (14, 16, 32)},
        **{f"swin_{size}_patch4_window7_224": f"swin_{size[0]}" for size in ("tiny", "small", "base")},
    },
}


def reference(name: str, layout: str):
    """The other library's network without numbers; None where it has no such name."""
    name = THEIRS[layout].get(name, name)
    with torch.device("meta"):
        if layout == "timm":
            return timm.create_model(name) if timm.is_model(name) else None
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(name, **options) if name in torchvision.models.list_models() else None


def check(name: str) -> list[str]:
    """Compares a row in every layout it has; gives the layouts that a reference was found for."""
    model, compared = jv.create_model(name), []
    shapes = None
    for layout, rules in rules_of(model).items():
        network = reference(name, layout) if layout in LIBRARIES else None
        if network is None:
            continue
        shapes = shapes or shapes_of(model)
        ours = {entry.name: entry.theirs for entry in named(shapes, rules)}
        theirs = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if key.rpartition(".")[2] not in IGNORED}
        assert len(ours) == len(named(shapes, rules)), "two leaves have one name"
        assert ours == theirs, layout
        compared.append(layout)
    return compared


@pytest.mark.parametrize("name", QUICK)
def test_names_and_shapes(name):
    assert check(name)


@pytest.mark.long
def test_names_and_shapes_of_every_row(capsys):
    found = {name: check(name) for name in jv.list_models()}
    with capsys.disabled():
        for name, layouts in found.items():
            print(f"{name}: {', '.join(layouts) or 'no reference'}")
    assert sum(map(len, found.values())) > 90
