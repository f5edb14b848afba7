"""Images as sequences of patches: cutting and joining them, drawing which are hidden, and images of a reconstruction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Key


def patchify(image: Array, patch_size: int) -> Array:
    """Images [B, H, W, C] as patches in row order [B, N, p p C], the pixels of each in the order row, column, channel.

    ``patch_size`` p must divide H and W; N = (H / p) (W / p). Raises ValueError for another rank or size.
    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.objectives.patchify(jnp.arange(16).reshape(1, 4, 4, 1), 2)[0, 0].tolist()
    [0, 1, 4, 5]
    """
    if image.ndim != 4 or image.shape[1] % patch_size or image.shape[2] % patch_size:
        raise ValueError(f"image: found shape {image.shape}, expected [B, H, W, C] with H and W divisible by patch_size={patch_size}")
    batch, rows, columns, channels = image.shape[0], image.shape[1] // patch_size, image.shape[2] // patch_size, image.shape[3]
    cells = image.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)  # [B, N, p p C]


def unpatchify(patches: Array, patch_size: int, grid: tuple[int, int]) -> Array:
    """The inverse of ``patchify``: patches [B, N, p p C] of a ``grid`` (rows, columns) as images [B, rows p, columns p, C].

    Raises ValueError where the patches do not fit ``patch_size`` p and ``grid``.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jnp.arange(16).reshape(1, 4, 4, 1)
    >>> bool((jv.objectives.unpatchify(jv.objectives.patchify(image, 2), 2, (2, 2)) == image).all())
    True
    """
    rows, columns = grid
    if patches.ndim != 3 or patches.shape[1] != rows * columns or patches.shape[2] % patch_size**2:
        wanted = f"[B, {rows * columns}, {patch_size}^2 C]"
        raise ValueError(f"patches: found shape {patches.shape}, expected {wanted} for a grid of {rows} x {columns}")
    cells = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(len(patches), rows * patch_size, columns * patch_size, -1)  # [B, H, W, C]


def kept_count(count: int, mask_ratio: float) -> int:
    """The number of visible patches: count (1 - mask_ratio), rounded. Raises ValueError where that is none or all of them."""
    kept = round(count * (1 - mask_ratio))
    if not 0 < kept < count:
        raise ValueError(
            f"mask_ratio: found {mask_ratio}, which leaves {kept} of {count} patches visible, expected at least one of each; "
            "take another ratio, smaller patches or larger images"
        )
    return kept


def draw_kept(key: Key, batch: int, count: int, kept: int) -> tuple[Array, Array]:
    """(numbers [B, kept] of the visible patches, mask [B, count] float, 1 where hidden), drawn for each example by its global position."""
    keys = axis.example_keys(key, batch)
    keep = jax.vmap(lambda key: jax.random.permutation(key, count)[:kept])(keys)
    return keep, jax.vmap(lambda places: jnp.ones(count).at[places].set(0))(keep)


class Pictures(NamedTuple):
    """The input, output and target of a masked autoencoder as images, each [B, H, W, C]."""

    masked: Array  # hidden patches have the mean of the visible pixels
    reconstruction: Array  # visible patches as they were
    original: Array


def _visible_neighbour_mean(values: Array, hidden: Array, grid: tuple[int, int]) -> Array:
    """For every patch the mean of ``values`` [B, N, 1] over the visible patches, weighted by exp(-d^2 / 2) at a distance of d patches."""
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, grid), indexing="ij"), axis=-1).reshape(-1, 2)  # [N, 2]
    nearness = -jnp.sum(jnp.square(places[:, None] - places), axis=-1) / 2  # [N, N]
    weights = jax.nn.softmax(nearness, axis=-1, where=~hidden[:, None, :, 0])  # [B, N, N]
    return weights @ jnp.where(hidden, 0, values)


def picture(image: Array, prediction: Array, mask: Array, patch_size: int, *, normalize_target: bool, honest: bool) -> Pictures:
    """Images of a prediction [B, N, p p C] for the patches of images [B, H, W, C] that ``mask`` [B, N] hides.

    A prediction of normalized patches needs means and variances to become pixels. ``honest`` takes those of the visible patches near by;
    otherwise they are those of each hidden patch, which are unknown outside of an evaluation.
    """
    patches, hidden = patchify(image, patch_size), mask[..., None] > 0
    mean, variance = jnp.mean(patches, axis=-1, keepdims=True), jnp.var(patches, axis=-1, ddof=1, keepdims=True)  # [B, N, 1]
    grid = (image.shape[1] // patch_size, image.shape[2] // patch_size)
    grey = jnp.mean(mean, axis=1, keepdims=True, where=~hidden)  # [B, 1, 1]
    if normalize_target:
        if honest:
            mean, variance = (_visible_neighbour_mean(values, hidden, grid) for values in (mean, variance))
        prediction = prediction * jnp.sqrt(variance + 1e-6) + mean
    masked, reconstruction = (unpatchify(jnp.where(hidden, fill, patches), patch_size, grid) for fill in (grey, prediction))
    return Pictures(masked, reconstruction, image)
