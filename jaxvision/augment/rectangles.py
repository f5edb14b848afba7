"""The sides of random rectangles, which crops cut out and erasing paints over."""

import math

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Key

TRIES = 10  # rectangles drawn before torchvision, too, gives up


def draw_sides(area_key: Key, ratio_key: Key, pixels: int, scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[Array, Array]:
    """([TRIES], [TRIES] int): sides whose product is a share in ``scale`` of ``pixels``, their quotient in ``ratio``.

    The quotient, first by second, is drawn on a logarithmic scale.
    """
    area = pixels * jax.random.uniform(area_key, (TRIES,), minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(jax.random.uniform(ratio_key, (TRIES,), minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    return jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32), jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)


def draw_corner(top_key: Key, left_key: Key, shape: tuple[int, int], height: Array, width: Array) -> tuple[Array, Array]:
    """(top, left) of a rectangle that lies in an image of ``shape``, every place alike."""
    top = jax.random.randint(top_key, (), 0, shape[0] - height + 1)
    return top, jax.random.randint(left_key, (), 0, shape[1] - width + 1)
