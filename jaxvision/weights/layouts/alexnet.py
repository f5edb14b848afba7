"""Names of AlexNet's weights in torchvision; with normalization the layers are numbered as in its VGG."""

from typing import Any

from jaxvision.weights.transforms import flattened

_DENSE = (("stage5", "classifier.1", flattened(6, 6)), ("stage6", "classifier.4"), ("head", "classifier.6"))
_POOLED = (0, 1, 4)  # convolutions that a pooling follows


def torchvision(model: Any) -> tuple:
    """torchvision's rules: each convolution (and norm) by its number among convolutions, norms, ReLUs and poolings."""
    rules, place = [], 0
    for index in range(5):
        unit = f"stage{index}" if index else "stem"
        rules.append((f"{unit}/conv", f"features.{place}"))
        if model.norm == "batch":
            rules.append((f"{unit}/norm", f"features.{place + 1}"))
        place += 2 + (model.norm == "batch") + (index in _POOLED)
    return (*rules, *_DENSE)


LAYOUTS = {"torchvision": torchvision}
