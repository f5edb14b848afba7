"""DenseNet-BC (Huang et al., "Densely Connected Convolutional Networks", 2017), as torchvision builds it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import BatchNorm, Conv, Dropout, Head, average_pool, check_input, global_mean, max_pool
from jaxvision.layers.initializers import fan_in_scaled
from jaxvision.typing import Array, Features

_he_normal = fan_in_scaled(math.sqrt(2))


class DenseLayer(nn.Module):
    """Norm, ReLU and 1 x 1 to four times the growth, norm, ReLU and 3 x 3: the new features [B, h, w, growth]."""

    growth: int
    drop_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"use_bias": False, "dtype": self.dtype, "kernel_init": _he_normal}
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm1")(x, train=train))
        x = Conv(4 * self.growth, 1, name="conv1", **options)(x)
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm2")(x, train=train))
        x = Conv(self.growth, 3, padding=1, name="conv2", **options)(x)
        return Dropout(self.drop_rate)(x, train=train)


class Transition(nn.Module):
    """Norm, ReLU, 1 x 1 to half the channels, and 2 x 2 average pooling."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train=train))
        x = Conv(x.shape[-1] // 2, 1, use_bias=False, dtype=self.dtype, kernel_init=_he_normal, name="conv")(x)
        return average_pool(x, 2, stride=2)


class Stage(nn.Module):
    """Layers whose inputs are the features of all layers before them; all stages but the first begin with a transition."""

    depth: int
    growth: int
    transition: bool
    drop_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if self.transition:
            x = Transition(self.dtype, name="transition")(x, train=train)
        for index in range(self.depth):
            new = DenseLayer(self.growth, self.drop_rate, self.dtype, name=f"layer{index + 1}")(x, train=train)
            x = jnp.concatenate([x, new], axis=-1)
        return x


class Stem(nn.Module):
    """7 x 7 convolution at stride 2, norm, ReLU, and max pooling."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, *, train: bool) -> Array:
        x = Conv(self.width, 7, 2, 3, use_bias=False, dtype=self.dtype, kernel_init=_he_normal, name="conv")(image)
        return max_pool(jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train=train)), 3, stride=2, padding=1)


class DenseNet(nn.Module):
    """Four stages of dense layers, a norm and a linear head."""

    depths: tuple[int, ...]
    growth: int
    width: int  # of the stem
    num_classes: int = 1000
    drop_rate: float = 0.0  # after each dense layer
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Stem(self.width, self.dtype)
        for index, depth in enumerate(self.depths):
            setattr(self, f"stage{index + 1}", Stage(depth, self.growth, index > 0, self.drop_rate, self.dtype))
        self.norm = BatchNorm(dtype=self.dtype)
        self.head = Head(self.num_classes, dtype=self.dtype, bias_init=nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 29 x 29 or larger: pooled [B, D]; maps "stride4" to "stride32", one per stage.

        Raises ValueError for a smaller image, and for ``keep`` or ``mask``, which it does not support.
        """
        check_input("DenseNet", image, channels=self.in_channels, least=29, keep=keep, mask=mask)
        x, maps = self.stem(image, train=train), {}
        for index in range(len(self.depths)):
            x = maps[f"stride{4 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        return Features(global_mean(jax.nn.relu(self.norm(x, train=train))), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Layers per stage, features that each layer adds, width of the stem."""

    depths: tuple[int, ...]
    growth: int
    width: int


MODELS = {
    "densenet121": Size((6, 12, 24, 16), 32, 64),
    "densenet161": Size((6, 12, 36, 24), 48, 96),
    "densenet169": Size((6, 12, 32, 32), 32, 64),
    "densenet201": Size((6, 12, 48, 32), 32, 64),
}


def build(name: str, *, num_classes: int = 1000, in_channels: int | None = None, drop_rate: float = 0.0, dtype: Any = None) -> DenseNet:
    """Create a row of ``MODELS``."""
    return DenseNet(*MODELS[name], num_classes=num_classes, drop_rate=drop_rate, dtype=dtype, in_channels=in_channels)
