"""VGG (Simonyan & Zisserman, "Very Deep Convolutional Networks", 2015): the paper's columns A to E, and torchvision's BatchNorm variants.

vgg11 is column A, vgg11_lrn A-LRN, vgg13 B, vgg16_1x1 C (16 layers, the last of three a 1 x 1 convolution), vgg16 D, vgg19 E.
"""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import BatchNorm, Conv, Dense, Dropout, Head, check_input, grid_pool, local_response_norm, max_pool
from jaxvision.layers.initializers import he_normal_fan_out, small
from jaxvision.typing import Array, Features, at_least_float32

_WIDTHS = (64, 128, 256, 512, 512)
_GRID = 7  # the first dense layer has 7 x 7 positions as its input


class Stage(nn.Module):
    """Convolutions of one width, each followed by a ReLU, and max pooling that halves the resolution."""

    width: int
    kernel_sizes: tuple[int, ...]
    norm: str = ""  # "batch" before each ReLU, "response" after the last one
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "kernel_init": he_normal_fan_out, "bias_init": nn.initializers.zeros}
        for index, size in enumerate(self.kernel_sizes, 1):
            x = Conv(self.width, size, padding=size // 2, name=f"conv{index}", **options)(x)
            if self.norm == "batch":
                x = BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train=train)
            x = jax.nn.relu(x)
        return max_pool(local_response_norm(x) if self.norm == "response" else x, 2, stride=2)


class VGG(nn.Module):
    """Five stages of convolutions, two dense layers of 4,096 units (stage6 and stage7) and a linear head."""

    kernel_sizes: tuple[tuple[int, ...], ...]  # of each stage
    norm: str = ""
    num_classes: int = 1000
    drop_rate: float = 0.5  # after each dense layer
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        for index, sizes in enumerate(self.kernel_sizes):
            norm = "" if self.norm == "response" and index else self.norm
            setattr(self, f"stage{index + 1}", Stage(_WIDTHS[index], sizes, norm, self.dtype))
        options = {"dtype": self.dtype, "kernel_init": small(), "bias_init": nn.initializers.zeros}
        self.stage6, self.stage7 = Dense(4096, **options), Dense(4096, **options)
        self.dropout = Dropout(self.drop_rate)
        self.head = Head(self.num_classes, self.drop_rate, **options)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 32 x 32 or larger: pooled [B, 4096]; maps "stride2" to "stride32", one per stage.

        As in torchvision, the last map is averaged to 7 x 7 if the image size is not 224. Raises ValueError for a smaller image, and for
        ``keep`` or ``mask``, which it does not support.
        """
        check_input("VGG", image, channels=self.in_channels, least=32, keep=keep, mask=mask)
        x, maps = image, {}
        for index in range(len(self.kernel_sizes)):
            x = maps[f"stride{2 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        x = grid_pool(x, _GRID, _GRID).reshape(len(image), -1)  # [B, 7 * 7 * 512]
        hidden = self.dropout(jax.nn.relu(self.stage6(x)), train=train)
        hidden = jax.nn.relu(self.stage7(hidden))
        return Features(at_least_float32(hidden), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, 4096] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Kernel sizes of each stage, and the normalization: "" none, "batch", "response"."""

    kernel_sizes: tuple[tuple[int, ...], ...]
    norm: str = ""


_A = ((3,), (3,), (3, 3), (3, 3), (3, 3))
_B = ((3, 3),) * 5
_C = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
_D = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
_E = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))
MODELS = {
    "vgg11": Size(_A),
    "vgg11_lrn": Size(_A, "response"),
    "vgg11_bn": Size(_A, "batch"),
    "vgg13": Size(_B),
    "vgg13_bn": Size(_B, "batch"),
    "vgg16_1x1": Size(_C),
    "vgg16": Size(_D),
    "vgg16_bn": Size(_D, "batch"),
    "vgg19": Size(_E),
    "vgg19_bn": Size(_E, "batch"),
}


def build(name: str, *, num_classes: int = 1000, in_channels: int | None = None, drop_rate: float = 0.5, dtype: Any = None) -> VGG:
    """Create a row of ``MODELS``."""
    return VGG(*MODELS[name], num_classes=num_classes, drop_rate=drop_rate, dtype=dtype, in_channels=in_channels)
