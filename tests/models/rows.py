"""Which rows of a matrix of models the fast set runs; the others carry the marker ``slow``."""

from collections.abc import Iterable

import pytest

FAMILIES = {  # the lightest row of every family, and of each kind of block
    *("lenet5", "alexnet", "vgg11", "vgg11_bn", "googlenet", "xception", "densenet121", "mobilenet_v3_small", "efficientnet_b0"),
    *("regnet_y_400mf", "resnet18", "seresnet18", "resnetv2_18", "plain20", "convnextv2_atto", "swin_tiny_patch4_window7_224"),
    *("mixer_s32_224", "gmlp_ti16_224", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"),
}
KINDS = {"lenet5", "resnet18", "mobilenet_v3_small", "convnextv2_atto", "vit_tiny_patch16_224"}  # a few that differ most


def split(names: Iterable[str], fast: set[str]) -> list:
    """``names`` as parameters of a test, those that are not in ``fast`` with the marker ``slow``."""
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow, id=name) for name in names]
