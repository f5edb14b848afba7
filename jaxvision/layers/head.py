"""The end of every classifier: from one vector an image to logits."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxvision.layers.drop import Dropout
from jaxvision.layers.initializers import torch_default
from jaxvision.layers.linear import Dense
from jaxvision.typing import Array, at_least_float32


class Head(nn.Module):
    """pooled [B, D] -> logits [B, K] in at least float32 through dropout and one dense layer; where ``num_classes`` is 0, pooled itself.

    Its parameters are the dense layer's: ``kernel`` [D, K] and ``bias`` [K].
    """

    num_classes: int
    drop_rate: float = 0.0
    dtype: Any = None
    kernel_init: Callable = torch_default
    bias_init: Callable | None = None  # None: PyTorch's default

    def setup(self):
        self.dropout = Dropout(self.drop_rate)
        if self.num_classes:
            self.dense = Dense(self.num_classes, dtype=self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init)
            nn.share_scope(self, self.dense)

    def __call__(self, pooled: Array, *, train: bool) -> Array:
        if not self.num_classes:
            return pooled
        logits = self.dense(self.dropout(pooled, train=train))
        return at_least_float32(logits)
