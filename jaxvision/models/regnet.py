"""RegNetX and RegNetY (Radosavovic et al., "Designing Network Design Spaces", 2020, arXiv 2003.13678), as torchvision builds them.

The depths and widths of the four stages follow from four numbers, the quantized linear rule of section 3.3. RegNetY adds
squeeze-and-excitation to each block of RegNetX.
"""

import math
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import ConvNorm, DropPath, Head, SqueezeExcite, check_input, drop_path_rates, global_mean, residual_output
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.typing import Array, Features


class Block(nn.Module):
    """Residual block of a 1 x 1, a grouped 3 x 3 and a 1 x 1 convolution of one width, with a gate of ``squeeze`` units (0: none)."""

    width: int
    group_width: int
    stride: int = 1
    squeeze: int = 0
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width, options = self.width, {"dtype": self.dtype}
        branch = ConvNorm(width, 1, name="conv1", **options)(x, train=train)
        branch = ConvNorm(width, 3, self.stride, groups=width // self.group_width, name="conv2", **options)(branch, train=train)
        if self.squeeze:
            branch = SqueezeExcite(self.squeeze, kernel_init=he_normal_fan_out, name="squeeze", **options)(branch)
        branch = ConvNorm(width, 1, activation=None, name="conv3", **options)(branch, train=train)
        if self.stride != 1 or x.shape[-1] != width:
            x = ConvNorm(width, 1, self.stride, activation=None, name="shortcut", **options)(x, train=train)
        return residual_output(jax.nn.relu(x + DropPath(self.drop_path_rate)(branch, train=train)))


class Stage(nn.Module):
    """Blocks of one width; the first halves the resolution. The gates have ``squeeze_ratio`` times the channels of the block's input."""

    width: int
    group_width: int
    squeeze_ratio: float
    drop_path_rates: tuple[float, ...]  # one per block
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for index, rate in enumerate(self.drop_path_rates):
            squeeze = round(self.squeeze_ratio * x.shape[-1])
            stride = 1 if index else 2
            x = Block(self.width, self.group_width, stride, squeeze, rate, self.dtype, name=f"block{index + 1}")(x, train=train)
        return x


class RegNet(nn.Module):
    """A 3 x 3 stem at stride 2, four stages, global average pooling and a linear head."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    squeeze_ratio: float = 0.0  # RegNetY: 0.25
    num_classes: int = 1000
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = ConvNorm(32, 3, 2, dtype=self.dtype)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            stage = Stage(self.widths[index], self.group_widths[index], self.squeeze_ratio, rates, self.dtype)
            setattr(self, f"stage{index + 1}", stage)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, nn.initializers.normal(0.01), nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4" to "stride32", one per stage.

        Raises ValueError for ``keep`` or ``mask``, which it does not support.
        """
        check_input("RegNet", image, channels=self.in_channels, keep=keep, mask=mask)
        x, maps = self.stem(image, train=train), {}
        for index in range(len(self.depths)):
            x = maps[f"stride{4 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        return Features(global_mean(x), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Blocks, channels and channels of a group in each stage; ratio of squeeze-and-excitation."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    squeeze_ratio: float


def _quantized(depth: int, initial: int, slope: float, step: float, group_width: int, squeeze_ratio: float = 0.0) -> Size:
    """The rule of the paper, equations 2 to 4, with its d, w_0, w_a and w_m.

    Block j has u = w_0 + w_a j channels, rounded to the nearest w_0 w_m^s and then to a multiple of 8. Blocks of equal width form a stage.
    The width of a stage is then rounded to a multiple of the group width; torchvision rounds up if rounding takes more than a tenth away.
    """
    exponents = (round(math.log((initial + slope * block) / initial) / math.log(step)) for block in range(depth))
    widths = [8 * round(initial * step**exponent / 8) for exponent in exponents]
    stages = sorted(set(widths))
    groups = tuple(min(group_width, width) for width in stages)
    rounded = [group * int(width / group + 0.5) for width, group in zip(stages, groups, strict=True)]
    divisible = (near if near >= 0.9 * width else near + group for near, width, group in zip(rounded, stages, groups, strict=True))
    return Size(tuple(map(widths.count, stages)), tuple(divisible), groups, squeeze_ratio)


MODELS = {
    "regnet_x_400mf": _quantized(22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": _quantized(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": _quantized(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": _quantized(25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": _quantized(23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": _quantized(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": _quantized(23, 320, 69.86, 2.0, 168),
    "regnet_y_400mf": _quantized(16, 48, 27.89, 2.09, 8, 0.25),
    "regnet_y_800mf": _quantized(14, 56, 38.84, 2.4, 16, 0.25),
    "regnet_y_1_6gf": _quantized(27, 48, 20.71, 2.65, 24, 0.25),
    "regnet_y_3_2gf": _quantized(21, 80, 42.63, 2.66, 24, 0.25),
    "regnet_y_8gf": _quantized(17, 192, 76.82, 2.19, 56, 0.25),
    "regnet_y_16gf": _quantized(18, 200, 106.23, 2.48, 112, 0.25),
    "regnet_y_32gf": _quantized(20, 232, 115.89, 2.53, 232, 0.25),
    "regnet_y_128gf": _quantized(27, 456, 160.83, 2.52, 264, 0.25),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> RegNet:
    """Create a row of ``MODELS``."""
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    return RegNet(*MODELS[name], num_classes=num_classes, in_channels=in_channels, dtype=dtype, **rates)
