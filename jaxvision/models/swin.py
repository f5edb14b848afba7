"""Swin Transformers (Liu et al., "Hierarchical Vision Transformer using Shifted Windows", 2021), as torchvision builds them.

If the windows do not divide a map, torchvision pads before the shift, timm after it; this is torchvision's order.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import (
    MLP,
    Dense,
    DropPath,
    Head,
    LayerNorm,
    PatchStem,
    WindowAttention,
    check_input,
    drop_path_rates,
    global_mean,
    residual_output,
    sow,
)
from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array, Features

_EPSILON = 1e-5


class Block(nn.Module):
    """Pre-norm residual block of window attention and an MLP."""

    heads: int
    window: int
    shift: int
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        attended = LayerNorm(_EPSILON, self.dtype, name="norm1")(x)
        attended = WindowAttention(self.heads, self.window, self.shift, self.dtype, name="attention")(attended)
        x = residual_output(x + DropPath(self.drop_path_rate)(attended, train=train))
        mixed = LayerNorm(_EPSILON, self.dtype, name="norm2")(x)
        mixed = MLP(4 * x.shape[-1], self.dtype, nn.initializers.xavier_uniform(), nn.initializers.normal(1e-6), name="mlp")(mixed)
        x = residual_output(x + DropPath(self.drop_path_rate)(mixed, train=train))
        sow(self, "tokens", "output", lambda: x)
        return x


class Stage(nn.Module):
    """Blocks of one width; every second block is shifted. All stages but the first begin by merging 2 x 2 positions."""

    heads: int
    window: int
    merging: bool
    drop_path_rates: tuple[float, ...]  # one per block
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if self.merging:
            x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
            x = jnp.concatenate([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], axis=-1)  # [B, h / 2, w / 2, 4 C]
            x = LayerNorm(_EPSILON, self.dtype, name="norm")(x)
            x = Dense(x.shape[-1] // 2, False, self.dtype, truncated_normal(), name="reduce")(x)
        for index, rate in enumerate(self.drop_path_rates):
            shift = index % 2 * (self.window // 2)
            x = Block(self.heads, self.window, shift, rate, self.dtype, name=f"block{index + 1}")(x, train=train)
        return x


class Swin(nn.Module):
    """A patch embedding, four stages, LayerNorm, global average pooling and a linear head."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    num_classes: int = 1000
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = PatchStem(self.width, _EPSILON, self.dtype)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            setattr(self, f"stage{index + 1}", Stage(self.heads[index], self.window, index > 0, rates, self.dtype))
        self.norm = LayerNorm(_EPSILON, self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, truncated_normal(), nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 4 x 4 or larger.

        pooled [B, D]; tokens [B, N, D]: the last map in row order after the norm; maps "stride4" to "stride32", one per stage.
        Raises ValueError for a smaller image, and for ``keep`` or ``mask``, which it does not support.
        """
        check_input("Swin", image, channels=self.in_channels, least=4, keep=keep, mask=mask)
        x, maps = self.stem(image), {}
        for index in range(len(self.depths)):
            x = maps[f"stride{4 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        normed = self.norm(x)
        return Features(global_mean(normed), normed.reshape(len(normed), -1, normed.shape[-1]), maps)  # tokens [B, h w, D]

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Channels of the first stage, blocks and heads of each, side of a window."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7


MODELS = {
    "swin_tiny_patch4_window7_224": Size(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_patch4_window7_224": Size(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_patch4_window7_224": Size(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> Swin:
    """Create a row of ``MODELS``."""
    return Swin(
        *MODELS[name], num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, dtype=dtype, in_channels=in_channels
    )
