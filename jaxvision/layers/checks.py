"""What a network checks before it is built and before it looks at an image."""

import jax.numpy as jnp

from jaxvision.typing import Array


def check_input(
    model: str, image: Array, *, channels: int | None = None, least: int = 1, keep: Array | None = None, mask: Array | None = None
) -> None:
    """Refuse, in the name of ``model``, what is not a floating-point batch [B, H, W, C], and parts left out that it cannot leave out.

    ``channels``: how many there must be (None: any); ``least``: the smallest H and W whose maps all have a place. A network hands over
    ``keep`` or ``mask`` where it has no use for them. Raises ValueError for those, for a wrong rank, a smaller image and other channels,
    TypeError for integer pixels.
    """
    for name, value in (("keep", keep), ("mask", mask)):
        if value is not None:
            raise ValueError(f"{name}: {model} cannot leave out parts of an image; expected None")
    if image.ndim != 4:
        raise ValueError(f"image: found shape {image.shape}, {model} expects [B, H, W, C]")
    if channels is not None and image.shape[-1] != channels:
        raise ValueError(
            f"image: found {image.shape[-1]} channels (shape {image.shape}), this {model} was made with in_channels={channels}; "
            "another in_channels, or none, makes one for them"
        )
    if min(image.shape[1:3]) < least:
        raise ValueError(f"image: found shape {image.shape}, {model} expects H and W of at least {least}")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"image: found dtype {image.dtype}, {model} expects floating point; jaxvision.typing.to_float makes it of uint8")


def check_patches(image_size: int, patch_size: int) -> None:
    """Refuse sizes that are no positive integers, and a patch that does not divide the image. Raises ValueError."""
    for option, value in (("patch_size", patch_size), ("image_size", image_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{option}: found {value!r}, expected a positive integer")
    if image_size % patch_size:
        raise ValueError(f"patch_size: {patch_size} does not divide image_size={image_size}")
