"""Names of the weights of GoogLeNet and Inception v3 in torchvision, and of v3 and v4 in timm."""

from typing import Any

from jaxvision.weights.transforms import flattened


def _unit(ours: str, theirs: str) -> tuple:
    return (f"{ours}/conv", f"{theirs}.conv"), (f"{ours}/norm", f"{theirs}.bn")


def _blocks(rows) -> tuple:
    """Rules from rows (our block, its name in the library, {branch: names of its convolutions})."""
    return tuple(
        rule
        for block, there, branches in rows
        for branch, names in branches.items()
        for conv, name in names.items()
        for rule in _unit(f"block{block}/branch{branch}/conv{conv}", f"{there}.{name}")
    )


def _numbered(prefix: str, count: int, start: int = 0) -> dict:
    return {str(index + 1): f"{prefix}{index + start}" for index in range(count)}


_FIRST_BRANCHES = {1: {"1": "branch1"}, 2: _numbered("branch2.", 2), 3: _numbered("branch3.", 2), 4: {"1": "branch4.1"}}
_FIRST = (
    *_unit("stem/conv{k}", "conv{k}"),
    *_blocks((block, f"inception{name}", _FIRST_BRANCHES) for block, name in enumerate("3a 3b 4a 4b 4c 4d 4e 5a 5b".split(), 1)),
    *_unit("auxiliary{k}/conv", "aux{k}.conv"),
    ("auxiliary{k}/dense", "aux{k}.fc1", flattened(4, 4)),
    ("auxiliary{k}/head", "aux{k}.fc2"),
    ("head", "fc"),
)

_POOL = {"1": "branch_pool"}
_A3 = {1: {"1": "branch1x1"}, 2: _numbered("branch5x5_", 2, 1), 3: _numbered("branch3x3dbl_", 3, 1), 4: _POOL}
_B3 = {1: {"1": "branch3x3"}, 2: _numbered("branch3x3dbl_", 3, 1)}
_C3 = {1: {"1": "branch1x1"}, 2: _numbered("branch7x7_", 3, 1), 3: _numbered("branch7x7dbl_", 5, 1), 4: _POOL}
_D3 = {1: _numbered("branch3x3_", 2, 1), 2: _numbered("branch7x7x3_", 4, 1)}
_E3 = {
    1: {"1": "branch1x1"},
    2: {"1": "branch3x3_1", "2a": "branch3x3_2a", "2b": "branch3x3_2b"},
    3: {"1": "branch3x3dbl_1", "2": "branch3x3dbl_2", "3a": "branch3x3dbl_3a", "3b": "branch3x3dbl_3b"},
    4: _POOL,
}
_MIXED = zip("5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split(), (_A3, _A3, _A3, _B3, _C3, _C3, _C3, _C3, _D3, _E3, _E3), strict=True)
_THIRD = (
    *(rule for k, name in enumerate("1a_3x3 2a_3x3 2b_3x3 3b_1x1 4a_3x3".split(), 1) for rule in _unit(f"stem/conv{k}", f"Conv2d_{name}")),
    *_blocks((block, f"Mixed_{name}", branches) for block, (name, branches) in enumerate(_MIXED, 1)),
    *_unit("auxiliary1/conv{k}", "AuxLogits.conv{k-1}"),
    ("auxiliary1/head", "AuxLogits.fc"),
    ("head", "fc"),
)

_ONE, _LAST = {"1": "branch0"}, {"1": "branch3.1"}
_A4 = {1: _ONE, 2: _numbered("branch1.", 2), 3: _numbered("branch2.", 3), 4: _LAST}
_B4 = {1: _ONE, 2: _numbered("branch1.", 3), 3: _numbered("branch2.", 5), 4: _LAST}
_C4 = {
    1: _ONE,
    2: {"1": "branch1_0", "2a": "branch1_1a", "2b": "branch1_1b"},
    3: {"1": "branch2_0", "2": "branch2_1", "3": "branch2_2", "4a": "branch2_3a", "4b": "branch2_3b"},
    4: _LAST,
}
_FOURTH_BLOCKS = (
    {2: {"1": "conv"}},
    {1: _numbered("branch0.", 2), 2: _numbered("branch1.", 4)},
    {1: {"1": "conv"}},
    *(_A4,) * 4,
    {1: _ONE, 2: _numbered("branch1.", 3)},
    *(_B4,) * 7,
    {1: _numbered("branch0.", 2), 2: _numbered("branch1.", 4)},
    *(_C4,) * 3,
)
_FOURTH = (
    *_unit("stem/conv{k}", "features.{k-1}"),
    *_blocks((block, f"features.{block + 2}", branches) for block, branches in enumerate(_FOURTH_BLOCKS, 1)),
    ("head", "last_linear"),
)


def torchvision(model: Any) -> tuple:
    """torchvision's rules for this variant."""
    return {"googlenet": _FIRST, "inception_v3": _THIRD}.get(model.variant, ())


def timm(model: Any) -> tuple:
    """timm's rules for this variant; v3 has torchvision's names there."""
    return {"inception_v3": _THIRD, "inception_v4": _FOURTH}.get(model.variant, ())


LAYOUTS = {"torchvision": torchvision, "timm": timm}
