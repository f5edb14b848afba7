"""VICReg: variance and covariance terms keep the features of two views from collapsing, without negatives or a teacher."""

import flax.linen as nn

from jaxvision import checks, losses
from jaxvision.core import Objective
from jaxvision.layers import Expander
from jaxvision.objectives import _siamese
from jaxvision.typing import Array, Batch


def vicreg(
    encoder: nn.Module, *, width: int = 8192, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Objective:
    """VICReg of two views: ``jv.losses.vicreg`` of an expander's outputs.

    Reads ``views`` [B, 2, H, W, C], which ``jv.augment.simclr()`` makes. ``encoder``: a Linen module whose ``features(image, train=)``
    gives pooled [B, D]. ``width``: of the expander; ``invariance``, ``variance``, ``covariance``: weights of the three terms. Both
    views pass the encoder as one batch. Modules: ``encoder``, ``projector`` (the expander). Metric: ``rank``, the effective rank of the
    features.

    Raises ValueError for a width below 1 or a negative weight, and where the views are missing.
    Source: Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization", 2022.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.vicreg(jv.create_model("lenet5", num_classes=0), width=16)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params)
    ['encoder', 'projector']
    """
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    checks.counts(width=width)
    checks.not_negative(**weights)

    def loss(z: Array, batch: Batch) -> tuple[Array, dict]:
        return losses.vicreg(z[0], z[1], **weights), {}

    return _siamese.siamese("vicreg", encoder, loss, projector=Expander(width, getattr(encoder, "dtype", None)))
