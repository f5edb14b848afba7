"""Locally connected layer: a convolution with a separate kernel at each position."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers.initializers import uniform_bias
from jaxvision.typing import Array


class LocallyConnected(nn.Module):
    """Locally connected layer: [B, H, W, C] -> [B, h, w, D], a convolution without weight sharing.

    Parameters: ``kernel`` [h, w, kh, kw, C, D] and ``bias`` [h, w, D]; they fix the image size. If all positions have the same kernel, the
    output is that of ``Conv``. Raises ValueError for an image smaller than the kernel. Source: Taigman et al., "DeepFace", 2014, section 3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, image = jv.layers.LocallyConnected(features=4, kernel_size=3), jax.numpy.ones((1, 8, 8, 3))
    >>> output, variables = layer.init_with_output(jax.random.key(0), image)
    >>> output.shape, variables["params"]["kernel"].shape
    ((1, 6, 6, 4), (6, 6, 3, 3, 3, 4))
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable | None = None  # None: PyTorch's default for the convolution of this fan-in

    @nn.compact
    def __call__(self, image: Array) -> Array:
        size, stride, channels = self.kernel_size, self.stride, image.shape[-1]
        padded = jnp.pad(image, ((0, 0), (self.padding,) * 2, (self.padding,) * 2, (0, 0)))
        rows, columns = ((extent - size) // stride + 1 for extent in padded.shape[1:3])
        if min(rows, columns) < 1:
            raise ValueError(f"image: found shape {image.shape}, smaller than a kernel of {size} x {size}")
        init = uniform_bias(math.prod((size, size, channels)))
        shape = (rows, columns, size, size, channels, self.features)
        kernel = self.param("kernel", self.kernel_init or init, shape, jnp.float32)
        dtype = self.dtype or jnp.promote_types(image.dtype, jnp.float32)
        output = jnp.zeros((len(image), rows, columns, self.features), dtype)
        for down in range(size):
            for right in range(size):
                shifted = padded[:, down : down + stride * rows : stride, right : right + stride * columns : stride]  # [B, h, w, C]
                output += jnp.einsum("bhwc,hwcd->bhwd", shifted[:, :rows, :columns].astype(dtype), kernel[:, :, down, right].astype(dtype))
        if not self.use_bias:
            return output
        return output + self.param("bias", init, (rows, columns, self.features), jnp.float32).astype(dtype)
