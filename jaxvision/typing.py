"""The words that every signature uses: arrays, keys, batches, features, and the letters of a shape.

Shape alphabet: B batch, V views, H height, W width, C channels, N tokens (patches), D features, K classes or prototypes.
An annotation such as ``Float[Array, "B K"]`` reads: a floating-point array of batch by classes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

try:
    from jaxtyping import Bool, Float, Int, Shaped
except ModuleNotFoundError:  # models, objectives and training need no more than jax, flax, optax, chex, orbax and numpy

    class Shaped:
        """An annotation that says no more than that this is an array."""

        def __class_getitem__(cls, kind_and_shape: tuple):
            return kind_and_shape[0]

    Bool = Float = Int = Shaped

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
Batch = dict  # {"image": [B, H, W, C], "label": [B] or [B, K], "index": [B], "epoch": [B], ...}

__all__ = ["Array", "Batch", "Bool", "Features", "Float", "Int", "Key", "Shaped", "at_least_float32", "to_float"]


class Features(NamedTuple):
    """What an encoder saw: one vector an image, tokens in row order (transformers), named maps (convolutional stages)."""

    pooled: Array  # [B, D]
    tokens: Array | None  # [B, N, D]
    maps: dict[str, Array]  # {name: [B, h, w, c]}


def at_least_float32(array: Array) -> Array:
    """bfloat16, float16 and integers raised to float32; float32 and float64 as they are: what sums, norms and losses are computed in."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def to_float(image: Array) -> Array:
    """Pixels as models see them: uint8 becomes float32 in [0, 1]; floating-point images pass unchanged."""
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image
    if image.dtype != jnp.uint8:
        raise TypeError(f"image: found dtype {image.dtype}, expected uint8 in 0..255 or a float in [0, 1]")
    return image.astype(jnp.float32) / 255
