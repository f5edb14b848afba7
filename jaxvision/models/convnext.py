"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022) and ConvNeXt V2 (Woo et al., 2023), as torchvision and timm build them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import (
    Conv,
    ConvNextBlock,
    Head,
    LayerNorm,
    PatchStem,
    check_input,
    check_patches,
    drop_path_rates,
    global_mean,
    mask_hidden,
)
from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array, Features, at_least_float32

_INIT = {"kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}


def _visible_positions(mask: Array, image: Array, patch_size: int) -> Array:
    """The visible positions [B, H / p, W / p, 1] of the stem's map, from ``mask`` [B, h, w] (1 = hidden) of images [B, H, W, C]."""
    grid = tuple(side // patch_size for side in image.shape[1:3])
    if mask.ndim != 3 or len(mask) != len(image) or not all(mask.shape) or any(map(int.__mod__, grid, mask.shape[1:])):
        raise ValueError(
            f"mask: found shape {mask.shape}, expected [{len(image)}, h, w], where h and w divide the stem's grid {grid[0]} x {grid[1]}"
        )
    rows, columns = (fine // coarse for fine, coarse in zip(grid, mask.shape[1:], strict=True))
    return jnp.repeat(jnp.repeat(mask == 0, rows, axis=1), columns, axis=2)[..., None]


def _halve(visible: Array) -> Array:
    """Visible positions at half the resolution, [B, h, w, 1] -> [B, h / 2, w / 2, 1]: those with at least one visible position."""
    batch, rows, columns = visible.shape[0], visible.shape[1] // 2, visible.shape[2] // 2
    return visible[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, 1).any(axis=(2, 4))


class Stage(nn.Module):
    """Blocks of one width. All stages but the first begin with a norm and a convolution that halves the resolution.

    ``visible``: the visible positions [B, h, w, 1] of the input and of the output, or None if all are visible.
    """

    width: int
    first: bool
    response: bool
    pointwise: bool
    drop_path_rates: tuple[float, ...]  # one per block
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, visible: tuple[Array, Array] | None = None, *, train: bool) -> Array:
        before, after = visible or (None, None)
        if not self.first:
            x = mask_hidden(LayerNorm(dtype=self.dtype, name="norm")(x), before)
            x = Conv(self.width, 2, 2, dtype=self.dtype, name="conv", **_INIT)(x)
        x = mask_hidden(x, after)
        for index, rate in enumerate(self.drop_path_rates):
            x = ConvNextBlock(self.response, self.pointwise, rate, self.dtype, name=f"block{index + 1}")(x, after, train=train)
        return x


def _visible_mean(x: Array, visible: Array) -> Array:
    """Mean over visible positions [B, C], in at least float32, of x [B, h, w, C], which is zero elsewhere; 0 if none is visible."""
    wide = at_least_float32(x)
    return jnp.sum(wide, axis=(1, 2)) / jnp.maximum(jnp.sum(visible, axis=(1, 2)), 1)


class ConvNeXt(nn.Module):
    """A stem, four stages, global average pooling, LayerNorm and a linear head."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    response: bool  # V2: global response normalization instead of LayerScale
    pointwise: bool  # the kernels of the MLPs are stored as 1 x 1 convolutions
    num_classes: int = 1000
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image
    patch_size: int = 4  # stride of the stem

    def setup(self):
        self.stem = PatchStem(self.widths[0], dtype=self.dtype, patch_size=self.patch_size, **_INIT)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            stage = Stage(self.widths[index], index == 0, self.response, self.pointwise, rates, self.dtype)
            setattr(self, f"stage{index + 1}", stage)
        self.norm = LayerNorm(dtype=self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, **_INIT)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 32 x 32 or larger: pooled [B, D]; maps "stride4" to "stride32", one per stage.

        Strides and smallest size are those of ``patch_size`` 4. ``mask`` [B, h, w] (1 = hidden), whose grid divides that of the stem: maps
        and pooled, which is then the mean over visible positions, do not depend on hidden pixels, and maps are zero at hidden positions. A
        position of a coarser map is visible if any of its pixels is. Raises ValueError for a smaller image, another mask, and ``keep``.
        """
        check_input("ConvNeXt", image, channels=self.in_channels, least=2 ** (len(self.depths) - 1) * self.patch_size, keep=keep)
        visible = None if mask is None else _visible_positions(mask, image, self.patch_size)
        x, maps = self.stem(image), {}
        for index in range(len(self.depths)):
            after = visible if visible is None or not index else _halve(visible)
            seen, visible = (None if mask is None else (visible, after)), after
            x = maps[f"stride{self.patch_size * 2**index}"] = getattr(self, f"stage{index + 1}")(x, seen, train=train)
        pooled = global_mean(x) if visible is None else _visible_mean(x, visible)
        return Features(self.norm(pooled).astype(pooled.dtype), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Blocks and channels of each stage; whether it is V2; whether timm stores its MLPs as 1 x 1 convolutions."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    response: bool = False
    pointwise: bool = False


def _doubling(width: int) -> tuple[int, ...]:
    return tuple(width * 2**stage for stage in range(4))


MODELS = {
    "convnext_tiny": Size((3, 3, 9, 3), _doubling(96)),
    "convnext_small": Size((3, 3, 27, 3), _doubling(96)),
    "convnext_base": Size((3, 3, 27, 3), _doubling(128)),
    "convnext_large": Size((3, 3, 27, 3), _doubling(192)),
    "convnextv2_atto": Size((2, 2, 6, 2), _doubling(40), True, True),
    "convnextv2_femto": Size((2, 2, 6, 2), _doubling(48), True, True),
    "convnextv2_pico": Size((2, 2, 6, 2), _doubling(64), True, True),
    "convnextv2_nano": Size((2, 2, 8, 2), _doubling(80), True, True),
    "convnextv2_tiny": Size((3, 3, 9, 3), _doubling(96), True),
    "convnextv2_base": Size((3, 3, 27, 3), _doubling(128), True),
    "convnextv2_large": Size((3, 3, 27, 3), _doubling(192), True),
    "convnextv2_huge": Size((3, 3, 27, 3), _doubling(352), True),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    patch_size: int = 4,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ConvNeXt:
    """Create a row of ``MODELS``; a stem with ``patch_size`` 1 or 2 instead of 4 suits small images.

    Raises ValueError for a patch size that is not a positive integer.
    """
    check_patches(patch_size, patch_size)
    return ConvNeXt(
        *MODELS[name],
        num_classes=num_classes,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
        in_channels=in_channels,
        patch_size=patch_size,
    )
