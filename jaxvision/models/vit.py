"""Vision Transformers (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021), as timm builds them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import MLP, Conv, Dense, Dropout, DropPath, LayerNorm, SelfAttention, check_input, resize_position
from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array, Features


class Stem(nn.Module):
    """Patches, the class token and positions: image [B, H, W, C] -> tokens [B, 1 + N, D]."""

    width: int
    patch_size: int
    grid: tuple[int, int]  # of the learned table
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, keep: Array | None) -> Array:
        patches = Conv(self.width, self.patch_size, self.patch_size, dtype=self.dtype, name="patch")(image)
        batch, height, width, features = patches.shape
        table = self.param("position", truncated_normal(), (1 + self.grid[0] * self.grid[1], features))
        tokens = patches.reshape(batch, height * width, features)  # [B, N, D]
        tokens = tokens + resize_position(table[1:], self.grid, (height, width)).astype(tokens.dtype)
        if keep is not None:
            tokens = jnp.take_along_axis(tokens, keep[:, :, None], axis=1)  # [B, n, D]
        token = self.param("class_token", nn.initializers.normal(1e-6), (1, features)) + table[:1]
        return jnp.concatenate([jnp.broadcast_to(token.astype(tokens.dtype), (batch, 1, features)), tokens], axis=1)


class Block(nn.Module):
    """Attention and perceptron, each behind a norm and beside a shortcut."""

    heads: int
    hidden: int
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        attended = LayerNorm(dtype=self.dtype, name="norm1")(tokens)
        attended = SelfAttention(self.heads, self.dtype, name="attention")(attended)
        tokens = tokens + DropPath(self.drop_path_rate)(attended, train=train)
        mixed = LayerNorm(dtype=self.dtype, name="norm2")(tokens)
        mixed = MLP(self.hidden, self.dtype, name="mlp")(mixed)
        return tokens + DropPath(self.drop_path_rate)(mixed, train=train)


class ViT(nn.Module):
    """A stem of patches, equal blocks, a norm and a linear head on the class token or on the mean of the patches."""

    width: int
    depth: int
    heads: int
    patch_size: int
    image_size: int
    num_classes: int = 1000
    pool: str = "token"
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None

    def setup(self):
        side = self.image_size // self.patch_size
        self.stem = Stem(self.width, self.patch_size, (side, side), self.dtype)
        for index in range(self.depth):
            rate = self.drop_path_rate * index / max(self.depth - 1, 1)
            setattr(self, f"block{index + 1}", Block(self.heads, 4 * self.width, rate, self.dtype))
        self.norm = LayerNorm(dtype=self.dtype)
        self.dropout = Dropout(self.drop_rate)
        if self.num_classes:
            self.head = Dense(self.num_classes, dtype=self.dtype, kernel_init=truncated_normal(), bias_init=nn.initializers.zeros)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C] of any size that ``patch_size`` divides.

        pooled [B, D]: the class token after the norm, or the norm of the mean patch (``pool="mean"``, timm's arrangement). tokens
        [B, N, D]: the patches in row order after the norm. ``keep`` [B, n] int: only these patches are seen, and tokens are [B, n, D].
        Raises ValueError for another image size, and for ``mask``, which is for convolutional nets.
        """
        if mask is not None:
            raise ValueError("mask: a ViT leaves patches out by keep=[B, n], the indices of those it sees")
        check_input("ViT", image)
        if not all(image.shape[1:3]) or image.shape[1] % self.patch_size or image.shape[2] % self.patch_size:
            raise ValueError(f"image: found shape {image.shape}, ViT expects H and W divisible by patch_size={self.patch_size}")
        if keep is not None and (keep.ndim != 2 or len(keep) != len(image) or not jnp.issubdtype(keep.dtype, jnp.integer)):
            raise ValueError(f"keep: found {keep.dtype} {keep.shape}, expected integers [{len(image)}, n]: patches each image keeps")
        tokens = self.stem(image, keep)
        for index in range(self.depth):
            tokens = getattr(self, f"block{index + 1}")(tokens, train=train)
        normed = self.norm(tokens)
        pooled = normed[:, 0] if self.pool == "token" else self.norm(jnp.mean(tokens[:, 1:], axis=1))
        return Features(pooled.astype(jnp.promote_types(pooled.dtype, jnp.float32)), normed[:, 1:], {})

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] where ``num_classes`` is 0."""
        pooled = self.features(image, train=train).pooled
        if not self.num_classes:
            return pooled
        return self.head(self.dropout(pooled, train=train)).astype(jnp.float32)


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
}
PATCHES = {  # size: (patch size, image size) of each form
    "tiny": ((16, 224), (16, 384)),
    "small": ((8, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "base": ((8, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "large": ((14, 224), (16, 224), (16, 384), (32, 224), (32, 384)),
    "huge": ((14, 224),),
}
MODELS = {f"vit_{size}_patch{patch}_{image}": (SIZES[size], patch, image) for size, forms in PATCHES.items() for patch, image in forms}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    image_size: int | None = None,
    patch_size: int | None = None,
    pool: str = "token",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ViT:
    """A row of the table, with another ``image_size`` (that its table of positions is learned for) or ``patch_size`` on request.

    ``pool``: "token" or "mean". Raises ValueError for another pool, or a patch size that does not divide the image size.
    """
    size, patch, image = MODELS[name]
    patch = patch if patch_size is None else patch_size
    image = image if image_size is None else image_size
    if pool not in ("token", "mean"):
        raise ValueError(f"pool: found {pool!r}, expected 'token' or 'mean'")
    for option, value in (("patch_size", patch), ("image_size", image)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{option}: found {value!r}, expected a positive integer")
    if image % patch:
        raise ValueError(f"patch_size: {patch} does not divide image_size={image}")
    return ViT(
        *size,
        patch_size=patch,
        image_size=image,
        num_classes=num_classes,
        pool=pool,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )
