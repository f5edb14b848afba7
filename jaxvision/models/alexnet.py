"""AlexNet (Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012), in four variants.

alexnet is torchvision's (Krizhevsky, "One weird trick", 2014) for 224 x 224. alexnet_227 is the original for 227 x 227: 96 filters, no
padding, two groups, response normalization. alexnet_227_pad2 is torchvision's at 227 x 227, whose first map is 56 x 56. alexnet_bn has the
original's widths in one group, BatchNorm, and 227 x 227 images.
"""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import BatchNorm, Conv, Dense, Dropout, Head, check_input, grid_pool, local_response_norm, max_pool
from jaxvision.typing import Array, Features, at_least_float32

_GRID = 6  # the first dense layer has 6 x 6 positions as its input
_KERNEL_SIZES = (11, 5, 3, 3, 3)


class Unit(nn.Module):
    """Convolution, BatchNorm if ``norm`` is "batch", ReLU, local response normalization if it is "response"."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    norm: str = ""
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = Conv(self.features, self.kernel_size, self.stride, self.padding, groups=self.groups, dtype=self.dtype, name="conv")(x)
        if self.norm == "batch":
            x = BatchNorm(dtype=self.dtype, name="norm")(x, train=train)
        x = jax.nn.relu(x)
        return local_response_norm(x) if self.norm == "response" else x


class AlexNet(nn.Module):
    """Five convolutions (stem, stage1 to stage4), two dense layers of 4,096 units (stage5, stage6) and a linear head."""

    widths: tuple[int, ...]
    image_size: int  # the size that the variant was made for
    padding: int  # of the first convolution
    groups: int = 1  # of the second, fourth and fifth
    norm: str = ""
    num_classes: int = 1000
    drop_rate: float = 0.5  # before each of the two dense layers
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Unit(self.widths[0], _KERNEL_SIZES[0], 4, self.padding, 1, self.norm, self.dtype)
        for index in range(1, 5):
            size, groups = _KERNEL_SIZES[index], 1 if index == 2 else self.groups
            norm = "" if self.norm == "response" and index > 1 else self.norm
            setattr(self, f"stage{index}", Unit(self.widths[index], size, 1, size // 2, groups, norm, self.dtype))
        self.stage5, self.stage6 = Dense(4096, dtype=self.dtype), Dense(4096, dtype=self.dtype)
        self.dropout = Dropout(self.drop_rate)
        self.head = Head(self.num_classes, dtype=self.dtype)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 67 x 67 or larger (63 x 63 where the first convolution pads).

        pooled [B, 4096]; maps "stride4", "stride8", "stride16": the last convolution at each stride, before its pooling. As in
        torchvision, the last map is averaged to 6 x 6 if the image size is not ``image_size``. Raises ValueError for a smaller image, and
        for ``keep`` or ``mask``, which it does not support.
        """
        check_input("AlexNet", image, channels=self.in_channels, least=67 - 2 * self.padding, keep=keep, mask=mask)
        x, maps = image, {}
        for name, stride in (("stem", 4), ("stage1", 8), ("stage2", 16), ("stage3", 16), ("stage4", 16)):
            x = maps[f"stride{stride}"] = getattr(self, name)(x, train=train)
            x = x if name in ("stage2", "stage3") else max_pool(x, 3, stride=2)
        x = grid_pool(x, _GRID, _GRID).reshape(len(image), -1)  # [B, 6 * 6 * C]
        hidden = jax.nn.relu(self.stage5(self.dropout(x, train=train)))
        hidden = jax.nn.relu(self.stage6(self.dropout(hidden, train=train)))
        return Features(at_least_float32(hidden), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, 4096] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Widths of the convolutions, image size, padding of the first convolution, groups, normalization."""

    widths: tuple[int, ...]
    image_size: int
    padding: int
    groups: int = 1
    norm: str = ""


MODELS = {
    "alexnet": Size((64, 192, 384, 256, 256), 224, 2),
    "alexnet_bn": Size((96, 256, 384, 384, 256), 227, 0, norm="batch"),
    "alexnet_227": Size((96, 256, 384, 384, 256), 227, 0, 2, "response"),
    "alexnet_227_pad2": Size((64, 192, 384, 256, 256), 227, 2),
}


def build(name: str, *, num_classes: int = 1000, in_channels: int | None = None, drop_rate: float = 0.5, dtype: Any = None) -> AlexNet:
    """Create a row of ``MODELS``."""
    return AlexNet(*MODELS[name], num_classes=num_classes, drop_rate=drop_rate, dtype=dtype, in_channels=in_channels)
