"""MLP-Mixer (Tolstikhin et al., 2021) and gMLP (Liu et al., "Pay Attention to MLPs", 2021), as timm builds them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers import (
    MLP,
    Conv,
    Dense,
    DropPath,
    Head,
    LayerNorm,
    check_input,
    check_patches,
    drop_path_rates,
    global_mean,
    residual_output,
    sow,
)
from jaxvision.layers.initializers import fan_in_scaled
from jaxvision.typing import Array, Features

_INIT = {"kernel_init": nn.initializers.xavier_uniform(), "bias_init": nn.initializers.normal(1e-6)}


class MixerBlock(nn.Module):
    """Residual MLP over the positions of each channel, then over the channels of each position, each after LayerNorm."""

    hidden: int  # of the MLP over channels; that over positions has half the width
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        mixed = LayerNorm(dtype=self.dtype, name="norm1")(tokens).swapaxes(1, 2)  # [B, D, N]
        mixed = MLP(tokens.shape[-1] // 2, self.dtype, **_INIT, name="mlp_tokens")(mixed).swapaxes(1, 2)  # [B, N, D]
        tokens = residual_output(tokens + DropPath(self.drop_path_rate)(mixed, train=train))
        mixed = LayerNorm(dtype=self.dtype, name="norm2")(tokens)
        mixed = MLP(self.hidden, self.dtype, **_INIT, name="mlp_channels")(mixed)
        tokens = residual_output(tokens + DropPath(self.drop_path_rate)(mixed, train=train))
        sow(self, "tokens", "output", lambda: tokens)
        return tokens


class GatedBlock(nn.Module):
    """Residual MLP with a spatial gating unit: half of the units, after a linear map over positions, multiply the other half."""

    hidden: int
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        normed = LayerNorm(dtype=self.dtype, name="norm")(tokens)
        hidden = kernels.gelu(Dense(self.hidden, dtype=self.dtype, **_INIT, name="expand")(normed))
        hidden, gate = jnp.split(hidden, 2, axis=-1)
        gate = LayerNorm(1e-5, self.dtype, name="gate_norm")(gate).swapaxes(1, 2)  # [B, hidden / 2, N]
        init = {"kernel_init": nn.initializers.normal(1e-6), "bias_init": nn.initializers.ones}
        gate = Dense(tokens.shape[1], dtype=self.dtype, **init, name="gate")(gate).swapaxes(1, 2)  # [B, N, hidden / 2]
        mixed = Dense(tokens.shape[-1], dtype=self.dtype, **_INIT, name="contract")(hidden * gate)
        tokens = residual_output(tokens + DropPath(self.drop_path_rate)(mixed, train=train))
        sow(self, "tokens", "output", lambda: tokens)
        return tokens


class Stem(nn.Module):
    """Patches: image [B, H, W, C] -> tokens [B, N, D]."""

    width: int
    patch_size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": fan_in_scaled(), "bias_init": nn.initializers.zeros}
        patches = Conv(self.width, self.patch_size, self.patch_size, name="patch", **options)(image)
        return patches.reshape(len(patches), -1, self.width)  # [B, N, D]


class Mixer(nn.Module):
    """A patch embedding, equal blocks, LayerNorm, global average pooling and a linear head."""

    width: int
    depth: int
    patch_size: int
    gated: bool
    image_size: int = 224
    num_classes: int = 1000
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = Stem(self.width, self.patch_size, self.dtype)
        for index, rate in enumerate(drop_path_rates(self.drop_path_rate, (self.depth,))[0]):
            block = GatedBlock(6 * self.width, rate, self.dtype) if self.gated else MixerBlock(4 * self.width, rate, self.dtype)
            setattr(self, f"block{index + 1}", block)
        self.norm = LayerNorm(dtype=self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, nn.initializers.zeros, nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, image_size, image_size, C]: pooled [B, D]; tokens [B, N, D] in row order, after the norm.

        Raises ValueError for another image size, because the MLPs over positions are for one number of them, and for ``keep`` or ``mask``.
        """
        check_input("Mixer", image, channels=self.in_channels, keep=keep, mask=mask)
        side = self.image_size
        if image.shape[1:3] != (side, side):
            raise ValueError(
                f"image: found shape {image.shape}, this Mixer expects [B, {side}, {side}, C]; pass image_size to create_model"
            )
        tokens = self.stem(image)
        for index in range(self.depth):
            tokens = getattr(self, f"block{index + 1}")(tokens, train=train)
        tokens = self.norm(tokens)
        return Features(global_mean(tokens[:, None]), tokens, {})  # [B, 1, N, D]

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Width of the tokens, number of blocks, side of a patch, and whether it is gMLP."""

    width: int
    depth: int
    patch_size: int
    gated: bool = False


MODELS = {
    "mixer_s32_224": Size(512, 8, 32),
    "mixer_s16_224": Size(512, 8, 16),
    "mixer_b32_224": Size(768, 12, 32),
    "mixer_b16_224": Size(768, 12, 16),
    "mixer_l32_224": Size(1024, 24, 32),
    "mixer_l16_224": Size(1024, 24, 16),
    "gmlp_ti16_224": Size(128, 30, 16, True),
    "gmlp_s16_224": Size(256, 30, 16, True),
    "gmlp_b16_224": Size(512, 30, 16, True),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    image_size: int = 224,
    patch_size: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> Mixer:
    """Create a row of ``MODELS``, for one ``image_size``. Raises ValueError if ``patch_size`` does not divide it."""
    size = MODELS[name]
    size = size if patch_size is None else size._replace(patch_size=patch_size)
    check_patches(image_size, size.patch_size)
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    return Mixer(*size, image_size=image_size, num_classes=num_classes, dtype=dtype, in_channels=in_channels, **rates)
