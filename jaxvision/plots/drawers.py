"""Functions that a run calls at its end to draw what its method learned: ``jv.train.RunOptions(draw=...)``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxvision.plots._attention import attention
from jaxvision.plots.grids import reconstructions
from jaxvision.typing import Array

Channels = float | tuple[float, ...]  # one number for all channels, or one for each
_MOST_IMAGES = 4


def draw_reconstructions(
    reconstruct: Callable, mean: Channels, std: Channels, *, modes: tuple[str, ...] = ("honest", "oracle")
) -> Callable:
    """A function ``draw(state, image, folder)`` that plots a masked autoencoder's reconstructions, one file for each of ``modes``.

    ``reconstruct(params, image, *, key, honest)`` returns (masked, reconstruction, original), such as ``jv.objectives.mae_reconstruction``
    with its encoder bound. It gets images [n, H, W, C] in [0, 1] normalized by ``mean`` and ``std``, as in training; the plots show the
    images without this normalization. ``draw`` reads ``state.params`` and writes ``reconstruction_<mode>.png``.

    >>> import numpy as np, jaxvision as jv  # slow
    >>> from pathlib import Path; from tempfile import mkdtemp; from types import SimpleNamespace
    >>> copy = lambda params, image, *, key, honest: (image, image, image)  # stands for a network
    >>> draw, folder = jv.plots.draw_reconstructions(copy, 0.5, 0.25, modes=("honest",)), Path(mkdtemp())
    >>> draw(SimpleNamespace(params={}), np.zeros((2, 8, 8, 3)), folder)
    >>> [path.name for path in folder.iterdir()]
    ['reconstruction_honest.png']
    """
    mean_array, std_array = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def draw(state, image: Array, folder: Path) -> None:
        for mode in modes:
            parts = jax.jit(partial(reconstruct, honest=mode == "honest"))(
                state.params, (image - mean_array) / std_array, key=jax.random.key(0)
            )
            masked, reconstruction, original = (np.asarray(part * std_array + mean_array) for part in parts)
            reconstructions(masked, reconstruction, original, folder / f"reconstruction_{mode}.png", mode=mode)

    return draw


def draw_attention(attend: Callable, variables: Callable, mean: Channels, std: Channels, *, scale: int = 2) -> Callable:
    """A function ``draw(state, image, folder)`` that plots the attention of the class token in the last block, one file per image.

    ``attend(variables, image)`` returns [n, L, heads, h, w], such as ``jv.models.class_attention`` with its encoder bound.
    ``variables(state)`` returns what it takes, such as ``jv.train.teacher``, whose attention the paper of DINO shows (Caron et al., 2021,
    figure 1). Images [n, H, W, C] in [0, 1] are enlarged ``scale`` times, normalized by ``mean`` and ``std``, and the first four drawn as
    ``attention_<index>.png``.

    >>> import numpy as np, jaxvision as jv  # slow
    >>> from pathlib import Path; from tempfile import mkdtemp
    >>> uniform = lambda variables, image: np.full((len(image), 1, 3, 2, 2), 0.25)  # stands for a network
    >>> draw, folder = jv.plots.draw_attention(uniform, lambda state: state, 0.5, 0.25), Path(mkdtemp())
    >>> draw({}, np.zeros((1, 8, 8, 3), np.float32), folder)
    >>> [path.name for path in folder.iterdir()]
    ['attention_0.png']
    """
    mean_array, std_array = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def draw(state, image: Array, folder: Path) -> None:
        count, height, width, channels = image.shape
        large = jax.image.resize(image, (count, scale * height, scale * width, channels), "bicubic")
        maps = jax.jit(attend)(variables(state), (large - mean_array) / std_array)[:, -1]  # [n, heads, h, w]
        for index in range(min(_MOST_IMAGES, count)):
            attention(np.clip(large[index], 0, 1), np.asarray(maps[index]), folder / f"attention_{index}.png")

    return draw
