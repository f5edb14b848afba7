"""Names of VGG's weights in torchvision and timm, which number every layer; timm stores the dense layers as convolutions."""

from typing import Any

from jaxvision.weights.transforms import convolved, flattened, pointwise


def _convolutions(model) -> tuple:
    """Each convolution (and norm) by its number among convolutions, norms, ReLUs and poolings."""
    rules, place = [], 0
    for stage, sizes in enumerate(model.kernel_sizes, 1):
        for number in range(1, len(sizes) + 1):
            rules.append((f"stage{stage}/conv{number}", f"features.{place}"))
            if model.norm == "batch":
                rules.append((f"stage{stage}/norm{number}", f"features.{place + 1}"))
            place += 3 if model.norm == "batch" else 2
        place += 1
        place += model.norm == "response" and stage == 1
    return tuple(rules)


def torchvision(model: Any) -> tuple:
    """torchvision's rules for this depth."""
    dense = (("stage6", "classifier.0", flattened(7, 7)), ("stage7", "classifier.3"), ("head", "classifier.6"))
    return _convolutions(model) + dense


def timm(model: Any) -> tuple:
    """timm's rules for this depth."""
    dense = (("stage6", "pre_logits.fc1", convolved(7, 7)), ("stage7", "pre_logits.fc2", pointwise), ("head", "head.fc"))
    return _convolutions(model) + dense


LAYOUTS = {"torchvision": torchvision, "timm": timm}
