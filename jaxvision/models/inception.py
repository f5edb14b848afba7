"""Inception: GoogLeNet (Szegedy et al., "Going Deeper with Convolutions", 2015), v3 (2016) and v4 (2017).

googlenet is torchvision's, with BatchNorm and 3 x 3 convolutions instead of 5 x 5; googlenet_original is the paper's, with biases and
response normalization. inception_v3 is torchvision's, inception_v4 timm's. Their published weights expect pixels (x - 0.5) / 0.5.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import ConvNorm, Dense, Dropout, Head, average_pool, check_input, global_mean, grid_pool
from jaxvision.layers.initializers import torch_default, truncated_normal
from jaxvision.models.inception_blocks import Branches, Chain
from jaxvision.typing import Array, Features, at_least_float32

_INITIALIZERS = {"googlenet": truncated_normal(0.01), "inception_v3": truncated_normal(0.1), "inception_v4": torch_default}


class GoogLeNetAuxiliary(nn.Module):
    """GoogLeNet's auxiliary classifier: average pooling to 4 x 4, 1 x 1 convolution, two dense layers."""

    num_classes: int
    use_norm: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "kernel_init": truncated_normal(0.01)}
        x = ConvNorm(128, 1, epsilon=1e-3, use_norm=self.use_norm, name="conv", **options)(grid_pool(x, 4, 4), train=train)
        hidden = jax.nn.relu(Dense(1024, name="dense", **options)(x.reshape(len(x), -1)))  # [B, 4 * 4 * 128] -> [B, 1024]
        hidden = Dropout(0.7)(hidden, train=train)
        return at_least_float32(Dense(self.num_classes, name="head", **options)(hidden))


class InceptionV3Auxiliary(nn.Module):
    """Inception v3's auxiliary classifier: pooling, 1 x 1 and 5 x 5 convolution, mean, dense layer; for images of about 299 x 299."""

    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if self.is_initializing():
            x = jnp.zeros((1, 17, 17, x.shape[-1]), x.dtype)  # the parameters depend only on the channels
        if min(x.shape[1:3]) < 17:
            raise ValueError(
                f"image: too small for Inception v3's auxiliary head, whose input is {x.shape}, expected at least 17 x 17; use 299 x 299, "
                "or auxiliary_heads=False for images from 75 x 75"
            )
        options = {"epsilon": 1e-3, "dtype": self.dtype}
        x = ConvNorm(128, 1, name="conv1", kernel_init=truncated_normal(0.1), **options)(average_pool(x, 5, stride=3), train=train)
        x = ConvNorm(768, 5, padding=0, name="conv2", kernel_init=truncated_normal(0.01), **options)(x, train=train)
        dense = Dense(self.num_classes, dtype=self.dtype, kernel_init=truncated_normal(0.001), name="head")
        return at_least_float32(dense(global_mean(x)))


class Inception(nn.Module):
    """A stem, blocks of parallel branches, and a linear head; auxiliary heads on inner blocks are used in training only."""

    variant: str  # a row of MODELS
    num_classes: int = 1000
    auxiliary_heads: bool = True
    drop_rate: float = 0.4  # before the head
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        size = MODELS[self.variant]
        init = _INITIALIZERS[size.initializer]
        options = {"use_norm": size.use_norm, "dtype": self.dtype, "kernel_init": init}
        self.stem, self.pool = Chain(size.stem, **options), Chain(size.pool, **options)
        for index, chains in enumerate(size.blocks, 1):
            setattr(self, f"block{index}", Branches(chains, **options))
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, init)
        if self.num_classes and self.auxiliary_heads:
            for number in range(1, len(size.auxiliary) + 1):
                if self.variant == "inception_v3":
                    head = InceptionV3Auxiliary(self.num_classes, self.dtype)
                else:
                    head = GoogLeNetAuxiliary(self.num_classes, size.use_norm, self.dtype)
                setattr(self, f"auxiliary{number}", head)

    def _forward(self, image: Array, *, train: bool) -> tuple[list[Array], Array]:
        """The maps of the stem and of each block, and pooled [B, D]."""
        found = [self.stem(image, train=train)]
        x = self.pool(found[0], train=train)
        for index in range(1, len(MODELS[self.variant].blocks) + 1):
            x = getattr(self, f"block{index}")(x, train=train)
            found.append(x)
        return found, global_mean(x)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C] of at least the row's ``least`` size: GoogLeNet 15 x 15 (original 31 x 31), v3 and v4 75 x 75.

        pooled [B, D]; maps "stride4" to "stride32": the last block at each stride, or the stem before its pooling. Raises ValueError for a
        smaller image, and for ``keep`` or ``mask``, which it does not support.
        """
        check_input("Inception", image, channels=self.in_channels, least=MODELS[self.variant].least, keep=keep, mask=mask)
        found, pooled = self._forward(image, train=train)
        return Features(pooled, None, {f"stride{stride}": found[index] for index, stride in MODELS[self.variant].maps})

    def with_auxiliary(self, image: Array, *, train: bool = True) -> tuple[Array, ...]:
        """Logits [B, K] of the head and of each auxiliary head, from the first block to the last."""
        check_input("Inception", image, channels=self.in_channels, least=MODELS[self.variant].least)
        if not self.num_classes:
            raise ValueError("num_classes: found 0, but auxiliary heads need at least 1; features() gives the maps of an encoder")
        found, pooled = self._forward(image, train=train)
        taps = enumerate(MODELS[self.variant].auxiliary, 1) if self.auxiliary_heads else ()
        others = tuple(getattr(self, f"auxiliary{number}")(found[index], train=train) for number, index in taps)
        return (self.head(pooled, train=train), *others)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0.

        In training, the logits of the auxiliary heads are sown in the collection ``auxiliary`` (``logits1``, ...) if it is mutable.
        """
        wanted = self.is_initializing() or train and self.is_mutable_collection("auxiliary")
        if self.num_classes and wanted:
            logits, *others = self.with_auxiliary(image, train=train)
            for number, other in enumerate(others if train else (), 1):
                self.sow("auxiliary", f"logits{number}", other)
            return logits
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Stem, pooling after it, blocks; smallest image size; (block, stride) of the maps, where block 0 is the stem; blocks with auxiliary
    heads; initializer; drop rate; norms or biases.
    """

    stem: tuple
    pool: tuple
    blocks: tuple
    least: int
    maps: tuple[tuple[int, int], ...]
    auxiliary: tuple[int, ...]
    initializer: str
    drop_rate: float
    use_norm: bool = True


_MAX = ("max", 3, 2, 0)
_MEAN = ("average", 3, 1, 1)
_INSIDE = ("average_inside", 3, 1, 1)
_HALF = ("max_ceil", 3, 2, 0)


def _first(one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int, *, size: int) -> tuple:
    """GoogLeNet's block; ``size`` is the kernel of the third branch."""
    return ((one, 1),), ((reduce3, 1), (three, 3)), ((reduce5, 1), (five, size)), (("max", 3, 1, 1), (pool, 1))


def _googlenet(size: int) -> tuple:
    rows = (
        (64, 96, 128, 16, 32, 32),
        (128, 128, 192, 32, 96, 64),
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
        (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    )
    blocks = [_first(*row, size=size) for row in rows]
    # The third and the eighth block halve the resolution: pooling is the first step of each of their chains.
    for index, pool in ((2, _HALF), (7, ("max_ceil", 2, 2, 0) if size == 3 else _HALF)):
        blocks[index] = tuple((pool, *chain) for chain in blocks[index])
    return tuple(blocks)


def _a3(pool: int) -> tuple:
    return ((64, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)), (_MEAN, (pool, 1))


def _b3(width: int) -> tuple:
    wide, high = (width, (1, 7)), (width, (7, 1))
    return ((192, 1),), ((width, 1), wide, (192, (7, 1))), ((width, 1), high, wide, high, (192, (1, 7))), (_MEAN, (192, 1))


_FORK3 = ("fork", (384, (1, 3)), (384, (3, 1)))
_C3 = ((320, 1),), ((384, 1), _FORK3), ((448, 1), (384, 3), _FORK3), (_MEAN, (192, 1))
_V3 = (
    *map(_a3, (32, 64, 64)),
    (((384, 3, 2, 0),), ((64, 1), (96, 3), (96, 3, 2, 0)), (_MAX,)),
    *map(_b3, (128, 160, 160, 192)),
    (((192, 1), (320, 3, 2, 0)), ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, 0)), (_MAX,)),
    _C3,
    _C3,
)
_A4 = ((96, 1),), ((64, 1), (96, 3)), ((64, 1), (96, 3), (96, 3)), (_INSIDE, (96, 1))
_B4 = (
    ((384, 1),),
    ((192, 1), (224, (1, 7)), (256, (7, 1))),
    ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
    (_INSIDE, (128, 1)),
)
_FORK4 = ("fork", (256, (1, 3)), (256, (3, 1)))
_C4 = ((256, 1),), ((384, 1), _FORK4), ((384, 1), (448, (3, 1)), (512, (1, 3)), _FORK4), (_INSIDE, (256, 1))
_V4 = (
    ((_MAX,), ((96, 3, 2, 0),)),
    (((64, 1), (96, 3, 1, 0)), ((64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, 0))),
    (((192, 3, 2, 0),), (_MAX,)),
    *(_A4,) * 4,
    (((384, 3, 2, 0),), ((192, 1), (224, 3), (256, 3, 2, 0)), (_MAX,)),
    *(_B4,) * 7,
    (((192, 1), (192, 3, 2, 0)), ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, 0)), (_MAX,)),
    *(_C4,) * 3,
)
_STEM1 = ((64, 7, 2), _HALF, (64, 1), (192, 3))
_STEM1_ORIGINAL = ((64, 7, 2), _HALF, ("response",), (64, 1), (192, 3), ("response",))
_STEM3 = ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3), _MAX, (80, 1), (192, 3, 1, 0))
_STEM4 = ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3))
_MAPS1 = ((0, 4), (2, 8), (7, 16), (9, 32))
MODELS = {
    "googlenet": Size(_STEM1, (_HALF,), _googlenet(3), 15, _MAPS1, (3, 6), "googlenet", 0.2),
    "googlenet_original": Size(_STEM1_ORIGINAL, (_HALF,), _googlenet(5), 31, _MAPS1, (3, 6), "googlenet", 0.4, use_norm=False),
    "inception_v3": Size(_STEM3, (_MAX,), _V3, 75, ((0, 4), (3, 8), (8, 16), (11, 32)), (8,), "inception_v3", 0.5),
    "inception_v4": Size(_STEM4, (), _V4, 75, ((2, 4), (7, 8), (15, 16), (19, 32)), (), "inception_v4", 0.2),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    auxiliary_heads: bool = True,
    drop_rate: float | None = None,
    dtype: Any = None,
) -> Inception:
    """Create a row of ``MODELS``; ``drop_rate`` None is the row's own; ``auxiliary_heads=False`` omits the auxiliary heads."""
    return Inception(name, num_classes, auxiliary_heads, MODELS[name].drop_rate if drop_rate is None else drop_rate, dtype, in_channels)
