"""SimSiam: a predictor and a stopped gradient are enough to compare two views without negatives, teacher or large batches."""

import flax.linen as nn

from jaxvision import checks, losses
from jaxvision.core import Objective
from jaxvision.layers import Projector
from jaxvision.objectives import _siamese
from jaxvision.typing import Array, Batch


def simsiam(encoder: nn.Module, *, hidden: int = 512, projection: int = 2048, depth: int = 3) -> Objective:
    """SimSiam of two views: the negative cosine between predictions of one view and projections of the other.

        L = 1/2 D(p1, stop_gradient(z2)) + 1/2 D(p2, stop_gradient(z1))
        D(p, z) = -mean_b cos(p_b, z_b)

    Reads ``views`` [B, 2, H, W, C], which ``jv.augment.simclr()`` makes. ``encoder``: a Linen module whose ``features(image, train=)``
    gives pooled [B, D]. z are outputs of the projector, of ``depth`` layers of width ``projection`` (the paper has 2 for CIFAR-10), p
    those of the predictor, of 2 layers with ``hidden`` units between them. As in the authors' code the projector's last BatchNorm has no
    scale and bias, and the predictor's last layer has a bias. Both views pass the encoder as one batch, so BatchNorm's statistics are
    those of both (the authors' code runs one view after the other). L is from -1 to 1.
    Modules: ``encoder``, ``projector``, ``predictor``. Metric: ``rank``, the effective rank of the features.

    Raises ValueError for sizes below 1 or a depth below 2, and where the views are missing.
    Source: Chen & He, "Exploring Simple Siamese Representation Learning", 2021, algorithm 1 and section 3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.simsiam(jv.create_model("lenet5", num_classes=0), hidden=4, projection=16)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params), sorted(carry.memory)
    (['encoder', 'predictor', 'projector'], [])
    """
    checks.counts(hidden=hidden, projection=projection)
    checks.integer("depth", depth, at_least=2)
    dtype = getattr(encoder, "dtype", None)
    projector = Projector(projection, projection, True, dtype, depth, last_affine=False)
    predictor = Projector(projection, hidden, False, dtype, last_bias=True)

    def loss(z: Array, p: Array, batch: Batch) -> tuple[Array, dict]:
        return (losses.byol(p[0], z[1]) + losses.byol(p[1], z[0])) / 4 - 1, {}  # byol is 2 - 2 cos, with the gradient of z stopped

    return _siamese.siamese("simsiam", encoder, loss, projector=projector, predictor=predictor)
