"""MobileNet v1 (Howard et al., 2017), v2 (Sandler et al., 2018) and v3 (Howard et al., 2019).

v1 as timm builds it, v2 and v3 as torchvision does. Blocks have consecutive numbers; the last 1 x 1 convolution and v3's dense layer count
as blocks.
"""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import ConvNorm, Dense, Head, InvertedResidual, check_input, drop_path_rates, global_mean
from jaxvision.layers.initializers import small
from jaxvision.typing import Array, Features


class Separable(nn.Module):
    """The block of v1: a depthwise and a pointwise convolution, each with BatchNorm and ReLU6."""

    features: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options, channels = {"activation": jax.nn.relu6, "dtype": self.dtype}, x.shape[-1]
        x = ConvNorm(channels, 3, self.stride, groups=channels, name="depthwise", **options)(x, train=train)
        return ConvNorm(self.features, 1, name="project", **options)(x, train=train)


class Block(NamedTuple):
    """Kernel size, hidden channels (0: a separable block), channels out, squeeze-and-excitation units (0: none), activation, stride."""

    kernel_size: int
    hidden: int
    features: int
    squeeze: int = 0
    activation: str = "relu6"
    stride: int = 1


class MobileNet(nn.Module):
    """A stem at stride 2, blocks, a last 1 x 1 convolution, a dense layer (v3) and a linear head."""

    blocks: tuple[Block, ...]
    stem_width: int
    activation: str  # of the stem, the last convolution and the dense layer
    last_width: int = 0  # of the last convolution; 0: none
    dense_width: int = 0  # 0: none
    epsilon: float = 1e-5
    momentum: float = 0.1
    num_classes: int = 1000
    drop_rate: float = 0.2  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        norm = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype}
        outer = norm | {"activation": getattr(jax.nn, self.activation)}
        self.stem = ConvNorm(self.stem_width, 3, 2, **outer)
        rates = drop_path_rates(self.drop_path_rate, (len(self.blocks),))[0]
        for index, (row, rate) in enumerate(zip(map(Block._make, self.blocks), rates, strict=True), 1):
            options = norm | {"activation": getattr(jax.nn, row.activation), "gate": jax.nn.hard_sigmoid, "drop_path_rate": rate}
            inverted = InvertedResidual(row.features, row.hidden, row.kernel_size, row.stride, row.squeeze, **options)
            setattr(self, f"block{index}", inverted if row.hidden else Separable(row.features, row.stride, self.dtype))
        dense = {"dtype": self.dtype, "kernel_init": small(), "bias_init": nn.initializers.zeros}
        if self.last_width:
            setattr(self, f"block{len(self.blocks) + 1}", ConvNorm(self.last_width, 1, **outer))
        if self.dense_width:
            setattr(self, f"block{len(self.blocks) + 2}", Dense(self.dense_width, **dense))
        self.head = Head(self.num_classes, self.drop_rate, **dense)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4", "stride8", "stride16", "stride32": the last block at each stride.

        Raises ValueError for ``keep`` or ``mask``, which it does not support.
        """
        check_input("MobileNet", image, channels=self.in_channels, keep=keep, mask=mask)
        x, maps, stride = self.stem(image, train=train), {}, 2
        for index, row in enumerate(map(Block._make, self.blocks), 1):
            x, stride = getattr(self, f"block{index}")(x, train=train), stride * row.stride
            if stride >= 4:
                maps[f"stride{stride}"] = x
        if self.last_width:
            x = getattr(self, f"block{len(self.blocks) + 1}")(x, train=train)
        pooled = global_mean(x)
        if self.dense_width:
            hidden = getattr(self, f"block{len(self.blocks) + 2}")(pooled)
            hidden = getattr(jax.nn, self.activation)(hidden)
            pooled = hidden.astype(pooled.dtype)
        return Features(pooled, None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """The fields of ``MobileNet`` that differ between rows, in order."""

    blocks: tuple[Block, ...]
    stem_width: int
    activation: str
    last_width: int = 0
    dense_width: int = 0
    epsilon: float = 1e-5
    momentum: float = 0.1


def _second(rows: tuple) -> tuple[Block, ...]:
    """v2's table (expansion, channels out, blocks, stride of the first) as blocks."""
    blocks, channels = [], 32
    for expansion, features, depth, stride in rows:
        for index in range(depth):
            blocks.append(Block(3, expansion * channels, features, stride=1 if index else stride))
            channels = features
    return tuple(blocks)


_V1 = tuple(
    Block(3, 0, features, stride=1 if index else stride)
    for features, depth, stride in ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
    for index in range(depth)
)
_V2 = _second(((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)))
_V3_SMALL = (
    Block(3, 16, 16, 8, "relu", 2),
    Block(3, 72, 24, 0, "relu", 2),
    Block(3, 88, 24, 0, "relu"),
    Block(5, 96, 40, 24, "hard_swish", 2),
    Block(5, 240, 40, 64, "hard_swish"),
    Block(5, 240, 40, 64, "hard_swish"),
    Block(5, 120, 48, 32, "hard_swish"),
    Block(5, 144, 48, 40, "hard_swish"),
    Block(5, 288, 96, 72, "hard_swish", 2),
    Block(5, 576, 96, 144, "hard_swish"),
    Block(5, 576, 96, 144, "hard_swish"),
)
_V3_LARGE = (
    Block(3, 16, 16, 0, "relu"),
    Block(3, 64, 24, 0, "relu", 2),
    Block(3, 72, 24, 0, "relu"),
    Block(5, 72, 40, 24, "relu", 2),
    Block(5, 120, 40, 32, "relu"),
    Block(5, 120, 40, 32, "relu"),
    Block(3, 240, 80, 0, "hard_swish", 2),
    Block(3, 200, 80, 0, "hard_swish"),
    Block(3, 184, 80, 0, "hard_swish"),
    Block(3, 184, 80, 0, "hard_swish"),
    Block(3, 480, 112, 120, "hard_swish"),
    Block(3, 672, 112, 168, "hard_swish"),
    Block(5, 672, 160, 168, "hard_swish", 2),
    Block(5, 960, 160, 240, "hard_swish"),
    Block(5, 960, 160, 240, "hard_swish"),
)
MODELS = {
    "mobilenetv1_100": Size(_V1, 32, "relu6"),
    "mobilenet_v2": Size(_V2, 32, "relu6", 1280),
    "mobilenet_v3_small": Size(_V3_SMALL, 16, "hard_swish", 576, 1024, 1e-3, 0.01),
    "mobilenet_v3_large": Size(_V3_LARGE, 16, "hard_swish", 960, 1280, 1e-3, 0.01),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float = 0.2,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> MobileNet:
    """Create a row of ``MODELS``. Raises ValueError for a ``drop_path_rate`` with v1, whose blocks have no shortcut."""
    if drop_path_rate and not any(block.hidden for block in MODELS[name].blocks):
        raise ValueError(f"drop_path_rate: found {drop_path_rate}, expected 0: {name} has no residual branch to drop")
    return MobileNet(
        *MODELS[name], num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, dtype=dtype, in_channels=in_channels
    )
