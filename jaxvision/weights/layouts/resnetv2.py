"""Names of the weights of pre-activation residual networks in timm, whose head is a 1 x 1 convolution."""

from jaxvision.weights.transforms import pointwise

LAYOUTS = {
    "timm": (
        ("stem/conv", "stem.conv"),
        ("stage{i}/block{j}/norm{k}", "stages.{i-1}.blocks.{j-1}.norm{k}"),
        ("stage{i}/block{j}/conv{k}", "stages.{i-1}.blocks.{j-1}.conv{k}"),
        ("stage{i}/block{j}/shortcut", "stages.{i-1}.blocks.{j-1}.downsample.conv"),
        ("norm", "norm"),
        ("head", "head.fc", pointwise),
    ),
}
