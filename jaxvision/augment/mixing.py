"""Mixtures of two images and their labels; each example mixes with the one before it in the global batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.augment.batching import example_keys
from jaxvision.augment.random import check_probability
from jaxvision.typing import Array, Batch, Key, to_float

_DRAW = 0x3177  # sets mixing's keys apart from those of the recipe before it


def _soft_labels(labels: Array, num_classes: int) -> Array:
    """[B, K] float. A class number outside 0..K-1 is an error where its value can be seen, and NaN, never zeros, under ``jit``."""
    if labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer):
        known = (labels >= 0) & (labels < num_classes)
        if not isinstance(known, jax.core.Tracer) and not known.all():
            least, most = labels.min(), labels.max()
            raise ValueError(f"label: found class numbers {least} to {most}, expected 0..{num_classes - 1} (num_classes={num_classes})")
        return jnp.where(known[:, None], jax.nn.one_hot(labels, num_classes), jnp.nan)
    if labels.ndim != 2 or labels.shape[1] != num_classes:
        raise ValueError(f"label: found shape {labels.shape}, expected class numbers [B] or distributions [B, {num_classes}]")
    return labels


def _box(key: Key, share: Array, height: int, width: int) -> Array:
    """[H, W] bool: a box of ``1 - share`` of the area around a uniform centre, cut at the border (Yun et al., 2019)."""
    row_key, column_key = jax.random.split(key)
    cut = jnp.sqrt(1 - share)

    def inside(key, length):
        half = jnp.floor(length * cut).astype(jnp.int32) // 2
        centre = jax.random.randint(key, (), 0, length)
        return (jnp.arange(length) >= centre - half) & (jnp.arange(length) < centre + half)

    return inside(row_key, height)[:, None] & inside(column_key, width)[None, :]


def _check_alpha(alpha: float, name: str = "alpha") -> None:
    if alpha <= 0:
        raise ValueError(f"{name}: found {alpha}, expected more than 0")


def _mixer(draw: Callable, num_classes: int, probability: float) -> Callable:
    """A batch function from ``draw(key, height, width) -> [H, W]``, the share of each pixel that an example keeps."""
    check_probability(probability)

    def mix(key: Key, batch: Batch) -> Batch:
        image, label = to_float(batch["image"]), _soft_labels(batch["label"], num_classes)
        if image.ndim != 4:
            raise ValueError(f"image: found shape {image.shape}, expected a batch [B, H, W, C]")
        height, width = image.shape[1:3]

        def share(key):
            apply_key, draw_key = jax.random.split(jax.random.fold_in(key, _DRAW))
            return jnp.where(jax.random.bernoulli(apply_key, float(probability)), draw(draw_key, height, width), 1.0)

        kept = jax.vmap(share)(example_keys(key, batch))[..., None]  # [B, H, W, 1]
        mixed = kept * image + (1 - kept) * axis.previous(image)
        part = jnp.mean(kept, axis=(1, 2))  # [B, 1]
        return batch | {"image": mixed, "label": part * label + (1 - part) * axis.previous(label)}

    return mix


def _mixup_share(alpha: float) -> Callable:
    return lambda key, height, width: jnp.broadcast_to(jax.random.beta(key, alpha, alpha), (height, width))


def _cutmix_share(alpha: float) -> Callable:
    def share(key, height, width):
        size_key, box_key = jax.random.split(key)
        return 1.0 - _box(box_key, jax.random.beta(size_key, alpha, alpha), height, width)

    return share


def mixup(alpha: float = 0.2, *, num_classes: int, probability: float = 1.0) -> Callable:
    """``(key, batch) -> batch`` with images and labels mixed by a Beta(alpha, alpha) share (Zhang et al., 2018).

    Each example draws its own share; ``label`` becomes float [B, K]. Any batch size: a batch of one mixes with itself.
    Raises ValueError for ``alpha`` <= 0 or labels of another number of classes; a class number outside
    0..num_classes-1 that only a compiled step sees gives a target of NaN, so that the update is skipped with a line, and the run
    stops where that happens again and again: the fix is ``num_classes=len(source.classes)``.
    """
    _check_alpha(alpha)
    return _mixer(_mixup_share(alpha), num_classes, probability)


def cutmix(alpha: float = 1.0, *, num_classes: int, probability: float = 1.0) -> Callable:
    """``(key, batch) -> batch`` with a box of the neighbour's image pasted in (Yun et al., 2019).

    The label's share is the box's exact area after it is cut at the border; otherwise as ``mixup``.
    """
    _check_alpha(alpha)
    return _mixer(_cutmix_share(alpha), num_classes, probability)


def mixup_or_cutmix(
    *, num_classes: int, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, switch: float = 0.5, probability: float = 1.0
) -> Callable:
    """Each example gets cutmix with probability ``switch``, else mixup; the defaults are DeiT's (Touvron et al., 2021)."""
    _check_alpha(mixup_alpha, "mixup_alpha")
    _check_alpha(cutmix_alpha, "cutmix_alpha")
    check_probability(switch, "switch")
    mixup_share, cutmix_share = _mixup_share(mixup_alpha), _cutmix_share(cutmix_alpha)

    def share(key, height, width):
        choose, draw = jax.random.split(key)
        chosen = jax.random.bernoulli(choose, float(switch))
        return jnp.where(chosen, cutmix_share(draw, height, width), mixup_share(draw, height, width))

    return _mixer(share, num_classes, probability)
