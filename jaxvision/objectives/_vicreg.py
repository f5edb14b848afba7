"""VICReg: two views agree, while variance and covariance keep their features from collapsing; no negatives, no teacher."""

from typing import Any

import jax
from flax import linen as nn

from jaxvision import losses
from jaxvision.core import Objective
from jaxvision.layers import BatchNorm, Dense
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch


class Expander(nn.Module):
    """features [B, D] -> [B, width]: dense, BatchNorm, ReLU, twice, and a dense layer (Bardes et al., 2022, section 4.2)."""

    width: int = 8192
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        x = features
        for index in (1, 2):
            x = Dense(self.width, dtype=self.dtype, name=f"dense{index}")(x)
            x = jax.nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train=train))
        return Dense(self.width, use_bias=False, dtype=self.dtype, name="dense3")(x)


def vicreg(encoder, *, width: int = 8192, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Objective:
    """VICReg (Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization", 2022) of ``batch["views"]`` [B, 2, H, W, C].

    ``encoder``: a Linen module whose ``features(image, train=)`` gives pooled [B, D]. ``width`` of the expander, whose outputs are
    compared; the other options are the weights of the loss's three terms. Both views go through the encoder as one batch.

    Modules: ``encoder``, ``projector`` (the expander). Metric: ``rank`` of the features. Raises ValueError where the views are missing,
    ``width`` is below 1 or a weight is no number of at least 0.
    """
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    _modules.positive(width=width)
    _modules.not_below_zero(**weights)

    def loss(z1: Array, z2: Array, batch: Batch) -> tuple[Array, dict]:
        return losses.vicreg(z1, z2, **weights), {}

    return _siamese.paired("vicreg", encoder, loss, Expander(width, getattr(encoder, "dtype", None)))
