"""Vision Transformers (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021), as timm builds them.

The distilled variant is DeiT's (Touvron et al., 2021); the variant with LayerScale, registers and SwiGLU is DINOv2's (Oquab et al., 2023;
Darcet et al., "Vision Transformers Need Registers", 2024).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import checks
from jaxvision.layers import (
    Conv,
    Head,
    LayerNorm,
    TransformerBlock,
    check_input,
    check_patches,
    drop_path_rates,
    resize_position,
    scan_blocks,
)
from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array, Features, at_least_float32

_RECORDED = ("attention", "tokens", "intermediates")  # collections in which each block records values


class Form(NamedTuple):
    """Options of a Vision Transformer: DeiT's second token and head, number of registers, initial value of LayerScale (0: none), SwiGLU,
    blocks as one ``layers.scan_blocks``.

    With registers, only the patches have learned positions.
    """

    distilled: bool = False
    registers: int = 0
    layer_scale: float = 0.0
    gated: bool = False
    scan: bool = False

    def __repr__(self) -> str:
        """Without ``scan``, which does not change the network: a run may resume with another value."""
        return f"Form({', '.join(f'{name}={value!r}' for name, value in self._asdict().items() if name != 'scan')})"

    @property
    def prefix(self) -> int:
        """The number of tokens before the patches."""
        return 1 + self.distilled + self.registers


class Stem(nn.Module):
    """Patch embedding with positions, preceded by class, distillation and register tokens: image [B, H, W, C] -> tokens [B, P + N, D]."""

    width: int
    patch_size: int
    grid: tuple[int, int]  # of the learned table
    form: Form = Form()
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, keep: Array | None) -> Array:
        patches = Conv(self.width, self.patch_size, self.patch_size, dtype=self.dtype, name="patch")(image)
        batch, height, width, features = patches.shape
        placed = 0 if self.form.registers else self.form.prefix  # tokens before the patches that have a position
        table = self.param("position", truncated_normal(), (placed + self.grid[0] * self.grid[1], features))
        tokens = patches.reshape(batch, height * width, features)  # [B, N, D]
        tokens = tokens + resize_position(table[placed:], self.grid, (height, width)).astype(tokens.dtype)
        if keep is not None:
            tokens = jnp.take_along_axis(tokens, keep[:, :, None], axis=1)  # [B, n, D]
        first = [self.param("class_token", nn.initializers.normal(1e-6), (1, features))]
        if self.form.distilled:
            first.append(self.param("distillation_token", truncated_normal(), (1, features)))
        if self.form.registers:
            first.append(self.param("registers", nn.initializers.normal(1e-6), (self.form.registers, features)))
        first = jnp.concatenate(first)  # [P, D]
        first = first + table[:placed] if placed else first
        return jnp.concatenate([jnp.broadcast_to(first.astype(tokens.dtype), (batch, *first.shape)), tokens], axis=1)


class DistilledHead(nn.Module):
    """DeiT's two heads: the mean of their logits [B, K]; in training the logits of the first, and those of the second are sown."""

    num_classes: int
    drop_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, token: Array, distillation: Array, *, train: bool) -> Array:
        options = (self.num_classes, self.drop_rate, self.dtype, truncated_normal(), nn.initializers.zeros)
        logits = Head(*options, name="token")(token, train=train)
        distilled = Head(*options, name="distillation")(distillation, train=train)
        if not train:
            return (logits + distilled) / 2
        if not self.is_initializing():
            self.sow("auxiliary", "logits", distilled)
        return logits


def _check_scan(form: Form, drop_path_rate: float) -> None:
    if form.scan and drop_path_rate:
        raise ValueError(f"scan: found True with drop_path_rate={drop_path_rate}, expected drop_path_rate=0: scanned blocks must be equal")


class ViT(nn.Module):
    """A patch embedding, equal blocks, LayerNorm and a linear head on the class token or on the mean of the patches."""

    width: int
    depth: int
    heads: int
    patch_size: int
    image_size: int
    form: Form = Form()
    num_classes: int = 1000
    pool: str = "token"
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        form, side = Form(*self.form), self.image_size // self.patch_size
        _check_scan(form, self.drop_path_rate)
        self.stem = Stem(self.width, self.patch_size, (side, side), form, self.dtype)
        for index, rate in enumerate(drop_path_rates(self.drop_path_rate, (self.depth,))[0]):
            setattr(self, f"block{index + 1}", TransformerBlock(self.heads, form.layer_scale, form.gated, rate, self.dtype))
        self.norm = LayerNorm(dtype=self.dtype)
        if form.distilled and self.num_classes:
            self.head = DistilledHead(self.num_classes, self.drop_rate, self.dtype)
        else:
            self.head = Head(self.num_classes, self.drop_rate, self.dtype, truncated_normal(), nn.initializers.zeros)

    def _tokens(self, image: Array, keep: Array | None, *, train: bool, count: int | None = None) -> Array:
        """Tokens before the last norm [B, P + N, D]; with ``count`` the last block may return only the first ``count`` tokens."""
        check_input("ViT", image, channels=self.in_channels)
        if not all(image.shape[1:3]) or image.shape[1] % self.patch_size or image.shape[2] % self.patch_size:
            raise ValueError(f"image: found shape {image.shape}, ViT expects H and W divisible by patch_size={self.patch_size}")
        if keep is not None and (keep.ndim != 2 or len(keep) != len(image) or not jnp.issubdtype(keep.dtype, jnp.integer)):
            raise ValueError(f"keep: found {keep.dtype} {keep.shape}, expected integers [{len(image)}, n], the patches to keep")
        tokens = self.stem(image, keep)
        blocks = [getattr(self, f"block{index + 1}") for index in range(self.depth)]
        recorded = self.is_initializing() or any(map(self.is_mutable_collection, _RECORDED))
        if Form(*self.form).scan and not recorded:
            return scan_blocks(blocks, tokens, train=train)
        pick = None if recorded or count is None else lambda tokens: tokens[:, :count]
        for index, block in enumerate(blocks):
            tokens = block(tokens, train=train, pick=pick if index + 1 == len(blocks) else None)
        return tokens

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C] of any size that ``patch_size`` divides.

        pooled [B, D]: the class token after the norm (DeiT: the mean of both tokens), or the norm of the mean patch (``pool="mean"``,
        timm's arrangement). tokens [B, N, D]: the patches in row order after the norm. ``keep`` [B, n] int: use only these patches, so
        that tokens are [B, n, D]. Raises ValueError for another image size, and for ``mask``, which is for convolutional networks.
        """
        if mask is not None:
            raise ValueError("mask: a ViT does not support it, expected None; keep=[B, n] selects the patches to keep")
        tokens, prefix = self._tokens(image, keep, train=train), Form(*self.form).prefix
        normed = self.norm(tokens)
        pooled = self.norm(jnp.mean(tokens[:, prefix:], axis=1)) if self.pool == "mean" else self._read(normed)
        return Features(at_least_float32(pooled), normed[:, prefix:], {})

    def _read(self, normed: Array) -> Array:
        """The class token after the norm; DeiT: the mean of both tokens."""
        return (normed[:, 0] + normed[:, 1]) / 2 if Form(*self.form).distilled else normed[:, 0]

    def _first(self, image: Array, *, train: bool) -> Array:
        """The tokens of the classifier after the norm, [B, 1, D]; DeiT's two [B, 2, D]."""
        count = 1 + Form(*self.form).distilled
        return self.norm(self._tokens(image, None, train=train, count=count))[:, :count]  # [B, count, D]

    def pooled(self, image: Array, *, train: bool = False) -> Array:
        """``features(image).pooled`` [B, D] alone. If that is the class token, the last block computes only this token: 7 % of ViT-S/16.

        It computes all tokens with ``scan``, if the caller records attention or tokens, or in a subclass that overrides ``features``.
        """
        if self.pool == "mean" or type(self).features is not ViT.features:
            return self.features(image, train=train).pooled
        return at_least_float32(self._read(self._first(image, train=train)))

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        if self.num_classes and Form(*self.form).distilled:
            first = self._first(image, train=train)
            return self.head(first[:, 0], first[:, 1], train=train)
        return self.head(self.pooled(image, train=train), train=train)


class Size(NamedTuple):
    """Width of the tokens, number of blocks, heads of each."""

    width: int
    depth: int
    heads: int


SIZES = {
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),
    "giant": Size(1536, 40, 24),
}
PATCHES = {  # size: (patch size, image size) of each variant
    "tiny": ((16, 224), (16, 384)),
    "small": ((8, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "base": ((8, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "large": ((14, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "huge": ((14, 224),),
}
DISTILLED = (("tiny", 224), ("small", 224), ("base", 224), ("base", 384))
DINO = {"dinov2": 0, "reg4_dinov2": 4}  # registers
MODELS = {
    **{f"vit_{size}_patch{patch}_{image}": (SIZES[size], patch, image, Form()) for size in PATCHES for patch, image in PATCHES[size]},
    **{f"deit_{size}_distilled_patch16_{image}": (SIZES[size], 16, image, Form(distilled=True)) for size, image in DISTILLED},
    **{
        f"vit_{size}_patch14_{suffix}": (SIZES[size], 14, 518, Form(registers=registers, layer_scale=1e-5, gated=size == "giant"))
        for suffix, registers in DINO.items()
        for size in ("small", "base", "large", "giant")
    },
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    pool: str = "token",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
    scan: bool = False,
) -> ViT:
    """Create a row of ``MODELS``, optionally with another ``image_size``, for which the positions are learned, or ``patch_size``.

    ``pool``: "token" or "mean". ``scan``: the blocks are one scan, whose body is compiled once; not with ``drop_path_rate``. Raises
    ValueError for another pool, or a patch size that does not divide the image size.
    """
    size, patch, image, form = MODELS[name]
    patch = patch if patch_size is None else patch_size
    image = image if image_size is None else image_size
    checks.one_of("pool", pool, ("token", "mean"))
    if form.distilled and pool == "mean":
        raise ValueError(f"pool: found 'mean', expected 'token': {name} classifies from its two tokens")
    check_patches(image, patch)
    form = form._replace(scan=scan)
    _check_scan(form, drop_path_rate)
    return ViT(
        *size,
        patch_size=patch,
        image_size=image,
        form=form,
        num_classes=num_classes,
        pool=pool,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
        in_channels=in_channels,
    )
