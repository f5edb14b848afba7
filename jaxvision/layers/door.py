"""What a network checks before it looks at an image."""

import jax.numpy as jnp

from jaxvision.typing import Array


def check_input(model: str, image: Array, *, keep: Array | None = None, mask: Array | None = None) -> None:
    """Refuse, in the name of ``model``, what is not a floating-point batch [B, H, W, C], and parts left out that it cannot leave out.

    A network hands over ``keep`` or ``mask`` where it has no use for them. Raises ValueError for those and for a wrong rank, TypeError
    for integer pixels.
    """
    for name, value in (("keep", keep), ("mask", mask)):
        if value is not None:
            raise ValueError(f"{name}: {model} cannot leave out parts of an image; expected None")
    if image.ndim != 4:
        raise ValueError(f"image: found shape {image.shape}, {model} expects [B, H, W, C]")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"image: found dtype {image.dtype}, {model} expects floating point; jaxvision.typing.to_float makes it of uint8")
