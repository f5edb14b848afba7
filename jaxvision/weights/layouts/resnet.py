"""Names of ResNet's weights in torchvision and timm, which are the same; only timm has squeeze-and-excitation."""

_RULES = (
    ("stem/conv", "conv1"),
    ("stem/norm", "bn1"),
    ("stage{i}/block{j}/conv{k}", "layer{i}.{j-1}.conv{k}"),
    ("stage{i}/block{j}/norm{k}", "layer{i}.{j-1}.bn{k}"),
    ("stage{i}/block{j}/shortcut_conv", "layer{i}.{j-1}.downsample.0"),
    ("stage{i}/block{j}/shortcut_norm", "layer{i}.{j-1}.downsample.1"),
    ("head", "fc"),
)
_GATES = (
    ("stage{i}/block{j}/squeeze/reduce", "layer{i}.{j-1}.se.fc1"),
    ("stage{i}/block{j}/squeeze/expand", "layer{i}.{j-1}.se.fc2"),
)
LAYOUTS = {"torchvision": lambda model: () if model.style == "squeezed" else _RULES, "timm": _RULES + _GATES}
