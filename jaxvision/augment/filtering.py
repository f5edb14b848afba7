"""Filters over neighbouring pixels: Gaussian blur, sharpness, Sobel's gradient.

Each is a sum of shifted copies of the planes, which compiles to one loop over the pixels; of the blur there is a compiled kernel.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.augment.batching import check_image
from jaxvision.augment.pixels import planar
from jaxvision.augment.random import Parameter, check_parameter, drawn, random_apply
from jaxvision.kernels._blur import slid
from jaxvision.typing import Array


def blurred(image: Array, sigma: float | Array, *, kernel_size: int) -> Array:
    """An image [H, W, C] blurred by a Gaussian of ``sigma`` pixels, cut off at ``kernel_size`` taps, mirrored at the border.

    As torchvision's ``gaussian_blur``. Raises ValueError where the mirror image is too small for the kernel.
    """
    check_image(image)
    half = kernel_size // 2
    if min(image.shape[:2]) <= half:
        most = 2 * min(image.shape[:2]) - 1
        raise ValueError(f"kernel_size: found {kernel_size} for {image.shape[0]} x {image.shape[1]} pixels, expected at most {most}")
    distance = jnp.arange(-half, half + 1)
    taps = jnp.exp(-0.5 * (distance / sigma) ** 2)
    return kernels.blur(image, taps / sum(taps))


def sharpened(image: Array, factor: float | Array) -> Array:
    """``factor`` of an image [H, W, C] and the rest of its smoothed self, cut to [0, 1]: 0 is smooth, 1 the image, 2 sharp.

    Smooth is the mean of the 3 x 3 neighbours with the middle counted five times; the outermost pixels stay as they are. As torchvision's
    ``adjust_sharpness``.
    """
    if min(image.shape[:2]) < 3:
        return image

    def sharpen(planes):
        box = jnp.ones(3)
        inner = planes[:, 1:-1, 1:-1]
        smooth = (slid(slid(planes, box, 1), box, 2) + 4 * inner) / 13
        changed = jnp.pad(smooth - inner, ((0, 0), (1, 1), (1, 1)))  # nothing changes at the border
        return jnp.clip(planes + (1 - factor) * changed, 0, 1)

    return planar(sharpen)(image)


def gradient(image: Array) -> Array:
    """The length of the gradient of each channel of an image [H, W, C], in values a pixel, by Sobel's two kernels over 8.

    Exact on a ramp in any direction. The border repeats outwards, so that a ramp counts half across it.
    """

    def slope(planes):
        wide = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
        difference, smooth = jnp.array([-0.5, 0.0, 0.5]), jnp.array([0.25, 0.5, 0.25])
        down = slid(slid(wide, difference, 1), smooth, 2)
        across = slid(slid(wide, smooth, 1), difference, 2)
        return jnp.sqrt(down**2 + across**2)

    return planar(slope)(image)


def gaussian_blur(sigma: Parameter = (0.1, 2.0), *, kernel_size: int | None = None, probability: float = 1.0) -> Callable:
    """``blurred`` with a probability: ``(key, image [H, W, C]) -> image [H, W, C]`` (SimCLR, Chen et al., 2020, appendix A).

    ``sigma``: pixels, fixed or drawn from (low, high); ``kernel_size``: taps, odd; without one, six of the largest sigma and one.
    Raises ValueError for a sigma that is not positive, an even kernel, or one that reaches past an image's other side.
    """
    check_parameter("sigma", sigma, low=1e-6)
    kernel_size = 2 * math.ceil(3 * np.max(sigma)) + 1 if kernel_size is None else kernel_size
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size: found {kernel_size}, expected an odd number of taps")

    def apply(key, image):
        return blurred(image, *drawn(key, sigma), kernel_size=kernel_size)

    return random_apply(apply, probability)


def sharpness(factor: Parameter, *, probability: float = 1.0) -> Callable:
    """``sharpened`` by a factor >= 0, fixed or drawn from (low, high), with a probability: ``(key, image [H, W, C]) -> image``."""
    check_parameter("factor", factor, low=0)
    return random_apply(lambda key, image: sharpened(image, *drawn(key, factor)), probability)


def sobel() -> Callable:
    """``gradient``, the length of each channel's slope in values a pixel: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return lambda key, image: gradient(image)
