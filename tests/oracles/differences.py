"""Gradients without any rule of differentiation: the imaginary part of a function at a point moved by a tiny imaginary step.

Nothing is subtracted, so nothing cancels (Squire & Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", 1998). The
function must be written for complex numbers: sums, products, exp, log and roots, with every comparison made on real parts.
"""

from collections.abc import Callable

import numpy as np

STEP = 1e-100  # its square is zero in float64


def value_and_slopes(function: Callable, arrays: tuple, which: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The function's value at float64 arrays, and its gradient in those that ``which`` numbers, one entry at a time."""
    arrays = [np.asarray(array) for array in arrays]
    value = np.asarray(function(*arrays))
    slopes = []
    for index in which:
        slope = np.zeros(arrays[index].shape)
        for place in np.ndindex(*slope.shape):
            moved = arrays[index].astype(np.complex128)
            moved[place] += 1j * STEP
            slope[place] = np.imag(function(*arrays[:index], moved, *arrays[index + 1 :])) / STEP
        slopes.append(slope)
    return value.real, slopes
