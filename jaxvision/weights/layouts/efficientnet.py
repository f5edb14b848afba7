"""Names of EfficientNet's weights in torchvision, which numbers a block's parts, and timm, whose names depend on the kind of block."""

from typing import Any


def _unit(ours: str, theirs: str) -> tuple:
    return (f"{ours}/conv", f"{theirs}.0"), (f"{ours}/norm", f"{theirs}.1")


def _inverted(stage: str, first: int, theirs: str) -> tuple:
    """Rules for depthwise, squeeze and project, of which the first has the number ``first``."""
    block = f"{stage}/block{{j}}"
    return (
        *_unit(f"{block}/depthwise", f"{theirs}.{first}"),
        (f"{block}/squeeze/reduce", f"{theirs}.{first + 1}.fc1"),
        (f"{block}/squeeze/expand", f"{theirs}.{first + 1}.fc2"),
        *_unit(f"{block}/project", f"{theirs}.{first + 2}"),
    )


_KINDS = {  # timm's names of convolution and norm of a block's parts, by (whether it is fused, whether it expands)
    (True, False): {"fused": ("conv", "bn1")},
    (True, True): {"fused": ("conv_exp", "bn1"), "contract": ("conv_pwl", "bn2")},
    (False, False): {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
    (False, True): {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")},
}


def timm(model: Any) -> tuple:
    """timm's rules."""
    rules = [("stem/conv", "conv_stem"), ("stem/norm", "bn1")]
    for index, (expansion, *_, fused) in enumerate(model.stages, 1):
        ours, theirs = f"stage{index}/block{{j}}", f"blocks.{index - 1}.{{j-1}}"
        for part, (conv, norm) in _KINDS[fused, expansion != 1].items():
            rules += [(f"{ours}/{part}/conv", f"{theirs}.{conv}"), (f"{ours}/{part}/norm", f"{theirs}.{norm}")]
        rules += [(f"{ours}/squeeze/{part}", f"{theirs}.se.conv_{part}") for part in ("reduce", "expand")]
    last = f"stage{len(model.stages) + 1}"
    return (*rules, (f"{last}/conv", "conv_head"), (f"{last}/norm", "bn2"), ("head", "classifier"))


_BLOCK = "features.{i}.{j-1}.block"
LAYOUTS = {
    "torchvision": (
        *_unit("stem", "features.0"),
        *_unit("stage{i}/block{j}/fused", f"{_BLOCK}.0"),
        *_unit("stage{i}/block{j}/contract", f"{_BLOCK}.1"),
        *_unit("stage{i}/block{j}/expand", f"{_BLOCK}.0"),
        *_inverted("stage1", 0, "features.1.{j-1}.block"),
        *_inverted("stage{i}", 1, _BLOCK),
        *_unit("stage{i}", "features.{i}"),
        ("head", "classifier.1"),
    ),
    "timm": timm,
}
VALUES = {"timm": {"epsilon": 1e-5}}  # torchvision has 1e-3 in b5, b6, b7 and the second version
