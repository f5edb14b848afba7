"""Heads: what follows an encoder. A linear classifier, and the projectors of methods that compare views."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.drop import Dropout
from jaxvision.layers.initializers import torch_default, truncated_normal, uniform_bias
from jaxvision.layers.linear import Dense
from jaxvision.layers.norm import BatchNorm
from jaxvision.typing import Array, at_least_float32


class Head(nn.Module):
    """Linear classifier behind dropout: pooled [B, D] -> logits [B, K] in at least float32.

    With ``num_classes`` 0 it returns ``pooled`` unchanged and has no parameters. Otherwise they are those of one dense layer: ``kernel``
    [D, K] and ``bias`` [K].

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> head, pooled = jv.layers.Head(num_classes=3), jax.numpy.ones((2, 8))
    >>> variables = head.init(jax.random.key(0), pooled, train=False)
    >>> head.apply(variables, pooled, train=False).shape
    (2, 3)
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


class Projector(nn.Module):
    """Two dense layers with BatchNorm and ReLU between them: features [B, D] -> [B, output].

    With ``last_norm`` a second BatchNorm follows: SimCLR's projection head (Chen et al., 2020; as in its code, the dense layers have no
    biases). Without it: the projector and predictor of BYOL (Grill et al., 2020, section 3.3). ``hidden`` is the width of the first layer
    (None: D).

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> projector, features = jv.layers.Projector(output=4), jax.numpy.ones((2, 8))
    >>> variables = projector.init(jax.random.key(0), features, train=False)
    >>> projector.apply(variables, features, train=False).shape
    (2, 4)
    """

    output: int
    hidden: int | None = None
    last_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        options = {"use_bias": False, "dtype": self.dtype}
        hidden = Dense(self.hidden or features.shape[-1], name="dense1", **options)(features)
        hidden = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm1")(hidden, train=train))
        output = Dense(self.output, name="dense2", **options)(hidden)
        return BatchNorm(dtype=self.dtype, name="norm2")(output, train=train) if self.last_norm else output


class PrototypeHead(nn.Module):
    """DINO's head: features [..., D] -> (embeddings [..., bottleneck], prototypes [K, bottleneck]).

    Three dense layers with GELU between them; with ``batch_norm`` also BatchNorm before each GELU (``use_bn_in_head`` in the paper's
    code). The logits are the dot products of embeddings and prototypes, both scaled to unit length; for the prototypes this is weight
    normalization with a gain of 1. The loss computes them, so that it need not hold all K at once. Source: Caron et al., "Emerging
    Properties in Self-Supervised Vision Transformers", 2021, appendix C.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> head, features = jv.layers.PrototypeHead(count=5, hidden=8, bottleneck=4), jax.numpy.ones((2, 8))
    >>> embeddings, prototypes = head.init_with_output(jax.random.key(0), features)[0]
    >>> embeddings.shape, prototypes.shape
    ((2, 4), (5, 4))
    """

    count: int  # of prototypes, K
    hidden: int = 2048
    bottleneck: int = 256
    dtype: Any = None
    batch_norm: bool = False

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> tuple[Array, Array]:
        options = {"dtype": self.dtype, "kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}
        hidden = features
        for index in (1, 2):
            hidden = Dense(self.hidden, name=f"dense{index}", **options)(hidden)
            hidden = BatchNorm(dtype=self.dtype, name=f"norm{index}")(hidden, train=train) if self.batch_norm else hidden
            hidden = kernels.gelu(hidden)
        embeddings = Dense(self.bottleneck, name="dense3", **options)(hidden)
        weights = self.param("prototypes", uniform_bias(self.bottleneck), (self.count, self.bottleneck), jnp.float32)
        return embeddings, weights
