"""Policies that draw operations at random: RandAugment, TrivialAugment, AugMix, with torchvision's operation spaces as tables.

Each layer first warps the image by one matrix (the identity for colour operations) and then changes its colours by one operation. A batch
whose images draw different operations is therefore resampled once per layer. Images are float in [0, 1] and stay float; torchvision rounds
to bytes after each operation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.augment.color import adjust_brightness, adjust_contrast, adjust_saturation
from jaxvision.augment.filtering import sharpened
from jaxvision.augment.geometry import METHODS, Color, affine_matrix, warped
from jaxvision.augment.tone import autocontrasted, equalized, posterized, solarized
from jaxvision.typing import Array, Key


class Range(NamedTuple):
    """The magnitudes of an operation, linearly spaced from the first bin to the last."""

    first: float = 0.0
    last: float = 0.0
    signed: bool = False  # the sign is drawn too
    unit: str = ""  # "width" or "height": the ends are fractions of it


_COLORS = {name: Range(0.0, 0.9, True) for name in ("Brightness", "Color", "Contrast", "Sharpness")}
_SHAPES = {
    "ShearX": Range(0.0, 0.3, True),
    "ShearY": Range(0.0, 0.3, True),
    "TranslateX": Range(0.0, 150 / 331, True, "width"),
    "TranslateY": Range(0.0, 150 / 331, True, "height"),
    "Rotate": Range(0.0, 30.0, True),
}
_TONES = {"Posterize": Range(8, 4), "Solarize": Range(1.0, 0.0), "AutoContrast": Range(), "Equalize": Range()}

# The spaces: Cubuk et al., 2020, as torchvision has them; Mueller & Hutter, 2021, "wide"; Hendrycks et al., 2020.
RAND_AUGMENT = {"Identity": Range(), **_SHAPES, **_COLORS, **_TONES}
TRIVIAL_AUGMENT = {
    **RAND_AUGMENT,
    "ShearX": Range(0.0, 0.99, True),
    "ShearY": Range(0.0, 0.99, True),
    "TranslateX": Range(0.0, 32.0, True),
    "TranslateY": Range(0.0, 32.0, True),
    "Rotate": Range(0.0, 135.0, True),
    **{name: Range(0.0, 0.99, True) for name in _COLORS},
    "Posterize": Range(8, 2),
}
AUG_MIX_WITHOUT_COLORS = {
    **_SHAPES,
    "TranslateX": Range(0.0, 1 / 3, True, "width"),
    "TranslateY": Range(0.0, 1 / 3, True, "height"),
    **_TONES,
    "Posterize": Range(4, 0),
}
AUG_MIX = {**AUG_MIX_WITHOUT_COLORS, **_COLORS}

_RECOLOR = {  # (image, magnitude) -> image; operations that are not here leave colours unchanged
    "Brightness": lambda image, magnitude: adjust_brightness(image, 1 + magnitude),
    "Color": lambda image, magnitude: adjust_saturation(image, 1 + magnitude),
    "Contrast": lambda image, magnitude: adjust_contrast(image, 1 + magnitude),
    "Sharpness": lambda image, magnitude: sharpened(image, 1 + magnitude),
    "Posterize": lambda image, magnitude: posterized(image, jnp.clip(magnitude, 0, 8).astype(jnp.int32)),
    "Solarize": solarized,
    "AutoContrast": lambda image, magnitude: autocontrasted(image),
    "Equalize": lambda image, magnitude: equalized(image),
}
_WHOLE = {"TranslateX": np.trunc, "TranslateY": np.trunc, "Posterize": np.round}  # magnitudes in whole pixels or bits

AUG_MIX_BINS, AUG_MIX_DEPTH = 10, 3


def magnitudes(space: dict[str, Range], bins: int, shape: tuple[int, int]) -> np.ndarray:
    """[operations, bins] float32: the unsigned magnitudes of a space for images of ``shape`` (H, W)."""
    unit = {"": 1, "height": shape[0], "width": shape[1]}
    rows = [
        _WHOLE.get(name, np.asarray)(np.linspace(ends.first * unit[ends.unit], ends.last * unit[ends.unit], bins).astype(np.float32))
        for name, ends in space.items()
    ]
    return np.stack(rows)


def draw_layer(key: Key, space: dict[str, Range], table: np.ndarray, bins: tuple[int, int]) -> tuple[Array, Array]:
    """(operation, magnitude) of one layer: a uniform operation, a uniform bin of range(*bins), and a sign if signed."""
    operation_key, bin_key, sign_key = jax.random.split(key, 3)
    operation = jax.random.randint(operation_key, (), 0, len(space))
    place = jax.random.randint(bin_key, (), *bins)
    signed = jnp.array([ends.signed for ends in space.values()])[operation]
    sign = jnp.where(signed & jax.random.bernoulli(sign_key), -1.0, 1.0)
    return operation, sign * jnp.asarray(table)[operation, place]


def layer(image: Array, operation: Array, magnitude: Array, space: dict[str, Range], *, method: str, fill: Color) -> Array:
    """Apply the operation with the given number in ``space`` to an image [H, W, C]; -1 returns the image."""
    names = list(space)

    def only(name: str) -> Array:
        """The magnitude for this operation, 0 for any other."""
        return jnp.where(operation == names.index(name), magnitude, 0.0)

    turn = only("Rotate")
    shear = [jnp.rad2deg(jnp.arctan(only(name))) for name in ("ShearX", "ShearY")]
    corner = [jnp.where(turn == 0, -length / 2, 0.0) for length in (image.shape[1], image.shape[0])]  # the fixed point of shears
    matrix = affine_matrix(-turn, (only("TranslateX"), only("TranslateY")), 1.0, shear, center=corner)
    moved = warped(image, matrix, method=method, fill=fill)
    recolored = [name for name in names if name in _RECOLOR]
    entry = np.array([recolored.index(name) + 1 if name in _RECOLOR else 0 for name in names])
    branches = [lambda image, magnitude: image, *(_RECOLOR[name] for name in recolored)]
    return jax.lax.switch(jnp.where(operation < 0, 0, jnp.asarray(entry)[operation]), branches, moved, magnitude)


def _layers(space: dict[str, Range], count: int, bins: int, chosen: tuple[int, int], method: str, fill: Color) -> Augmentation:
    """``(key, image) -> image`` through ``count`` drawn layers."""
    checks.one_of("method", method, METHODS)

    def apply(key, image):
        check_key(key)
        check_image(image)
        table = magnitudes(space, bins, image.shape[:2])
        for place in range(count):
            operation, magnitude = draw_layer(jax.random.fold_in(key, place), space, table, chosen)
            image = layer(image, operation, magnitude, space, method=method, fill=fill)
        return image

    return apply


def rand_augment(
    *, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31, method: str = "nearest", fill: Color = 0.0
) -> Augmentation:
    """RandAugment, ``num_ops`` random operations at one magnitude: ``(key, image [H, W, C]) -> image [H, W, C]``.

    C is 1 or 3. ``magnitude``: the bin, from 0 (weakest) to ``num_magnitude_bins - 1``; ``method``, ``fill``: interpolation and outside
    colour of the geometric operations, as in ``rotate``. The operations are torchvision's. Source: Cubuk et al., RandAugment: Practical
    Automated Data Augmentation with a Reduced Search Space, 2020.

    Raises ValueError if ``magnitude`` is not one of the bins.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.rand_augment(magnitude=5), jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    checks.integer("num_ops", num_ops)
    checks.integer("num_magnitude_bins", num_magnitude_bins, at_least=2)
    checks.integer("magnitude", magnitude, at_least=0, at_most=num_magnitude_bins - 1)
    return _layers(RAND_AUGMENT, num_ops, num_magnitude_bins, (magnitude, magnitude + 1), method, fill)


def trivial_augment(*, num_magnitude_bins: int = 31, method: str = "nearest", fill: Color = 0.0) -> Augmentation:
    """TrivialAugment, one random operation at a random magnitude: ``(key, image [H, W, C]) -> image [H, W, C]``.

    C is 1 or 3. The operations and magnitudes are the paper's wide space. ``method``, ``fill``: as in ``rotate``.
    Source: Mueller & Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation, 2021.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.trivial_augment(), jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    checks.integer("num_magnitude_bins", num_magnitude_bins, at_least=2)
    return _layers(TRIVIAL_AUGMENT, 1, num_magnitude_bins, (0, num_magnitude_bins), method, fill)


def draw_mixture(key: Key, width: int, alpha: float) -> Array:
    """[1 + width], sums to 1: the weight of the original, Beta(alpha, alpha), and of each chain, Dirichlet(alpha) times the rest."""
    original_key, chains_key = jax.random.split(key)
    original = jax.random.beta(original_key, alpha, alpha)
    chains = jax.random.dirichlet(chains_key, jnp.full(width, alpha))
    return jnp.concatenate([original[None], (1 - original) * chains])


def aug_mix(
    *,
    severity: int = 3,
    mixture_width: int = 3,
    chain_depth: int = -1,
    alpha: float = 1.0,
    all_ops: bool = True,
    method: str = "bilinear",
    fill: Color = 0.0,
) -> Augmentation:
    """AugMix, the image mixed with ``mixture_width`` chains of operations: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``m * image + (1 - m) * sum_i w_i chain_i(image)`` with m ~ Beta(alpha, alpha) and w ~ Dirichlet(alpha). C is 1 or 3.
    ``severity``: magnitudes come from the first ``severity`` of 10 bins; ``chain_depth``: operations in a chain, -1 draws 1 to 3;
    ``all_ops``: include brightness, contrast, colour and sharpness. ``method``, ``fill``: as in ``rotate``. Source: Hendrycks et al.,
    AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty, 2020.

    Raises ValueError for options out of range.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.aug_mix(), jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    checks.integer("severity", severity, at_most=AUG_MIX_BINS)
    checks.integer("mixture_width", mixture_width)
    checks.integer("chain_depth", chain_depth, at_least=-1)
    checks.one_of("method", method, METHODS)
    checks.positive(alpha=alpha)
    space = AUG_MIX if all_ops else AUG_MIX_WITHOUT_COLORS
    deepest = chain_depth if chain_depth > 0 else AUG_MIX_DEPTH

    def apply(key, image):
        check_key(key)
        check_image(image)
        table = magnitudes(space, AUG_MIX_BINS, image.shape[:2])
        mixture_key, chains_key = jax.random.split(key)

        def chain(key):
            depth_key, layers_key = jax.random.split(key)
            depth = chain_depth if chain_depth > 0 else jax.random.randint(depth_key, (), 1, AUG_MIX_DEPTH + 1)

            def deeper(image, place):
                operation, magnitude = draw_layer(jax.random.fold_in(layers_key, place), space, table, (0, severity))
                operation = jnp.where(place < depth, operation, -1)
                return layer(image, operation, magnitude, space, method=method, fill=fill), None

            return jax.lax.scan(deeper, image, jnp.arange(deepest))[0]

        shares = draw_mixture(mixture_key, mixture_width, alpha)

        def mix(total, part):
            share, key = part
            return total + share * chain(key), None

        total, _ = jax.lax.scan(mix, shares[0] * image, (shares[1:], jax.random.split(chains_key, mixture_width)))
        return total.astype(image.dtype)

    return apply
