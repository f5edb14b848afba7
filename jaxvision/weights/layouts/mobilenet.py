"""Names of MobileNet's weights: v2, v3 in torchvision, which numbers a block's parts; v1 to v3 in timm, which numbers blocks by stage."""

from typing import Any

from jaxvision.weights.layouts import unit
from jaxvision.weights.transforms import pointwise


def _parts(model, ours: str, index: int) -> list[str]:
    """A block's parts in order; expansion and squeeze-and-excitation are optional."""
    row = model.blocks[index]
    channels = model.blocks[index - 1][2] if index else model.stem_width
    return ["expand"] * (row[1] != channels) + ["depthwise"] + ["squeeze"] * bool(row[3]) + ["project"]


def torchvision(model: Any) -> tuple:
    """torchvision's rules: parts are numbered within ``conv`` (v2, whose projection is not a unit) or ``block`` (v3)."""
    if not model.last_width:  # the first version
        return ()
    third = model.dense_width > 0
    rules = [*unit("stem", "features.0.0", "features.0.1")]
    for index in range(len(model.blocks)):
        ours, theirs = f"block{index + 1}", f"features.{index + 1}.{'block' if third else 'conv'}"
        for place, part in enumerate(_parts(model, ours, index)):
            if part == "squeeze":
                rules += [(f"{ours}/squeeze/reduce", f"{theirs}.{place}.fc1"), (f"{ours}/squeeze/expand", f"{theirs}.{place}.fc2")]
            elif part == "project" and not third:
                rules += unit(f"{ours}/project", f"{theirs}.{place}", f"{theirs}.{place + 1}")
            else:
                rules += unit(f"{ours}/{part}", f"{theirs}.{place}.0", f"{theirs}.{place}.1")
    last = len(model.blocks) + 1
    rules += unit(f"block{last}", f"features.{last}.0", f"features.{last}.1")
    rules += [(f"block{last + 1}", "classifier.0"), ("head", "classifier.3" if third else "classifier.1")]
    return tuple(rules)


_TIMM = {  # convolution and norm of each part
    "separable": {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
    "inverted": {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")},
}


def timm(model: Any) -> tuple:
    """timm's rules: a stage begins if stride or channels change."""
    rules, stage, place, before = [*unit("stem", "conv_stem", "bn1")], -1, 0, None
    for index, row in enumerate(model.blocks):
        opens = row[5] != 1 or row[2] != before
        stage, place, before = (stage + 1, 0, row[2]) if opens else (stage, place + 1, before)
        kind = "inverted" if "expand" in _parts(model, "", index) and row[1] else "separable"
        for part, (conv, norm) in _TIMM[kind].items():
            rules += unit(f"block{index + 1}/{part}", f"blocks.{stage}.{place}.{conv}", f"blocks.{stage}.{place}.{norm}")
        rules += [(f"block{index + 1}/squeeze/{part}", f"blocks.{stage}.{place}.se.conv_{part}") for part in ("reduce", "expand")]
    last = len(model.blocks) + 1
    if model.dense_width:  # timm stores it as a convolution
        rules += (
            *unit(f"block{last}", f"blocks.{stage + 1}.0.conv", f"blocks.{stage + 1}.0.bn1"),
            (f"block{last + 1}", "conv_head", pointwise),
        )
    else:
        rules += unit(f"block{last}", "conv_head", "bn2")
    return (*rules, ("head", "classifier"))


LAYOUTS = {"torchvision": torchvision, "timm": timm}
VALUES = {"timm": {"epsilon": 1e-5}}  # torchvision has 1e-3 in v3
