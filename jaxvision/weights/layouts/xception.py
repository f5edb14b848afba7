"""Names of Xception's weights in timm (legacy_xception), which numbers a block's layers, including the ReLU before each unit."""


def _units(block: str, first: int) -> tuple:
    """Up to three units of a block whose first convolution has the number ``first``."""
    rules = []
    for unit in range(3):
        ours, place = f"{block}/unit{unit + 1}", first + 3 * unit
        theirs = f"{block}.rep"
        rules += [
            (f"{ours}/conv/depthwise", f"{theirs}.{place}.conv1"),
            (f"{ours}/conv/pointwise", f"{theirs}.{place}.pointwise"),
            (f"{ours}/norm", f"{theirs}.{place + 1}"),
        ]
    return tuple(rules)


_RULES = (
    ("stem/unit{k}/conv", "conv{k}"),
    ("stem/unit{k}/norm", "bn{k}"),
    ("block{i}/shortcut_conv", "block{i}.skip"),
    ("block{i}/shortcut_norm", "block{i}.skipbn"),
    *_units("block1", 0),
    *_units("block{i}", 1),
    ("block{i}/conv/depthwise", "conv{i-10}.conv1"),
    ("block{i}/conv/pointwise", "conv{i-10}.pointwise"),
    ("block{i}/norm", "bn{i-10}"),
    ("head", "fc"),
)
LAYOUTS = {"timm": _RULES}
