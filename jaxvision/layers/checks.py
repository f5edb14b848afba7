"""Checks of a network's options and input images. Checks of plain arguments are in ``jaxvision.checks``."""

import jax.numpy as jnp

from jaxvision import checks
from jaxvision.typing import Array


def check_input(
    model: str, image: Array, *, channels: int | None = None, least: int = 1, keep: Array | None = None, mask: Array | None = None
) -> None:
    """Check that ``image`` is a floating-point batch [B, H, W, C] that the network named ``model`` can take.

    ``channels``: the required C (None: any). ``least``: the smallest H and W that the network can take. A network passes ``keep`` or
    ``mask`` on if it does not support them. Raises ValueError for a wrong rank, too small an image, another number of channels, and for
    ``keep`` or ``mask``; TypeError for integer pixels.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.check_input("LeNet", jnp.zeros((2, 32, 32, 1)), channels=1, least=32)
    """
    for name, value in (("keep", keep), ("mask", mask)):
        if value is not None:
            raise ValueError(f"{name}: {model} does not support it, expected None")
    if image.ndim != 4:
        raise ValueError(f"image: found shape {image.shape}, {model} expects [B, H, W, C]")
    if channels is not None and image.shape[-1] != channels:
        raise ValueError(
            f"image: found {image.shape[-1]} channels (shape {image.shape}), this {model} was made with in_channels={channels}; "
            f"pass in_channels={image.shape[-1]} or None to create_model"
        )
    if min(image.shape[1:3]) < least:
        raise ValueError(f"image: found shape {image.shape}, {model} expects H and W of at least {least}")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"image: found dtype {image.dtype}, {model} expects floating point; jaxvision.typing.to_float converts uint8")


def check_patches(image_size: int, patch_size: int) -> None:
    """Check that both sizes are positive integers and that the patch size divides the image size; raise ValueError otherwise.

    >>> import jaxvision as jv
    >>> jv.layers.check_patches(224, 16)
    """
    checks.integer("patch_size", patch_size)
    checks.integer("image_size", image_size)
    if image_size % patch_size:
        raise ValueError(f"patch_size: {patch_size} does not divide image_size={image_size}")
