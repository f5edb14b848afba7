"""EfficientNet B0-B7 (Tan & Le, 2019) and V2 S, M, L (Tan & Le, 2021), as torchvision builds them."""

import math
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import ConvNorm, DropPath, Head, InvertedResidual, check_input, global_mean, residual_output
from jaxvision.layers.initializers import uniform_bias
from jaxvision.typing import Array, Features


class StageSize(NamedTuple):
    """Expansion ratio, kernel size, stride of the first block, output channels, number of blocks, whether the blocks are fused."""

    expansion: int
    kernel_size: int
    stride: int
    features: int
    depth: int
    fused: bool = False


class Fused(nn.Module):
    """Fused MBConv block of V2: a full convolution to ``hidden`` channels and a 1 x 1 convolution back, omitted without expansion."""

    features: int
    hidden: int
    kernel_size: int
    stride: int = 1
    epsilon: float = 1e-5
    momentum: float = 0.1
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options, channels = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype}, x.shape[-1]
        width = self.features if self.hidden == channels else self.hidden
        branch = ConvNorm(width, self.kernel_size, self.stride, activation=jax.nn.silu, name="fused", **options)(x, train=train)
        if self.hidden != channels:
            branch = ConvNorm(self.features, 1, activation=None, name="contract", **options)(branch, train=train)
        if self.stride != 1 or channels != self.features:
            return branch
        return residual_output(x + DropPath(self.drop_path_rate)(branch, train=train))


class Stage(nn.Module):
    """Blocks of one width; the first may halve the resolution."""

    size: StageSize
    drop_path_rates: tuple[float, ...]  # one per block
    epsilon: float = 1e-5
    momentum: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        expansion, kernel_size, stride, features, _, fused = self.size
        for index, rate in enumerate(self.drop_path_rates):
            channels = x.shape[-1]
            options = {"epsilon": self.epsilon, "momentum": self.momentum, "drop_path_rate": rate, "dtype": self.dtype}
            sizes = (features, expansion * channels, kernel_size, 1 if index else stride)
            if fused:
                block = Fused(*sizes, **options, name=f"block{index + 1}")
            else:
                options |= {"activation": jax.nn.silu, "squeeze_activation": jax.nn.silu, "squeeze": max(1, channels // 4)}
                block = InvertedResidual(*sizes, **options, name=f"block{index + 1}")
            x = block(x, train=train)
        return x


class EfficientNet(nn.Module):
    """A stem at stride 2, stages, a last 1 x 1 convolution (a stage of its own) and a linear head."""

    stages: tuple[StageSize, ...]
    stem_width: int
    last_width: int
    epsilon: float = 1e-5
    momentum: float = 0.1
    num_classes: int = 1000
    drop_rate: float = 0.2  # before the head
    drop_path_rate: float = 0.2  # the limit of the rates, which rise linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        sizes = tuple(map(StageSize._make, self.stages))
        norm = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype}
        self.stem = ConvNorm(self.stem_width, 3, 2, activation=jax.nn.silu, **norm)
        total, done = sum(size.depth for size in sizes), 0
        for index, size in enumerate(sizes, 1):
            rates = tuple(self.drop_path_rate * (done + block) / total for block in range(size.depth))
            setattr(self, f"stage{index}", Stage(size, rates, **norm))
            done += size.depth
        setattr(self, f"stage{len(sizes) + 1}", ConvNorm(self.last_width, 1, activation=jax.nn.silu, **norm))
        init = (uniform_bias(max(self.num_classes, 1)), nn.initializers.zeros)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, *init)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4", "stride8", "stride16", "stride32": the last stage at each stride.

        Raises ValueError for ``keep`` or ``mask``, which it does not support.
        """
        check_input("EfficientNet", image, channels=self.in_channels, keep=keep, mask=mask)
        x, maps, stride = self.stem(image, train=train), {}, 2
        for index, size in enumerate(map(StageSize._make, self.stages), 1):
            x, stride = getattr(self, f"stage{index}")(x, train=train), stride * size.stride
            if stride >= 4:
                maps[f"stride{stride}"] = x
        return Features(global_mean(getattr(self, f"stage{len(self.stages) + 1}")(x, train=train)), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """The stages, widths of the stem and of the last convolution, drop rate before the head, epsilon and momentum of the norms."""

    stages: tuple[StageSize, ...]
    stem_width: int
    last_width: int
    drop_rate: float
    epsilon: float = 1e-3
    momentum: float = 0.1


def _rounded(width: float) -> int:
    """The nearest multiple of 8 that is at least 0.9 times the width."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


_B0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


def _scaled(width: float, depth: float, drop_rate: float, epsilon: float = 1e-5, momentum: float = 0.1) -> Size:
    """B0 with ``width`` times the channels and ``depth`` times the blocks (compound scaling)."""
    stages = tuple(StageSize(*row[:3], _rounded(width * row[3]), math.ceil(depth * row[4])) for row in _B0)
    return Size(stages, _rounded(32 * width), 4 * stages[-1].features, drop_rate, epsilon, momentum)


def _second(first: int, fused: tuple, later: tuple, drop_rate: float) -> Size:
    stages = tuple(StageSize(*row, True) for row in fused) + tuple(StageSize(*row) for row in later)
    return Size(stages, first, 1280, drop_rate)


MODELS = {
    "efficientnet_b0": _scaled(1.0, 1.0, 0.2),
    "efficientnet_b1": _scaled(1.0, 1.1, 0.2),
    "efficientnet_b2": _scaled(1.1, 1.2, 0.3),
    "efficientnet_b3": _scaled(1.2, 1.4, 0.3),
    "efficientnet_b4": _scaled(1.4, 1.8, 0.4),
    "efficientnet_b5": _scaled(1.6, 2.2, 0.4, 1e-3, 0.01),
    "efficientnet_b6": _scaled(1.8, 2.6, 0.5, 1e-3, 0.01),
    "efficientnet_b7": _scaled(2.0, 3.1, 0.5, 1e-3, 0.01),
    "efficientnet_v2_s": _second(
        24,
        ((1, 3, 1, 24, 2), (4, 3, 2, 48, 4), (4, 3, 2, 64, 4)),
        ((4, 3, 2, 128, 6), (6, 3, 1, 160, 9), (6, 3, 2, 256, 15)),
        0.2,
    ),
    "efficientnet_v2_m": _second(
        24,
        ((1, 3, 1, 24, 3), (4, 3, 2, 48, 5), (4, 3, 2, 80, 5)),
        ((4, 3, 2, 160, 7), (6, 3, 1, 176, 14), (6, 3, 2, 304, 18), (6, 3, 1, 512, 5)),
        0.3,
    ),
    "efficientnet_v2_l": _second(
        32,
        ((1, 3, 1, 32, 4), (4, 3, 2, 64, 7), (4, 3, 2, 96, 7)),
        ((4, 3, 2, 192, 10), (6, 3, 1, 224, 19), (6, 3, 2, 384, 25), (6, 3, 1, 640, 7)),
        0.4,
    ),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float = 0.2,
    dtype: Any = None,
) -> EfficientNet:
    """Create a row of ``MODELS``; ``drop_rate`` None is the row's own."""
    stages, stem_width, last_width, own, epsilon, momentum = MODELS[name]
    rates = {"drop_rate": own if drop_rate is None else drop_rate, "drop_path_rate": drop_path_rate}
    return EfficientNet(
        stages, stem_width, last_width, epsilon, momentum, num_classes=num_classes, dtype=dtype, in_channels=in_channels, **rates
    )
