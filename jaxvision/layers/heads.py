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
    """features [B, D] -> [B, output]: dense, BatchNorm, ReLU, dense, and a second BatchNorm where ``last_norm`` asks for it.

    With it SimCLR's head (Chen et al., 2020: as its code has it, a norm after both layers and no bias but the norms'), without it BYOL's
    projector and predictor (Grill et al., 2020, section 3.3). ``hidden`` None: as wide as the features.
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
