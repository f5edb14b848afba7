"""EfficientNet's names in torchvision; parts of a block are counted, and the first stage's blocks have no expansion."""


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
}
