"""Heads of the methods that compare views: what stands between an encoder and the loss, and is thrown away afterwards."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.initializers import truncated_normal, uniform_bias
from jaxvision.layers.linear import Dense
from jaxvision.layers.norm import BatchNorm
from jaxvision.typing import Array


class Projector(nn.Module):
    """features [B, D] -> [B, output]: ``depth`` dense layers without biases, BatchNorm and ReLU after each but the last.

    ``last_norm``: BatchNorm after the last layer too. ``hidden`` None: as wide as the features. With ``last_norm`` it is SimCLR's projector
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

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        options, x = {"use_bias": False, "dtype": self.dtype}, features
        for index in range(1, self.depth):
            x = Dense(self.hidden or features.shape[-1], name=f"dense{index}", **options)(x)
            x = jax.nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train=train))
        output = Dense(self.output, name=f"dense{self.depth}", **options)(x)
        return BatchNorm(dtype=self.dtype, name=f"norm{self.depth}")(output, train=train) if self.last_norm else output


class PrototypeHead(nn.Module):
    """features [..., D] -> (embeddings [..., bottleneck], prototypes [K, bottleneck]): DINO's head (Caron et al., 2021, appendix C).

    Three dense layers with GELU between them, and BatchNorm before each GELU where ``batch_norm`` asks for it (use_bn_in_head of the
    paper's code). Its logits are the products of both at unit length (for the prototypes that is weight normalisation with a gain of 1);
    they are left to the loss, which need not hold them all.
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
