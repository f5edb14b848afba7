"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015), as torchvision builds them.

The stride of a bottleneck is on its 3 x 3 convolution; initialisation and padding are torchvision's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import BatchNorm, Conv, Dense, Dropout, DropPath, check_input
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.typing import Array, Features


class ResidualBlock(nn.Module):
    """Convolutions of the given kernel sizes beside a shortcut; the last norm may begin at zero."""

    features: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    stride: int = 1  # of the first 3 x 3 convolution
    zero_init: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"use_bias": False, "dtype": self.dtype, "kernel_init": he_normal_fan_out}
        branch, strided = x, self.kernel_sizes.index(3)
        for index, (features, size) in enumerate(zip(self.features, self.kernel_sizes, strict=True)):
            last = index == len(self.features) - 1
            stride = self.stride if index == strided else 1
            branch = Conv(features, size, stride, size // 2, name=f"conv{index + 1}", **options)(branch)
            zero = nn.initializers.zeros if last and self.zero_init else nn.initializers.ones
            branch = BatchNorm(dtype=self.dtype, scale_init=zero, name=f"norm{index + 1}")(branch, train=train)
            branch = branch if last else jax.nn.relu(branch)
        if self.stride != 1 or x.shape[-1] != self.features[-1]:
            x = Conv(self.features[-1], 1, self.stride, name="shortcut_conv", **options)(x)
            x = BatchNorm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return jax.nn.relu(x + DropPath(self.drop_path_rate)(branch, train=train))


class Stem(nn.Module):
    """The first layers: 7 x 7 stride 2 and max pooling ("imagenet"), or 3 x 3 and nothing more ("cifar")."""

    kind: str
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, *, train: bool) -> Array:
        size, stride = (7, 2) if self.kind == "imagenet" else (3, 1)
        conv = Conv(64, size, stride, size // 2, use_bias=False, dtype=self.dtype, kernel_init=he_normal_fan_out, name="conv")
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm")(conv(image), train=train))
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))) if self.kind == "imagenet" else x


class Stage(nn.Module):
    """Blocks of one width; the first may halve the resolution."""

    features: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    stride: int
    drop_path_rates: tuple[float, ...]  # one a block
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for index, rate in enumerate(self.drop_path_rates):
            stride = self.stride if index == 0 else 1
            block = ResidualBlock(self.features, self.kernel_sizes, stride, self.zero_init, rate, self.dtype, name=f"block{index + 1}")
            x = block(x, train=train)
        return x


class ResNet(nn.Module):
    """Four stages of residual blocks between a stem and a linear head."""

    depths: tuple[int, ...]
    bottleneck: bool
    num_classes: int = 1000
    stem_kind: str = "imagenet"
    zero_init_residual: bool = False
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None

    def setup(self):
        self.stem = Stem(self.stem_kind, self.dtype)
        total, done = sum(self.depths), 0
        for index, depth in enumerate(self.depths):
            width = 64 * 2**index
            features, sizes = ((width, width, 4 * width), (1, 3, 1)) if self.bottleneck else ((width, width), (3, 3))
            rates = tuple(self.drop_path_rate * (done + block) / max(total - 1, 1) for block in range(depth))
            stage = Stage(features, sizes, 1 if index == 0 else 2, rates, self.zero_init_residual, self.dtype)
            setattr(self, f"stage{index + 1}", stage)
            done += depth
        self.dropout = Dropout(self.drop_rate)
        if self.num_classes:
            self.head = Dense(self.num_classes, dtype=self.dtype)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stage1" to "stage4", at strides 4, 8, 16, 32 (CIFAR stem: 1, 2, 4, 8).

        Raises ValueError for ``keep`` or ``mask``, which it does not have.
        """
        check_input("ResNet", image, keep=keep, mask=mask)
        x, maps = self.stem(image, train=train), {}
        for index in range(len(self.depths)):
            x = maps[f"stage{index + 1}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        return Features(jnp.mean(x.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=(1, 2)), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] where ``num_classes`` is 0."""
        pooled = self.features(image, train=train).pooled
        if not self.num_classes:
            return pooled
        return self.head(self.dropout(pooled, train=train)).astype(jnp.float32)


class Size(NamedTuple):
    """Blocks a stage, and whether they are bottlenecks."""

    depths: tuple[int, ...]
    bottleneck: bool


MODELS = {
    "resnet18": Size((2, 2, 2, 2), False),
    "resnet34": Size((3, 4, 6, 3), False),
    "resnet50": Size((3, 4, 6, 3), True),
    "resnet101": Size((3, 4, 23, 3), True),
    "resnet152": Size((3, 8, 36, 3), True),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    stem: str = "imagenet",
    zero_init_residual: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ResNet:
    """A row of the table. ``stem``: "imagenet" or "cifar"; ``zero_init_residual``: each block begins as its shortcut.

    Raises ValueError for another stem.
    """
    if stem not in ("imagenet", "cifar"):
        raise ValueError(f"stem: found {stem!r}, expected 'imagenet' or 'cifar'")
    return ResNet(
        *MODELS[name],
        num_classes=num_classes,
        stem_kind=stem,
        zero_init_residual=zero_init_residual,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )
