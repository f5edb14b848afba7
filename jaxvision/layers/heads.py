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
    """features [B, D] -> [B, output]: ``depth`` dense layers, BatchNorm and ReLU after each but the last.

    The layers have no biases; ``last_bias`` gives the last one a bias. ``last_norm``: BatchNorm after the last layer too, with
    ``last_affine`` False without scale and bias. ``hidden`` None: as wide as the features. With ``last_norm`` it is SimCLR's projector
    (Chen et al., 2020) and, with depth 3, SimSiam's (Chen & He, 2021); without it BYOL's projector and predictor (Grill et al., 2020,
    section 3.3) and SimSiam's predictor.

    >>> import jax
    >>> import jaxvision as jv
    >>> output, _ = jv.layers.Projector(8, hidden=16).init_with_output(jax.random.key(0), jax.numpy.ones((4, 32)), train=False)
    >>> output.shape
    (4, 8)
    """

    output: int
    hidden: int | None = None
    last_norm: bool = False
    dtype: Any = None
    depth: int = 2
    last_bias: bool = False
    last_affine: bool = True

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        x = features
        for index in range(1, self.depth):
            x = Dense(self.hidden or features.shape[-1], use_bias=False, dtype=self.dtype, name=f"dense{index}")(x)
            x = jax.nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train=train))
        output = Dense(self.output, use_bias=self.last_bias, dtype=self.dtype, name=f"dense{self.depth}")(x)
        if not self.last_norm:
            return output
        return BatchNorm(dtype=self.dtype, affine=self.last_affine, name=f"norm{self.depth}")(output, train=train)


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


class Expander(nn.Module):
    """features [B, D] -> [B, width]: dense, BatchNorm, ReLU, twice, and a dense layer (Bardes et al., "VICReg", 2022, section 4.2).

    >>> import jax
    >>> import jaxvision as jv
    >>> output, _ = jv.layers.Expander(8).init_with_output(jax.random.key(0), jax.numpy.ones((4, 32)), train=False)
    >>> output.shape
    (4, 8)
    """

    width: int = 8192
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        x = features
        for index in (1, 2):
            x = Dense(self.width, dtype=self.dtype, name=f"dense{index}")(x)
            x = jax.nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train=train))
        return Dense(self.width, use_bias=False, dtype=self.dtype, name="dense3")(x)


class Solver(nn.Module):
    """Features of shuffled tiles [B, T, D] -> logits [B, P] over permutations: the jigsaw head of Noroozi & Favaro, 2016 (fc6 to fc8).

    One dense layer for each tile (shared weights), then, of all tiles together, a hidden layer and the logits, with ReLU between them.

    >>> import jax
    >>> import jaxvision as jv
    >>> tiles = jax.numpy.ones((2, 9, 32))
    >>> logits, _ = jv.layers.Solver(100, tile_width=8, hidden=16).init_with_output(jax.random.key(0), tiles, train=False)
    >>> logits.shape
    (2, 100)
    """

    permutations: int
    tile_width: int = 512
    hidden: int = 4096
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        tiles = jax.nn.relu(Dense(self.tile_width, dtype=self.dtype, name="tile")(features))
        joint = jax.nn.relu(Dense(self.hidden, dtype=self.dtype, name="whole")(tiles.reshape(len(tiles), -1)))
        return Dense(self.permutations, dtype=self.dtype, name="permutation")(joint)
