"""Names of ConvNeXt's weights in torchvision, timm and the authors' code ("official", both versions)."""

from typing import Any

from jaxvision.weights.transforms import channels, column, dense_pointwise

_TORCHVISION = (
    ("stem/conv", "features.0.0"),
    ("stem/norm", "features.0.1"),
    ("stage{i}/norm", "features.{2*i-2}.0"),
    ("stage{i}/conv", "features.{2*i-2}.1"),
    ("stage{i}/block{j}/depthwise", "features.{2*i-1}.{j-1}.block.0"),
    ("stage{i}/block{j}/norm", "features.{2*i-1}.{j-1}.block.2"),
    ("stage{i}/block{j}/expand", "features.{2*i-1}.{j-1}.block.3"),
    ("stage{i}/block{j}/contract", "features.{2*i-1}.{j-1}.block.5"),
    ("stage{i}/block{j}/layer_scale/gamma", "features.{2*i-1}.{j-1}.layer_scale", column),
    ("norm", "classifier.0"),
    ("head", "classifier.2"),
)
_BLOCK = "stages.{i-1}.{j-1}"


def official(model: Any) -> tuple:
    """The authors' rules: MLPs are dense layers in every size, and GRN's parameters have four axes."""
    pointwise = (dense_pointwise,) if model.pointwise else ()
    return (
        ("stem/conv", "downsample_layers.0.0"),
        ("stem/norm", "downsample_layers.0.1"),
        ("stage{i}/norm", "downsample_layers.{i-1}.0"),
        ("stage{i}/conv", "downsample_layers.{i-1}.1"),
        ("stage{i}/block{j}/depthwise", f"{_BLOCK}.dwconv"),
        ("stage{i}/block{j}/norm", f"{_BLOCK}.norm"),
        ("stage{i}/block{j}/expand", f"{_BLOCK}.pwconv1", *pointwise),
        ("stage{i}/block{j}/response/scale", f"{_BLOCK}.grn.gamma", channels),
        ("stage{i}/block{j}/response/bias", f"{_BLOCK}.grn.beta", channels),
        ("stage{i}/block{j}/contract", f"{_BLOCK}.pwconv2", *pointwise),
        ("stage{i}/block{j}/layer_scale/gamma", f"{_BLOCK}.gamma"),
        ("norm", "norm"),
        ("head", "head"),
    )


LAYOUTS = {
    "torchvision": lambda model: () if model.response else _TORCHVISION,  # it only has the first version
    "timm": (
        ("stem/conv", "stem.0"),
        ("stem/norm", "stem.1"),
        ("stage{i}/norm", "stages.{i-1}.downsample.0"),
        ("stage{i}/conv", "stages.{i-1}.downsample.1"),
        ("stage{i}/block{j}/depthwise", "stages.{i-1}.blocks.{j-1}.conv_dw"),
        ("stage{i}/block{j}/norm", "stages.{i-1}.blocks.{j-1}.norm"),
        ("stage{i}/block{j}/expand", "stages.{i-1}.blocks.{j-1}.mlp.fc1"),
        ("stage{i}/block{j}/response", "stages.{i-1}.blocks.{j-1}.mlp.grn"),
        ("stage{i}/block{j}/contract", "stages.{i-1}.blocks.{j-1}.mlp.fc2"),
        ("stage{i}/block{j}/layer_scale/gamma", "stages.{i-1}.blocks.{j-1}.gamma"),
        ("norm", "head.norm"),
        ("head", "head.fc"),
    ),
    "official": official,
}
