"""Names of Swin's weights in torchvision and timm."""

import math

from jaxvision.layers.window_attention import relative_index
from jaxvision.weights.transforms import offsets

LAYOUTS = {
    "torchvision": (
        ("stem/conv", "features.0.0"),
        ("stem/norm", "features.0.2"),
        ("stage{i}/norm", "features.{2*i-2}.norm"),
        ("stage{i}/reduce", "features.{2*i-2}.reduction"),
        ("stage{i}/block{j}/norm{k}", "features.{2*i-1}.{j-1}.norm{k}"),
        ("stage{i}/block{j}/attention/position", "features.{2*i-1}.{j-1}.attn.relative_position_bias_table", offsets),
        ("stage{i}/block{j}/attention/qkv", "features.{2*i-1}.{j-1}.attn.qkv"),
        ("stage{i}/block{j}/attention/project", "features.{2*i-1}.{j-1}.attn.proj"),
        ("stage{i}/block{j}/mlp/expand", "features.{2*i-1}.{j-1}.mlp.0"),
        ("stage{i}/block{j}/mlp/contract", "features.{2*i-1}.{j-1}.mlp.3"),
        ("norm", "norm"),
        ("head", "head"),
    ),
    "timm": (
        ("stem/conv", "patch_embed.proj"),
        ("stem/norm", "patch_embed.norm"),
        ("stage{i}/norm", "layers.{i-1}.downsample.norm"),
        ("stage{i}/reduce", "layers.{i-1}.downsample.reduction"),
        ("stage{i}/block{j}/norm{k}", "layers.{i-1}.blocks.{j-1}.norm{k}"),
        ("stage{i}/block{j}/attention/position", "layers.{i-1}.blocks.{j-1}.attn.relative_position_bias_table", offsets),
        ("stage{i}/block{j}/attention/qkv", "layers.{i-1}.blocks.{j-1}.attn.qkv"),
        ("stage{i}/block{j}/attention/project", "layers.{i-1}.blocks.{j-1}.attn.proj"),
        ("stage{i}/block{j}/mlp/expand", "layers.{i-1}.blocks.{j-1}.mlp.fc1"),
        ("stage{i}/block{j}/mlp/contract", "layers.{i-1}.blocks.{j-1}.mlp.fc2"),
        ("norm", "norm"),
        ("head", "head.fc"),
    ),
}


def _indices(tensors: dict) -> dict:
    """The index of each window's offsets in its table, a buffer of torchvision."""
    found = {}
    for name, table in tensors.items():
        if name.endswith("relative_position_bias_table"):
            window = (math.isqrt(len(table)) + 1) // 2
            found[name.replace("bias_table", "index")] = relative_index(window).reshape(-1)
    return found


BUFFERS = {"torchvision": _indices}
