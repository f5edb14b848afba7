"""Contrastive losses: one image's views are to be more alike than any two images."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import log_sum_exp_of_others
from jaxvision.losses._directions import unit_rows
from jaxvision.losses._numerics import EXACT, above_zero, alike, of_rank
from jaxvision.typing import Array, Float, Int


def nt_xent(
    z1: Float[Array, "B D"], z2: Float[Array, "B D"], *, temperature: float | Array = 0.5, chunk: int | None = None
) -> Float[Array, ""]:
    """Mean over the 2B views of -log(exp(s_ip / T) / sum over k != i of exp(s_ik / T)); s the cosine, p the other view of the same image
    (Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, equation 1).

    The negatives are the views of the global batch. Exact, in memory O(B chunk): ``chunk`` views are compared at a time, 512 unless given.
    A vector of zeros has the cosine 0 with everything and no gradient. Reverse differentiation only.
    Raises ValueError where the shapes differ, the temperature is not above 0 or ``chunk`` is below 1.
    """
    above_zero("temperature", temperature)
    z1, z2 = alike("z1, z2", z1, z2, "B D")
    unit = unit_rows(jnp.stack([z1, z2], axis=1))  # [B, 2, D]: the order of the global batch on any number of devices
    views = unit.reshape(-1, unit.shape[-1])  # [2B, D]
    image, everywhere = jnp.repeat(axis.position(len(z1)), 2), axis.gather(views)
    images = jnp.arange(len(everywhere), dtype=jnp.int32) // 2
    negatives = log_sum_exp_of_others(views / temperature, everywhere, image, groups=images, chunk=chunk)
    positive = jnp.sum(unit[:, 0] * unit[:, 1], axis=-1) / temperature
    # log(e^positive + e^negatives) - positive: where the positive wins, the difference of the two large numbers would be all rounding
    return jnp.mean(jax.nn.softplus(negatives.reshape(-1, 2) - positive[:, None]))


def supervised_contrastive(
    views: Float[Array, "B V D"], labels: Int[Array, "B"], *, temperature: float | Array = 0.1, chunk: int | None = None
) -> Float[Array, ""]:
    """Mean over the B V views i of -1/|P(i)| sum over p in P(i) of log(exp(s_ip / T) / sum over k != i of exp(s_ik / T)); s the cosine,
    P(i) the other views with the label of i (Khosla et al., "Supervised Contrastive Learning", 2020, equation 2: L_out).

    Positives and negatives come from the global batch. A view whose P(i) is empty (one view, one of its class) counts as zero. Memory
    O(B V chunk). With one image a class and two views it is ``nt_xent``. Reverse differentiation only.
    Raises ValueError where the shapes do not fit, labels are no integers, the temperature is not above 0 or ``chunk`` is below 1.
    """
    above_zero("temperature", temperature)
    views, labels = of_rank("views", views, "B V D"), jnp.asarray(labels)
    if labels.shape != views.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: found {labels.dtype} {labels.shape}, expected integers [B] for views {views.shape}")
    each = views.shape[1]
    unit = unit_rows(views).reshape(-1, views.shape[2])  # [B V, D]
    everywhere, known = axis.gather(unit), jnp.repeat(axis.gather(labels), each)
    own = axis.position(len(unit))
    # the mean similarity to the positives is the similarity to their mean, and that is the sum of the class without oneself
    classes, place = jnp.unique(known, return_inverse=True, size=len(known))
    together = jax.ops.segment_sum(everywhere, place, len(classes))
    positives = (jax.ops.segment_sum(jnp.ones(len(known), unit.dtype), place, len(classes)) - 1)[place]  # of every view
    count = positives[own]
    positive = (together[place[own]] - unit) / jnp.maximum(count, 1)[:, None]
    near = jnp.einsum("md,md->m", unit / temperature, positive, precision=EXACT)
    # of a view with one positive the loss can vanish: the positive is left out of the sum, as in nt_xent, or the difference of two large
    # numbers would be all rounding; with more it is at least log |P|
    groups = jnp.where(positives == 1, place, len(known) + jnp.arange(len(known)))
    rest = log_sum_exp_of_others(unit / temperature, everywhere, groups[own], groups=groups, chunk=chunk) - near
    return jnp.mean(jnp.where(count > 0, jnp.where(count == 1, jax.nn.softplus(rest), rest), 0))
