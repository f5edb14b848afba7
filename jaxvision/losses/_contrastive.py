"""Contrastive losses: views of one image, or of one class, are more similar than other images."""

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.kernels import log_sum_exp_of_others
from jaxvision.losses._numerics import EXACT, like_shaped, of_rank, unit_rows
from jaxvision.typing import Array, Float, Int


def nt_xent(
    z1: Float[Array, "B D"], z2: Float[Array, "B D"], *, temperature: float | Array = 0.5, chunk: int | None = None
) -> Float[Array, ""]:
    """Normalized temperature-scaled cross-entropy over the 2B views of the global batch (SimCLR).

        L = mean_i -log( exp(s_ip / T) / sum_(k != i) exp(s_ik / T) )

    s_ik is the cosine of views i and k, p the other view of the image of i, T the ``temperature``. ``z1`` and ``z2`` are the projections
    of the two views, [B, D]; the result is a scalar in nats. The computation is exact and needs memory O(B chunk): it compares ``chunk``
    views at a time, 512 by default. A vector of zeros has the cosine 0 with every vector and no gradient. Reverse differentiation only.

    Raises ValueError where the shapes differ, or ``temperature`` or ``chunk`` is not above 0.
    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, equation 1.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.nt_xent(jnp.ones((4, 3)), jnp.ones((4, 3))):.4f}")  # all views equal: log(2 B - 1) = log 7
    1.9459
    """
    checks.positive(temperature=temperature)
    z1, z2 = like_shaped("z1, z2", z1, z2, "B D")
    unit = unit_rows(jnp.stack([z1, z2], axis=1))  # [B, 2, D]: the order of the global batch on any number of devices
    views = unit.reshape(-1, unit.shape[-1])  # [2B, D]
    image, all_views = jnp.repeat(axis.position(len(z1)), 2), axis.gather(views)
    images = jnp.arange(len(all_views), dtype=jnp.int32) // 2
    negatives = log_sum_exp_of_others(views / temperature, all_views, image, groups=images, chunk=chunk)
    positive = jnp.sum(unit[:, 0] * unit[:, 1], axis=-1) / temperature
    # log(e^positive + e^negatives) - positive. Where the positive is much larger, a difference of these two would be rounding error.
    return jnp.mean(jax.nn.softplus(negatives.reshape(-1, 2) - positive[:, None]))


def supervised_contrastive(
    views: Float[Array, "B V D"], labels: Int[Array, "B"], *, temperature: float | Array = 0.1, chunk: int | None = None
) -> Float[Array, ""]:
    """NT-Xent with labels: all other views of all images of a class are positives.

        L = mean_i -1/|P(i)| sum_(p in P(i)) log( exp(s_ip / T) / sum_(k != i) exp(s_ik / T) )

    s_ik is the cosine of views i and k, P(i) the other views with the label of i, T the ``temperature``. ``views`` are projections
    [B, V, D], ``labels`` class numbers [B]; positives and negatives come from the global batch; the result is a scalar in nats. A view with
    empty P(i) counts as 0. With one image a class and two views it equals ``nt_xent``. Memory O(B V chunk). Reverse differentiation only.

    Raises ValueError where the shapes do not fit, labels are not integers, or ``temperature`` or ``chunk`` is not above 0.
    Source: Khosla et al., "Supervised Contrastive Learning", 2020, equation 2 (L_out).

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> views = jnp.repeat(jnp.eye(2)[:, None], 2, axis=1)  # two classes, two equal views each
    >>> print(f"{jv.losses.supervised_contrastive(views, jnp.array([0, 1]), temperature=0.5):.4f}")  # log(1 + 2 e^-2)
    0.2395
    """
    checks.positive(temperature=temperature)
    views, labels = of_rank("views", views, "B V D"), jnp.asarray(labels)
    if labels.shape != views.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: found {labels.dtype} {labels.shape}, expected integers [B] for views {views.shape}")
    view_count = views.shape[1]
    unit = unit_rows(views).reshape(-1, views.shape[2])  # [B V, D]
    all_views, all_labels = axis.gather(unit), jnp.repeat(axis.gather(labels), view_count)
    own = axis.position(len(unit))
    # The mean similarity to the positives is the similarity to their mean: the sum over the class without the view itself.
    classes, class_of = jnp.unique(all_labels, return_inverse=True, size=len(all_labels))
    class_sum = jax.ops.segment_sum(all_views, class_of, len(classes))
    positives = (jax.ops.segment_sum(jnp.ones(len(all_labels), unit.dtype), class_of, len(classes)) - 1)[class_of]  # of every view
    count = positives[own]
    positive_mean = (class_sum[class_of[own]] - unit) / jnp.maximum(count, 1)[:, None]
    positive = jnp.einsum("md,md->m", unit / temperature, positive_mean, precision=EXACT)
    # The loss of a view with one positive can vanish. Leave the positive out of the sum, as nt_xent does, or the result would be the
    # rounding error of a difference of two large numbers. With more positives the loss is at least log |P|.
    groups = jnp.where(positives == 1, class_of, len(all_labels) + jnp.arange(len(all_labels)))
    excess = log_sum_exp_of_others(unit / temperature, all_views, groups[own], groups=groups, chunk=chunk) - positive
    return jnp.mean(jnp.where(count > 0, jnp.where(count == 1, jax.nn.softplus(excess), excess), 0))
