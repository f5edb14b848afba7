"""Contrastive learning: two views of an image are each other's match among all images of the batch."""

import math

import jax
import jax.numpy as jnp

from jaxvision import axis, losses
from jaxvision.core import Objective
from jaxvision.layers import Projector
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch

_ROWS = 512  # of similarities at a time


def _matched(z1: Array, z2: Array) -> Array:
    """The share of views whose most similar one among the other 2N - 1 of the global batch is of the same image; a few rows at a time."""
    z1, z2 = _siamese.unit(jax.lax.stop_gradient(jnp.stack([z1, z2])))
    count, places = len(z1), axis.position(len(z1))
    everything = jnp.concatenate([axis.gather(z1), axis.gather(z2)])  # [2N, D]
    total = len(everything) // 2

    def right(row: tuple[Array, Array]) -> Array:
        place, view = row
        similarity = (everything @ view).at[place].set(-jnp.inf)
        return jnp.argmax(similarity) == (place + total) % (2 * total)

    rows = jnp.concatenate([places, places + total]), jnp.concatenate([z1, z2])
    return jnp.mean(jax.lax.map(right, rows, batch_size=min(_ROWS, 2 * count)).astype(jnp.float32))


def _projector(encoder, hidden: int | None, projection: int, temperature: float) -> Projector:
    """The projector, once the options are such as both methods expect them."""
    _modules.positive(projection=projection, **({} if hidden is None else {"hidden": hidden}))
    _modules.above_zero(temperature=temperature)
    return Projector(projection, hidden, True, getattr(encoder, "dtype", None))


def simclr(encoder, *, temperature: float = 0.5, hidden: int | None = None, projection: int = 128) -> Objective:
    """SimCLR (Chen et al., "A Simple Framework for Contrastive Learning", 2020) of ``batch["views"]`` [B, 2, H, W, C].

    ``encoder``: a Linen module whose ``features(image, train=)`` gives pooled [B, D]. ``hidden``: width of the projector (None: D);
    ``projection``: what NT-Xent compares. Both views go through the encoder as one batch, whose statistics BatchNorm sees.

    Modules: ``encoder``, ``projector``. Metrics: ``top1`` (the share of views whose most similar one is of the same image),
    ``chance_loss`` (ln(2N - 1), where nothing is told apart), ``rank`` of the features. Raises ValueError where the views are missing, and
    for options that cannot be.
    """

    def loss(z1: Array, z2: Array, batch: Batch) -> tuple[Array, dict]:
        chance = jnp.float32(math.log(max(2 * len(z1) * axis.size() - 1, 1)))
        return losses.nt_xent(z1, z2, temperature=temperature), {"top1": _matched(z1, z2), "chance_loss": chance}

    return _siamese.paired("simclr", encoder, loss, _projector(encoder, hidden, projection, temperature))


def supervised_contrastive(encoder, *, temperature: float = 0.1, hidden: int | None = None, projection: int = 128) -> Objective:
    """SimCLR with labels: every view of every image of a class is a match (Khosla et al., "Supervised Contrastive Learning", 2020).

    Reads ``views`` [B, 2, H, W, C] and ``label`` [B]; options, modules and metrics as ``simclr``'s. Raises ValueError where one is missing.
    """

    def loss(z1: Array, z2: Array, batch: Batch) -> tuple[Array, dict]:
        labels = _modules.read_labels(batch, "supervised_contrastive")
        views = jnp.stack([z1, z2], axis=1)  # [B, 2, D]
        return losses.supervised_contrastive(views, labels, temperature=temperature), {"top1": _matched(z1, z2)}

    return _siamese.paired("supervised_contrastive", encoder, loss, _projector(encoder, hidden, projection, temperature))
