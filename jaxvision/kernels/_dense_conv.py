"""Dense convolution by compiled kernels on CPU: every output channel is a sum over every input channel."""

from jaxvision.kernels import _primitive, native
from jaxvision.typing import Array

_convolve = _primitive.compiled_convolution("jaxvision_dense", "bijm klmn bpqn")


def compiled(image: Array, kernel: Array) -> bool:
    """Whether the compiled kernels take this convolution."""
    return native.wanted(image, kernel)


def as_compiled(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """The compiled kernels: [B, H, W, C], [kh, kw, C, D] -> [B, h, w, D], float32, where ``compiled`` says so."""
    return _convolve(image, kernel, stride, padding)
