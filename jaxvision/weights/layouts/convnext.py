"""Where torchvision and timm keep ConvNeXt's weights."""

from jaxvision.weights.changes import column

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
LAYOUTS = {
    "torchvision": lambda model: () if model.response else _TORCHVISION,  # it has the first version alone
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
}
