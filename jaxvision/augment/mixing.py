"""Mixup and CutMix: each example is mixed with the one before it in the global batch, images and labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.augment.batching import BatchAugmentation, example_keys
from jaxvision.typing import Array, Batch, Key, to_float

_KEY_TAG = 0x3177  # folded into the key, so that mixing and the recipe before it draw independently


def _soft_labels(labels: Array, num_classes: int) -> Array:
    """[B, K] float. A class number outside 0..K-1 raises ValueError; under ``jit``, where values are unknown, its row becomes NaN."""
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
    """[H, W] bool: a box with ``1 - share`` of the area around a uniform centre, clipped at the border (Yun et al., 2019)."""
    row_key, column_key = jax.random.split(key)
    cut = jnp.sqrt(1 - share)

    def inside(key, length):
        half = jnp.floor(length * cut).astype(jnp.int32) // 2
        centre = jax.random.randint(key, (), 0, length)
        return (jnp.arange(length) >= centre - half) & (jnp.arange(length) < centre + half)

    return inside(row_key, height)[:, None] & inside(column_key, width)[None, :]


def _mix_by(draw: Callable, num_classes: int, probability: float) -> BatchAugmentation:
    """A batch function from ``draw(key, height, width) -> [H, W]``, the weight of an example's own pixels."""
    checks.fraction(probability=probability)

    def mix(key: Key, batch: Batch) -> Batch:
        image, label = to_float(batch["image"]), _soft_labels(batch["label"], num_classes)
        if image.ndim != 4:
            raise ValueError(f"image: found shape {image.shape}, expected a batch [B, H, W, C]")
        height, width = image.shape[1:3]

        def share(key):
            apply_key, draw_key = jax.random.split(jax.random.fold_in(key, _KEY_TAG))
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


def mixup(alpha: float = 0.2, *, num_classes: int, probability: float = 1.0) -> BatchAugmentation:
    """Mix each image and its label with its neighbour's: ``(key, batch) -> batch``.

    Computes ``share * x_i + (1 - share) * x_(i-1)`` with share ~ Beta(alpha, alpha), drawn for each example; x is the image [B, H, W, C]
    and the label as a distribution [B, K]. ``label`` may be class numbers [B] or distributions [B, K]. With ``1 - probability`` an example
    stays as it is. A batch of one mixes with itself. Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.

    Raises ValueError if ``alpha`` is not positive or labels do not fit ``num_classes``. In a compiled step a class number outside
    0..num_classes-1 gives a label of NaN: the update is skipped with a message, and the run stops if that happens repeatedly. The
    fix is ``num_classes=len(source.classes)``.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 4, 4, 3)), "label": jnp.array([0, 2])}
    >>> jax.eval_shape(jv.augment.mixup(num_classes=3), jax.random.key(0), batch)["label"].shape
    (2, 3)
    """
    checks.positive(alpha=alpha)
    return _mix_by(_mixup_share(alpha), num_classes, probability)


def cutmix(alpha: float = 1.0, *, num_classes: int, probability: float = 1.0) -> BatchAugmentation:
    """Paste a box of the neighbour's image into each image, and mix the labels: ``(key, batch) -> batch``.

    The box has ``1 - share`` of the area with share ~ Beta(alpha, alpha), a uniform centre, and is clipped at the border. The labels are
    mixed by the area of the clipped box. Fields and errors are those of ``mixup``. Source: Yun et al., CutMix: Regularization Strategy to
    Train Strong Classifiers with Localizable Features, 2019.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 4, 4, 3)), "label": jnp.array([0, 2])}
    >>> jax.eval_shape(jv.augment.cutmix(num_classes=3), jax.random.key(0), batch)["label"].shape
    (2, 3)
    """
    checks.positive(alpha=alpha)
    return _mix_by(_cutmix_share(alpha), num_classes, probability)


def mixup_or_cutmix(
    *, num_classes: int, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, switch: float = 0.5, probability: float = 1.0
) -> BatchAugmentation:
    """CutMix with probability ``switch``, else mixup, drawn for each example: ``(key, batch) -> batch``.

    Fields and errors are those of ``mixup``. The defaults are DeiT's: Touvron et al., Training data-efficient image transformers, 2021.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 4, 4, 3)), "label": jnp.array([0, 2])}
    >>> jax.eval_shape(jv.augment.mixup_or_cutmix(num_classes=3), jax.random.key(0), batch)["label"].shape
    (2, 3)
    """
    checks.positive(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)
    checks.fraction(switch=switch)
    mixup_share, cutmix_share = _mixup_share(mixup_alpha), _cutmix_share(cutmix_alpha)

    def share(key, height, width):
        choose, draw = jax.random.split(key)
        chosen = jax.random.bernoulli(choose, float(switch))
        return jnp.where(chosen, cutmix_share(draw, height, width), mixup_share(draw, height, width))

    return _mix_by(share, num_classes, probability)
