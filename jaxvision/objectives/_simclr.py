"""Contrastive learning: the two views of an image are more similar than views of other images of the batch."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import axis, checks, losses
from jaxvision.core import Objective
from jaxvision.layers import Projector
from jaxvision.losses._numerics import unit_rows
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch

_ROWS_AT_ONCE = 512  # of the matrix of similarities


def _nearest_is_other_view(z1: Array, z2: Array) -> Array:
    """The share of views [B, D] whose most similar view among the other 2B - 1 of the global batch is of the same image."""
    z1, z2 = unit_rows(jax.lax.stop_gradient(jnp.stack([z1, z2])))
    count, places = len(z1), axis.position(len(z1))
    all_views = jnp.concatenate([axis.gather(z1), axis.gather(z2)])  # [2B, D]
    total = len(all_views) // 2

    def correct(row: tuple[Array, Array]) -> Array:
        place, view = row
        similarity = (all_views @ view).at[place].set(-jnp.inf)
        return jnp.argmax(similarity) == (place + total) % (2 * total)

    rows = jnp.concatenate([places, places + total]), jnp.concatenate([z1, z2])
    return jnp.mean(jax.lax.map(correct, rows, batch_size=min(_ROWS_AT_ONCE, 2 * count)).astype(jnp.float32))


def _projector(encoder: nn.Module, hidden: int | None, projection: int, temperature: float) -> Projector:
    """The projector of both methods. Raises ValueError for options that are out of range."""
    checks.counts(projection=projection, **({} if hidden is None else {"hidden": hidden}))
    checks.positive(temperature=temperature)
    return Projector(projection, hidden, True, getattr(encoder, "dtype", None))


def simclr(encoder: nn.Module, *, temperature: float = 0.5, hidden: int | None = None, projection: int = 128) -> Objective:
    """SimCLR: ``jv.losses.nt_xent`` of a projector's outputs for two views.

    Reads ``views`` [B, 2, H, W, C], which ``jv.augment.simclr()`` makes. ``encoder``: a Linen module whose ``features(image, train=)``
    gives pooled [B, D]. ``temperature``: of the loss. ``hidden``: width of the projector (None: D); ``projection``: its output's width.
    Both views pass the encoder as one batch, so that BatchNorm sees both. Modules: ``encoder``, ``projector``. Metrics: ``top1`` (the
    share of views whose most similar one is the other view of the image), ``chance_loss`` (ln(2B - 1), the loss of equal vectors),
    ``rank`` (the effective rank of the features).

    Raises ValueError for sizes below 1 or a temperature not above 0, and where the views are missing.
    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.simclr(jv.create_model("lenet5", num_classes=0), projection=16)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params)
    ['encoder', 'projector']
    """

    def loss(z: Array, batch: Batch) -> tuple[Array, dict]:
        chance = jnp.float32(math.log(max(z.shape[0] * z.shape[1] * axis.size() - 1, 1)))
        metrics = {"top1": _nearest_is_other_view(z[0], z[1]), "chance_loss": chance}
        return losses.nt_xent(z[0], z[1], temperature=temperature), metrics

    return _siamese.siamese("simclr", encoder, loss, projector=_projector(encoder, hidden, projection, temperature))


def supervised_contrastive(encoder: nn.Module, *, temperature: float = 0.1, hidden: int | None = None, projection: int = 128) -> Objective:
    """SimCLR with labels: ``jv.losses.supervised_contrastive``, all views of a class are positives.

    Reads ``views`` [B, 2, H, W, C] and ``label`` [B]. Options and modules as in ``simclr``. Metrics: ``top1`` and ``rank`` as there.

    Raises ValueError as ``simclr`` does, and where the labels are missing.
    Source: Khosla et al., "Supervised Contrastive Learning", 2020.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.supervised_contrastive(jv.create_model("lenet5", num_classes=0), projection=16)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params)
    ['encoder', 'projector']
    """

    def loss(z: Array, batch: Batch) -> tuple[Array, dict]:
        labels = _modules.read_labels(batch, "supervised_contrastive")
        views = jnp.stack([z[0], z[1]], axis=1)  # [B, 2, D]
        value = losses.supervised_contrastive(views, labels, temperature=temperature)
        return value, {"top1": _nearest_is_other_view(z[0], z[1])}

    projector = _projector(encoder, hidden, projection, temperature)
    return _siamese.siamese("supervised_contrastive", encoder, loss, projector=projector)
