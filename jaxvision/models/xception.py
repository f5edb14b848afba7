"""Xception (Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017), as timm builds legacy_xception."""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    DropPath,
    Head,
    SeparableConv,
    check_input,
    drop_path_rates,
    global_mean,
    max_pool,
    residual_output,
)
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.typing import Array, Features


class Stem(nn.Module):
    """A 3 x 3 convolution at stride 2 and another 3 x 3, without padding."""

    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, *, train: bool) -> Array:
        x = ConvNorm(32, 3, 2, 0, dtype=self.dtype, name="unit1")(image, train=train)
        return ConvNorm(64, 3, 1, 0, dtype=self.dtype, name="unit2")(x, train=train)


class Unit(nn.Module):
    """A separable convolution and its norm."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = SeparableConv(self.features, 3, dtype=self.dtype, name="conv")(x)
        return BatchNorm(dtype=self.dtype, name="norm")(x, train=train)


class Block(nn.Module):
    """Residual block of units with a ReLU before each (optional before the first), and max pooling at stride 2."""

    widths: tuple[int, ...]  # of each unit
    stride: int = 1
    first_relu: bool = True
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        branch = x
        for index, width in enumerate(self.widths):
            branch = jax.nn.relu(branch) if index or self.first_relu else branch
            branch = Unit(width, self.dtype, name=f"unit{index + 1}")(branch, train=train)
        if self.stride != 1:
            branch = max_pool(branch, 3, stride=self.stride, padding=1)
        if self.stride != 1 or x.shape[-1] != self.widths[-1]:
            options = {"use_bias": False, "dtype": self.dtype, "kernel_init": he_normal_fan_out}
            x = Conv(self.widths[-1], 1, self.stride, name="shortcut_conv", **options)(x)
            x = BatchNorm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return residual_output(x + DropPath(self.drop_path_rate)(branch, train=train))


class Xception(nn.Module):
    """A stem, residual blocks of separable convolutions, two single units (the last two blocks), pooling and a linear head."""

    widths: tuple[tuple[int, ...], ...]  # of the units of each block
    last_widths: tuple[int, ...]
    num_classes: int = 1000
    drop_rate: float = 0.5  # before the head
    drop_path_rate: float = 0.0  # of the last residual block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Stem(self.dtype)
        channels, rates = 64, drop_path_rates(self.drop_path_rate, (len(self.widths),))[0]
        for index, (widths, rate) in enumerate(zip(self.widths, rates, strict=True), 1):
            stride = 1 if widths[-1] == channels else 2
            setattr(self, f"block{index}", Block(widths, stride, index > 1, rate, self.dtype))
            channels = widths[-1]
        for index, width in enumerate(self.last_widths, len(self.widths) + 1):
            setattr(self, f"block{index}", Unit(width, self.dtype))
        self.head = Head(self.num_classes, self.drop_rate, self.dtype)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4", "stride8", "stride16", "stride32": the last block at each stride.

        Raises ValueError for an image smaller than 7 x 7, and for ``keep`` or ``mask``, which it does not support.
        """
        check_input("Xception", image, channels=self.in_channels, least=7, keep=keep, mask=mask)
        x, maps, stride = self.stem(image, train=train), {}, 2
        for index in range(1, len(self.widths) + 1):
            block = getattr(self, f"block{index}")
            stride *= block.stride
            x = maps[f"stride{stride}"] = block(x, train=train)
        for index in range(len(self.widths) + 1, len(self.widths) + len(self.last_widths) + 1):
            x = maps[f"stride{stride}"] = jax.nn.relu(getattr(self, f"block{index}")(x, train=train))
        return Features(global_mean(x), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Widths of the units of each residual block, and of the single units after them."""

    widths: tuple[tuple[int, ...], ...]
    last_widths: tuple[int, ...]


_MIDDLE = ((728, 728, 728),) * 8
MODELS = {"xception": Size(((128, 128), (256, 256), (728, 728), *_MIDDLE, (728, 1024)), (1536, 2048))}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float = 0.5,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> Xception:
    """Create a row of ``MODELS``."""
    return Xception(
        *MODELS[name], num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, dtype=dtype, in_channels=in_channels
    )
