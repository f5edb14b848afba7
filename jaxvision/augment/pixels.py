"""Operations on single pixels: flips, normalization, noise; and the planar form in which colour formulas are computed."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, BatchAugmentation, check_image, check_key
from jaxvision.augment.random import Parameter, check_parameter, draw, random_apply
from jaxvision.typing import Array, Batch, Key, to_float


def planar(formula: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Turn ``(planes [C, H, W]) -> planes`` into ``(image [H, W, C]) -> image``. Dtype stays; computed in at least float32.

    A last axis of three channels would leave most of a vector register empty. XLA cancels the transpositions between two planar formulas.
    """

    def apply(image: Array) -> Array:
        check_image(image)
        planes = jnp.moveaxis(image, 2, 0).astype(jnp.promote_types(image.dtype, jnp.float32))
        return jnp.moveaxis(formula(planes), 0, 2).astype(image.dtype)

    return apply


def _flip(image: Array, axis: int, flip: Array) -> Array:
    """The image, mirrored along an axis if ``flip`` is true."""
    indices = jnp.arange(image.shape[axis])
    # Not jnp.where of two images: XLA would duplicate the operations before it, fuse them differently and round them differently.
    return jnp.take(image, jnp.where(flip, indices[::-1], indices), axis, mode="clip")


def _random_flip(axis: int, probability: float) -> Augmentation:
    checks.fraction(probability=probability)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return _flip(image, axis, jax.random.bernoulli(key, float(probability)))

    return apply


def random_horizontal_flip(*, probability: float = 0.5) -> Augmentation:
    """Swap left and right with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Raises ValueError if ``probability`` is not in [0, 1].

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> flip = jv.augment.random_horizontal_flip(probability=1.0)
    >>> flip(jax.random.key(0), jnp.array([[[1.0], [2.0]]]))[0, :, 0].tolist()
    [2.0, 1.0]
    """
    return _random_flip(1, probability)


def alternating_horizontal_flip() -> BatchAugmentation:
    """Swap left and right in every second epoch of an example: ``(key, batch) -> batch``.

    A random half of the examples is mirrored in the even epochs, the other half in the odd ones. Any two epochs in a row therefore show
    both sides of every image; independent random flips do so for half of the images only.
    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.6.

    Raises ValueError if the batch has no ``index`` or ``epoch``.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.array([[[[1.0], [2.0]]]] * 2), "index": jnp.array([5, 5]), "epoch": jnp.array([0, 1])}
    >>> first, second = jv.augment.alternating_horizontal_flip()(jax.random.key(0), batch)["image"]
    >>> bool((first == second[:, ::-1]).all())
    True
    """

    def apply(key: Key, batch: Batch) -> Batch:
        check_key(key)
        if missing := {"index", "epoch"} - set(batch):
            raise ValueError(f"batch: found no {' or '.join(sorted(missing))}, expected both; batches of jv.data have them")
        first = jax.vmap(lambda index: jax.random.bernoulli(jax.random.fold_in(key, index)))(batch["index"])
        mirrored = (first.astype(jnp.int32) + batch["epoch"]) % 2 == 1
        image = to_float(batch["image"])
        return batch | {"image": jax.vmap(lambda image, flip: _flip(image, 1, flip))(image, mirrored)}

    return apply


def random_vertical_flip(*, probability: float = 0.5) -> Augmentation:
    """Swap top and bottom with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Raises ValueError if ``probability`` is not in [0, 1].

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> flip = jv.augment.random_vertical_flip(probability=1.0)
    >>> flip(jax.random.key(0), jnp.array([[[1.0]], [[2.0]]]))[:, 0, 0].tolist()
    [2.0, 1.0]
    """
    return _random_flip(0, probability)


def normalize(mean: float | Sequence[float], std: float | Sequence[float]) -> Augmentation:
    """Standardize each channel, ``(image - mean) / std``: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``mean``, ``std``: one number, or one for each channel, for pixels in [0, 1]. The key may be None.

    Raises ValueError if ``std`` is not positive, or if there are neither one nor C values.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.normalize(0.5, (0.25, 0.5, 1.0))(None, jnp.ones((1, 1, 3)))[0, 0].tolist()
    [2.0, 1.0, 0.5]
    """
    mean, std = (tuple(value) if hasattr(value, "__len__") else (value,) for value in (mean, std))
    if not all(value > 0 for value in std):
        raise ValueError(f"std: found {std}, expected numbers above 0, because the image is divided by them")

    def apply(key, image):
        check_image(image)
        if {len(mean), len(std)} - {1, image.shape[-1]}:
            raise ValueError(f"mean, std: found {len(mean)} and {len(std)} values, expected 1 or {image.shape[-1]}, one for each channel")
        return (image - jnp.asarray(mean, image.dtype)) / jnp.asarray(std, image.dtype)

    return apply


def gaussian_noise(std: Parameter = 0.1, *, mean: float = 0.0, clip: bool = True, probability: float = 1.0) -> Augmentation:
    """Add independent normal noise to every value, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``image + mean + std * n`` with n ~ N(0, 1). ``std``: a number, or a range (low, high) to draw it from. ``clip``: clip the
    result to [0, 1].

    Raises ValueError if ``std`` is negative.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> noisy = jax.jit(jv.augment.gaussian_noise(0.1))(jax.random.key(0), jnp.full((32, 32, 3), 0.5))
    >>> round(float(noisy.std()), 1)
    0.1
    """
    check_parameter("std", std, low=0)

    def apply(key, image):
        check_key(key)
        check_image(image)
        std_key, noise_key = jax.random.split(key)
        (deviation,) = draw(std_key, std)
        noisy = image + (mean + deviation * jax.random.normal(noise_key, image.shape)).astype(image.dtype)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return random_apply(apply, probability)
