"""LeNet-5 (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998): 61,706 parameters at 32 x 32 x 1.

cifarnet is a variant for colour images with ReLU: 62,006 parameters at 32 x 32 x 3.
"""

from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers import Conv, Dense, Head, check_input, max_pool
from jaxvision.typing import Array, Features, at_least_float32

IMAGE_SIZE = 32


class LeNet5(nn.Module):
    """Two 5 x 5 convolutions with max pooling and three dense layers, tanh or ReLU between them."""

    activation: str = "tanh"
    num_classes: int = 10
    drop_rate: float = 0.0  # before the head
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Conv(6, 5, dtype=self.dtype)
        self.stage1 = Conv(16, 5, dtype=self.dtype)
        self.stage2 = Dense(120, dtype=self.dtype)
        self.stage3 = Dense(84, dtype=self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, 32, 32, C]: pooled [B, 84]; maps "stride1" [B, 28, 28, 6] and "stride2" [B, 10, 10, 16].

        Raises ValueError for another image size, and for ``keep`` or ``mask``, which it does not support.
        """
        check_input("LeNet-5", image, channels=self.in_channels, keep=keep, mask=mask)
        if image.shape[1:3] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"image: found shape {image.shape}, LeNet-5 expects [B, 32, 32, C]; jv.augment.resize((32, 32)) resizes images"
            )
        activation = getattr(jax.nn, self.activation)
        stem = activation(self.stem(image))
        stage1 = activation(self.stage1(max_pool(stem, 2, stride=2)))
        pooled = max_pool(stage1, 2, stride=2)
        hidden = activation(self.stage2(pooled.reshape(len(image), -1)))  # [B, 400] -> [B, 120]
        hidden = activation(self.stage3(hidden))
        return Features(at_least_float32(hidden), None, {"stride1": stem, "stride2": stage1})

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, 84] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


MODELS = {"lenet5": "tanh", "cifarnet": "relu"}  # the activation


def build(name: str, *, num_classes: int = 10, in_channels: int | None = None, drop_rate: float = 0.0, dtype: Any = None) -> LeNet5:
    """Create a row of ``MODELS`` with ``num_classes`` outputs."""
    return LeNet5(MODELS[name], num_classes=num_classes, drop_rate=drop_rate, dtype=dtype, in_channels=in_channels)
