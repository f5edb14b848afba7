"""Names of DenseNet's weights in torchvision and timm, which are the same."""

_RULES = (
    ("stem/conv", "features.conv0"),
    ("stem/norm", "features.norm0"),
    ("stage{i}/transition/conv", "features.transition{i-1}.conv"),
    ("stage{i}/transition/norm", "features.transition{i-1}.norm"),
    ("stage{i}/layer{j}/conv{k}", "features.denseblock{i}.denselayer{j}.conv{k}"),
    ("stage{i}/layer{j}/norm{k}", "features.denseblock{i}.denselayer{j}.norm{k}"),
    ("norm", "features.norm5"),
    ("head", "classifier"),
)
LAYOUTS = {"torchvision": _RULES, "timm": _RULES}
