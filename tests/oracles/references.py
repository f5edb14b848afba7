"""Which network of torchvision's and timm's is one of our rows, and how it is compared: image size and the gain of its random weights."""

import importlib.util

import pytest

import jaxvision as jv
from benchmarks.reference import torchvision as load_torchvision
from jaxvision.models.catalog import ALIASES
from jaxvision.weights.rules import family_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: its networks are NOT compared with")
if importlib.util.find_spec("torchvision"):
    load_torchvision()  # declares the operators that a CPU installation lacks
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: its networks are NOT compared with")
timm = pytest.importorskip("timm", reason="timm is not installed: its networks are NOT compared with")

LIBRARIES = ("torchvision", "timm")
TIMM_NAMES = {  # our name: timm's, where the name is not an alias
    "xception": "legacy_xception",
    **{f"mobilenet_v3_{size}": f"mobilenetv3_{size}_100" for size in ("small", "large")},
    **{f"efficientnet_v2_{size}": f"efficientnetv2_{size}" for size in "sml"},
}
SIZES = {"alexnet": (97, 103), "inception": (107, 99), "xception": (77, 71), "swin": (224, 224), "mixer": (224, 224)}
SIZE = (65, 71)  # of the other families; transformers of one image size have it
# Too large a gain saturates gates and ReLU6, too small a one makes all images alike.
GAINS = {
    "mobilenet_v2": 1.3,
    "mobilenet_v3_large": 1.4,
    **{f"seresnet{depth}": gain for depth, gain in ((18, 1.4), (34, 1.4), (50, 1.4), (101, 1.2), (152, 1.1))},
    **{name: 1.3 for name in jv.list_models("regnet_y*")},
    **{f"efficientnet_b{number}": gain for number, gain in enumerate((2.0, 2.0, 1.7, 1.8, 1.7, 1.6, 1.4, 1.4))},
    **{f"efficientnet_v2_{size}": gain for size, gain in (("s", 1.0), ("m", 1.0), ("l", 1.0))},
}


def reference_name(name: str, library: str) -> str | None:
    """The library's name of our row, which may be one of its aliases; None if the library does not have the network."""
    known = timm.is_model if library == "timm" else torchvision.models.list_models().__contains__
    first = TIMM_NAMES.get(name, name) if library == "timm" else name
    return next((one for one in (first, *(alias for alias, ours in ALIASES.items() if ours == name)) if known(one)), None)


def reference(name: str, library: str):
    """The library's network of our row in evaluation, with its own first weights; None where it has none."""
    name = reference_name(name, library)
    if name is None:
        return None
    if library == "timm":
        return timm.create_model(name, num_classes=1000).eval()  # some have no classifier of their own
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, **options).eval()


def without_memory(name: str, library: str):
    """``reference`` without memory for its weights. torchvision's RegNet needs it: the network computes its widths with tensors."""
    with torch.device("cpu" if (name[:6], library) == ("regnet", "torchvision") else "meta"):
        return reference(name, library)


def counterpart(name: str, library: str):
    """Our row with the values that the library's network computes with."""
    model = jv.create_model(name)
    return model.clone(**getattr(family_of(model), "VALUES", {}).get(library, {}))


def image_size(name: str) -> tuple[int, int]:
    """A small image that the row takes, odd where it may be."""
    model = jv.create_model(name)
    family = type(model).__module__.rpartition(".")[2]
    if family in SIZES:
        return SIZES[family]
    return (model.image_size, model.image_size) if family == "vit" else SIZE
