"""Residual networks with pre-activation (He et al., "Identity Mappings in Deep Residual Networks", 2016), as timm builds them."""

from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers import BatchNorm, Conv, DropPath, Head, check_input, drop_path_rates, global_mean, max_pool, residual_output
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.typing import Array, Features


class Block(nn.Module):
    """Pre-activation residual block: BatchNorm, ReLU and convolution in turn, and a shortcut; the last kernel may begin at zero."""

    features: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    stride: int = 1  # of the first 3 x 3 convolution
    zero_init: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options, branch = {"use_bias": False, "dtype": self.dtype}, x
        for index, (features, size) in enumerate(zip(self.features, self.kernel_sizes, strict=True)):
            branch = jax.nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index + 1}")(branch, train=train))
            if index == 0 and (self.stride != 1 or x.shape[-1] != self.features[-1]):
                shortcut = Conv(self.features[-1], 1, self.stride, name="shortcut", kernel_init=he_normal_fan_out, **options)
                x = shortcut(branch)
            stride = self.stride if index == self.kernel_sizes.index(3) else 1
            init = nn.initializers.zeros if self.zero_init and index == len(self.features) - 1 else he_normal_fan_out
            branch = Conv(features, size, stride, size // 2, name=f"conv{index + 1}", kernel_init=init, **options)(branch)
        return residual_output(x + DropPath(self.drop_path_rate)(branch, train=train))


class Stage(nn.Module):
    """Blocks of one width; the first may halve the resolution."""

    features: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    stride: int
    drop_path_rates: tuple[float, ...]  # one per block
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for index, rate in enumerate(self.drop_path_rates):
            shape = (self.features, self.kernel_sizes, self.stride if index == 0 else 1)
            x = Block(*shape, self.zero_init, rate, self.dtype, name=f"block{index + 1}")(x, train=train)
        return x


class Stem(nn.Module):
    """7 x 7 convolution at stride 2 and max pooling; the first norm is in the first block."""

    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array) -> Array:
        x = Conv(64, 7, 2, 3, use_bias=False, dtype=self.dtype, kernel_init=he_normal_fan_out, name="conv")(image)
        return max_pool(x, 3, stride=2, padding=1)


class ResNetV2(nn.Module):
    """A stem, four stages, BatchNorm with ReLU, global average pooling and a linear head."""

    depths: tuple[int, ...]
    bottleneck: bool
    num_classes: int = 1000
    zero_init_residual: bool = False
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Stem(self.dtype)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            width = 64 * 2**index
            features, sizes = ((width, width, 4 * width), (1, 3, 1)) if self.bottleneck else ((width, width), (3, 3))
            setattr(self, f"stage{index + 1}", Stage(features, sizes, 1 if index == 0 else 2, rates, self.zero_init_residual, self.dtype))
        self.norm = BatchNorm(dtype=self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, nn.initializers.normal(0.01), nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4" to "stride32", one per stage, before any norm.

        Raises ValueError for ``keep`` or ``mask``, which it does not support.
        """
        check_input("ResNetV2", image, channels=self.in_channels, keep=keep, mask=mask)
        x, maps = self.stem(image), {}
        for index in range(len(self.depths)):
            x = maps[f"stride{4 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        return Features(global_mean(jax.nn.relu(self.norm(x, train=train))), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


MODELS = {  # blocks per stage, and whether they are bottlenecks
    "resnetv2_18": ((2, 2, 2, 2), False),
    "resnetv2_34": ((3, 4, 6, 3), False),
    "resnetv2_50": ((3, 4, 6, 3), True),
    "resnetv2_101": ((3, 4, 23, 3), True),
    "resnetv2_152": ((3, 8, 36, 3), True),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    zero_init_residual: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ResNetV2:
    """Create a row of ``MODELS``; ``zero_init_residual``: each block begins as its shortcut."""
    options = {"zero_init_residual": zero_init_residual, "drop_rate": drop_rate, "drop_path_rate": drop_path_rate, "dtype": dtype}
    return ResNetV2(*MODELS[name], num_classes=num_classes, in_channels=in_channels, **options)
