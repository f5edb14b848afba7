"""Filters over neighbouring pixels: Gaussian blur, sharpness, Sobel gradient.

Each is a sum of shifted copies of the planes, which XLA compiles to one loop over the pixels. The blur also has a compiled kernel.
"""

import math

import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.augment.batching import Augmentation, check_image
from jaxvision.augment.pixels import planar
from jaxvision.augment.random import Parameter, check_parameter, draw, random_apply
from jaxvision.kernels._blur import slid
from jaxvision.typing import Array


def blurred(image: Array, sigma: float | Array, *, kernel_size: int) -> Array:
    """An image [H, W, C] convolved with a Gaussian of ``sigma`` pixels and ``kernel_size`` taps; the border is padded by reflection.

    As torchvision's ``gaussian_blur``. Raises ValueError if the image is too small for the reflection.
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
    """``clip(factor * image + (1 - factor) * smooth, 0, 1)`` of an image [H, W, C]: 0 is smooth, 1 the image, 2 sharp.

    ``smooth`` is the mean of the 3 x 3 neighbours in which the centre counts five times; the outermost pixels stay as they are. As
    torchvision's ``adjust_sharpness``.
    """
    if min(image.shape[:2]) < 3:
        return image

    def sharpen(planes):
        box = jnp.ones(3)
        inner = planes[:, 1:-1, 1:-1]
        smooth = (slid(slid(planes, box, 1), box, 2) + 4 * inner) / 13
        changed = jnp.pad(smooth - inner, ((0, 0), (1, 1), (1, 1)))  # the border stays as it is
        return jnp.clip(planes + (1 - factor) * changed, 0, 1)

    return planar(sharpen)(image)


def gradient(image: Array) -> Array:
    """The gradient magnitude of each channel of an image [H, W, C], per pixel: Sobel's two kernels divided by 8.

    Exact on a linear ramp in any direction. The border is padded by its own values, so the slope across it is halved.
    """

    def slope(planes):
        wide = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
        difference, smooth = jnp.array([-0.5, 0.0, 0.5]), jnp.array([0.25, 0.5, 0.25])
        down = slid(slid(wide, difference, 1), smooth, 2)
        across = slid(slid(wide, smooth, 1), difference, 2)
        return jnp.sqrt(down**2 + across**2)

    return planar(slope)(image)


def gaussian_blur(sigma: Parameter = (0.1, 2.0), *, kernel_size: int | None = None, probability: float = 1.0) -> Augmentation:
    """Convolve with a Gaussian, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    The taps are proportional to exp(-x^2 / (2 sigma^2)) and sum to 1; the border is padded by reflection. ``sigma``: pixels, a number or a
    range (low, high) to draw it from; ``kernel_size``: the number of taps, odd; by default 2 * ceil(3 * largest sigma) + 1.
    Source: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, appendix A.

    Raises ValueError if ``sigma`` is not positive, if the kernel size is even, or if the image is too small for it.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jnp.zeros((9, 9, 1)).at[4, 4].set(1.0)
    >>> [round(float(value), 2) for value in jax.jit(jv.augment.gaussian_blur(1.0))(None, image)[4, 3:6, 0]]
    [0.1, 0.16, 0.1]
    """
    check_parameter("sigma", sigma, low=1e-6)
    kernel_size = 2 * math.ceil(3 * np.max(sigma)) + 1 if kernel_size is None else kernel_size
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size: found {kernel_size}, expected an odd number of taps")

    def apply(key, image):
        return blurred(image, *draw(key, sigma), kernel_size=kernel_size)

    return random_apply(apply, probability)


def sharpness(factor: Parameter, *, probability: float = 1.0) -> Augmentation:
    """Sharpen or smooth, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``clip(factor * image + (1 - factor) * smooth, 0, 1)``, where ``smooth`` is the mean of the 3 x 3 neighbours in which the
    centre counts five times. ``factor``: a number >= 0 or a range (low, high) to draw it from; 0 is smooth, 1 the image, 2 sharp. The
    outermost pixels stay as they are. As torchvision's ``adjust_sharpness``.

    Raises ValueError if ``factor`` is negative.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jnp.zeros((3, 3, 1)).at[1, 1].set(0.5)
    >>> round(float(jax.jit(jv.augment.sharpness(2.0))(None, image)[1, 1, 0]), 3)
    0.808
    """
    check_parameter("factor", factor, low=0)
    return random_apply(lambda key, image: sharpened(image, *draw(key, factor)), probability)


def sobel() -> Augmentation:
    """The gradient magnitude of each channel: ``(key, image [H, W, C]) -> image [H, W, C]``. The key may be None.

    Computes ``sqrt(gx^2 + gy^2)`` with Sobel's kernels divided by 8, so that a ramp of slope s per pixel gives s.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> ramp = jnp.tile(jnp.arange(5.0)[None, :, None], (5, 1, 1)) / 8
    >>> float(jax.jit(jv.augment.sobel())(None, ramp)[2, 2, 0])
    0.125
    """
    return lambda key, image: gradient(image)
