"""Transforms between PyTorch's arrays and ours: reshapes and transpositions, each with its inverse."""

from collections.abc import Callable
from typing import NamedTuple

from jaxvision.typing import Array
from jaxvision.weights.positions import of_patches, of_windows


class Change(NamedTuple):
    """``read(theirs, shape)`` gives our array of that shape, ``write(ours)`` is the exact inverse, ``resize`` resamples position tables."""

    read: Callable[[Array, tuple[int, ...]], Array]
    write: Callable[[Array], Array]
    resize: Callable[[Array, tuple[int, ...], tuple[int, int]], Array] | None = None  # (theirs, shape wanted, grid)


def _moved(axes: tuple[int, ...], back: tuple[int, ...]) -> Change:
    return Change(lambda array, shape: array.transpose(axes), lambda array: array.transpose(back))


def flattened(height: int, width: int) -> Change:
    """The kernel of a dense layer after a flattened map: theirs [D, C h w], ours [h w C, D]."""

    def read(array: Array, shape: tuple[int, ...]) -> Array:
        array = array.reshape(len(array), -1, height, width)  # [D, C, h, w]
        return array.transpose(2, 3, 1, 0).reshape(shape)  # [h w C, D]

    def write(array: Array) -> Array:
        array = array.reshape(height, width, -1, array.shape[-1])  # [h, w, C, D]
        return array.transpose(3, 2, 0, 1).reshape(array.shape[-1], -1)  # [D, C h w]

    return Change(read, write)


def convolved(height: int, width: int) -> Change:
    """The same layer if they store it as a convolution over the whole map: theirs [D, C, h, w], ours [h w C, D]."""

    def write(array: Array) -> Array:
        return array.reshape(height, width, -1, array.shape[-1]).transpose(3, 2, 0, 1)  # [D, C, h, w]

    return Change(lambda array, shape: array.transpose(2, 3, 1, 0).reshape(shape), write)


same = Change(lambda array, shape: array, lambda array: array)
column = Change(lambda array, shape: array.reshape(shape), lambda array: array.reshape(-1, 1, 1))  # ours [C], theirs [C, 1, 1]
channels = Change(lambda array, shape: array.reshape(shape), lambda array: array.reshape(1, 1, 1, -1))  # ours [C], theirs [1, 1, 1, C]
dense_pointwise = Change(lambda array, shape: array.T.reshape(shape), lambda array: array[0, 0].T)  # ours [1, 1, in, out], theirs [out, in]
row = Change(lambda array, shape: array.reshape(array.shape[1:]), lambda array: array[None])  # ours [N, D], theirs [1, N, D]
pointwise = Change(lambda array, shape: array.reshape(shape[::-1]).T, lambda array: array.T[:, :, None, None])  # [in, out], [out, in, 1, 1]
positions = row._replace(resize=of_patches)  # ours [P + h w, D], theirs [1, P + h w, D]
offsets = same._replace(resize=of_windows)  # [(2 w - 1)^2, heads]
_KERNELS = {4: _moved((2, 3, 1, 0), (3, 2, 0, 1)), 2: _moved((1, 0), (1, 0))}  # HWIO and OIHW; [in, out] and [out, in]


def default(leaf: str, rank: int) -> Change:
    """The transform of a leaf whose rule names none: kernels are transposed, everything else stays the same."""
    return _KERNELS.get(rank, same) if leaf == "kernel" else same
