"""Masked autoencoders, MAE (He et al., 2021): a transformer sees a quarter of the patches, a light decoder paints the others."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Dense, LayerNorm, TransformerBlock, blocked_grid_position
from jaxvision.objectives import _modules
from jaxvision.objectives._patches import Pictures, draw_kept, kept_count, patchify, picture
from jaxvision.typing import Array, Batch, Key

_XAVIER = nn.initializers.xavier_uniform()


def _at(rows: Array, places: Array) -> Array:
    """Of rows [B, N, D] those at ``places`` [B, n]."""
    return jnp.take_along_axis(rows, places[:, :, None], axis=1)  # [B, n, D]


def _hidden(mask: Array, count: int) -> Array:
    """Which ``count`` patches of each image a mask [B, N] hides, in their order [B, count]."""
    return jnp.argsort(-mask, axis=1, stable=True)[:, :count]


class Decoder(nn.Module):
    """Visible tokens [B, n, D] and the one of the class [B, D] -> a prediction of every ``hidden`` patch [B, m, outputs].

    A token that all hidden patches share stands in their places; positions are fixed sines and cosines, zero for the class. ``keep``
    [B, n] and ``hidden`` [B, m] say which patches are which. The last block computes no token but those of hidden patches.
    """

    outputs: int
    depth: int = 8
    width: int = 512
    heads: int = 16
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array, first: Array, keep: Array, hidden: Array, *, grid: tuple[int, int], train: bool) -> Array:
        init = {"dtype": self.dtype, "kernel_init": _XAVIER}
        dense = init | {"bias_init": nn.initializers.zeros}
        seen = Dense(self.width, name="embed", **dense)(jnp.concatenate([first[:, None].astype(tokens.dtype), tokens], axis=1))
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, self.width), jnp.float32).astype(seen.dtype)
        blank = jnp.broadcast_to(mask_token, (grid[0] * grid[1], self.width))
        patches = jax.vmap(lambda kept, places: blank.at[places].set(kept))(seen[:, 1:], keep)  # [B, N, W]
        patches = patches + blocked_grid_position(*grid, self.width).astype(seen.dtype)
        x = jnp.concatenate([seen[:, :1], patches], axis=1)
        of_hidden = lambda x: _at(x, 1 + hidden)  # noqa: E731
        for index in range(self.depth):
            last = index + 1 == self.depth
            x = TransformerBlock(self.heads, name=f"block{index + 1}", **init)(x, train=train, pick=of_hidden if last else None)
        return Dense(self.outputs, name="predict", **dense)(LayerNorm(dtype=self.dtype, name="norm")(x))


def _decoder(encoder, image: Array, **sizes) -> Decoder:
    return Decoder(encoder.patch_size**2 * image.shape[-1], dtype=getattr(encoder, "dtype", None), **sizes)


def _encoded_width(encoder, key: Key, image: Array) -> int:
    """The width of an encoder's tokens. Raises ValueError for one that has none, or that cannot leave some of them out."""
    look = lambda image, **options: encoder.init_with_output(key, image, method="features", **options)  # noqa: E731
    kind, (features, _) = type(encoder).__name__, jax.eval_shape(look, image[:1])
    if features.tokens is None:
        raise ValueError(
            f"encoder: {kind} has no tokens, mae expects a transformer that takes keep=[B, n]; use fcmae for a convolutional net"
        )
    try:
        jax.eval_shape(functools.partial(look, keep=jnp.zeros((1, 1), jnp.int32)), image[:1])
        leaves_out = hasattr(encoder, "patch_size")
    except (TypeError, ValueError):
        leaves_out = False
    if not leaves_out:
        raise ValueError(f"encoder: {kind} cannot leave out patches, mae expects a transformer with patch_size that takes keep=[B, n]")
    return features.tokens.shape[-1]


def _drawn_again(key: Key, params: Mapping) -> dict:
    """The encoder's parameters as the paper begins (appendix A): kernels Xavier-uniform, the class token normal of deviation 0.02."""

    def draw(path, leaf: Array) -> Array:
        name = "/".join(step.key for step in path)
        if name.endswith("kernel"):  # that of the patches counts as the linear layer that it is
            return _XAVIER(fold_name(key, name), (math.prod(leaf.shape[:-1]), leaf.shape[-1]), leaf.dtype).reshape(leaf.shape)
        if name.endswith("class_token"):
            return 0.02 * jax.random.normal(fold_name(key, name), leaf.shape, leaf.dtype)
        return leaf

    return jax.tree_util.tree_map_with_path(draw, params)


def _with_position(encoder, params: Mapping, change) -> dict:
    """``params`` with ``change`` of the leaf ``stem/position``. Raises ValueError for an encoder that has none."""
    if "position" not in params.get("stem", {}):
        kind = type(encoder).__name__
        raise ValueError(f"fixed_position: {kind} has no table stem/position that could be fixed; pass fixed_position=False")
    return dict(params) | {"stem": dict(params["stem"]) | {"position": change(params["stem"]["position"])}}


def _fixed_table(encoder, table: Array) -> Array:
    """Sines and cosines of the patches' grid behind a row of zeros for every other token of the ``table`` [P + N, D]."""
    side = encoder.image_size // encoder.patch_size
    grid = blocked_grid_position(side, side, table.shape[-1])
    return jnp.zeros_like(table).at[len(table) - len(grid) :].set(grid)


def _paint(encoder, decoder: Decoder, params: dict, stats: dict, image: Array, *, key: Key, mask_ratio: float, train: bool) -> tuple:
    """(prediction [B, m, P] of the hidden patches, their places [B, m], mask [B, N], running statistics of the encoder) of images."""
    grid = (image.shape[1] // encoder.patch_size, image.shape[2] // encoder.patch_size)
    count = grid[0] * grid[1]
    kept = kept_count(count, mask_ratio)
    keep, mask = draw_kept(fold_name(key, "mask"), len(image), count, kept)
    hidden = _hidden(mask, count - kept)
    key_encoder, key_decoder = fold_name(key, "encoder"), fold_name(key, "decoder")
    features, stats = _modules.encode(encoder, params["encoder"], stats, image, key=key_encoder, train=train, keep=keep)
    inputs = (features.tokens, features.pooled, keep, hidden)
    prediction, _ = _modules.apply(decoder, params["decoder"], {}, *inputs, key=key_decoder, train=train, grid=grid)
    return prediction, hidden, mask, stats


def mae(
    encoder,
    *,
    mask_ratio: float = 0.75,
    depth: int = 8,
    width: int = 512,
    heads: int = 16,
    normalize_target: bool = True,
    fixed_position: bool = True,
) -> Objective:
    """A transformer that sees a random part of each image's patches, and a light decoder that predicts the pixels of the others.

    (He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021.) ``encoder``: a Linen module with ``patch_size`` whose
    ``features(image, keep)`` gives tokens [B, n, D]; pooled, a ViT's class token, is the decoder's first token. ``mask_ratio`` of the
    patches are hidden, drawn for each image; the loss is the mean squared error over the hidden ones, with ``normalize_target`` of each
    patch less its mean over its deviation. ``depth``, ``width`` and ``heads`` are the decoder's.

    ``fixed_position``: the encoder's positions are sines and cosines and get no gradient from this loss. The encoder begins as the paper
    has it; what is given (or shared with a term before this one) stays as it is, positions too. Reads ``image``. Parameters are stored as
    ``encoder`` and ``decoder``. Metric: ``loss``; ``mae_reconstruction`` draws pictures.

    Raises ValueError for an encoder that has no tokens, cannot leave some out or, with ``fixed_position``, has no table of positions, for a
    ``mask_ratio`` that hides none or all of the patches, and when the batch has no image.
    """
    _modules.check_encoder(encoder)
    _modules.positive(depth=depth, width=width, heads=heads)
    sizes = {"depth": depth, "width": width, "heads": heads}

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("mae", given, "encoder", "decoder")
        (image,) = _modules.read(batch, "mae", "image", recipe="any source of images")
        encoded = _encoded_width(encoder, key, image)
        fresh, stats = _modules.start_encoder(key, encoder, image)
        fresh = jax.jit(_drawn_again)(fold_name(key, "encoder"), fresh)
        if fixed_position:
            fresh = _with_position(encoder, fresh, lambda table: _fixed_table(encoder, table))
        encoder_params, stats = _modules.warmed("encoder", {"params": fresh, "batch_stats": stats}, given)
        params, stats = {"encoder": encoder_params}, _modules.with_stats({}, "encoder", stats)
        grid = (image.shape[1] // encoder.patch_size, image.shape[2] // encoder.patch_size)
        place = jnp.zeros((1, 1), jnp.int32)
        seen = (jnp.zeros((1, 1, encoded)), jnp.zeros((1, encoded)), place, place)
        decoder = _decoder(encoder, image, **sizes)
        params["decoder"], _ = _modules.start("decoder", decoder, key, *seen, given=given, grid=grid, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        (image,) = _modules.read(batch, "mae", "image", recipe="any source of images")
        if fixed_position:
            params = params | {"encoder": _with_position(encoder, params["encoder"], jax.lax.stop_gradient)}
        decoder, options = _decoder(encoder, image, **sizes), {"key": key, "mask_ratio": mask_ratio, "train": True}
        prediction, hidden, _, stats = _paint(encoder, decoder, params, carry.stats.get("encoder", {}), image, **options)
        target = _at(patchify(image, encoder.patch_size), hidden)
        loss = losses.masked_mse(prediction, target, jnp.ones(hidden.shape), normalize_target=normalize_target)
        return loss, Aux(Carry(_modules.with_stats(carry.stats, "encoder", stats), carry.memory), {"loss": loss})

    return Objective(init, value, unchanged)


def mae_reconstruction(
    encoder,
    params: dict,
    image: Array,
    *,
    key: Key,
    mask_ratio: float = 0.75,
    heads: int = 16,
    normalize_target: bool = True,
    honest: bool = True,
) -> Pictures:
    """Images [B, H, W, C] masked, reconstructed and as they were, by the ``params`` (``encoder`` and ``decoder``) that ``mae`` trained.

    ``heads`` are the decoder's, ``normalize_target`` as in training. A decoder of normalised patches knows no brightness: ``honest`` takes
    mean and variance from visible patches near by, ``honest=False`` (the oracle mode) from the hidden patches themselves, as the paper's
    figures do. Raises ValueError as ``mae`` does.
    """
    depth = sum(name.startswith("block") for name in params["decoder"])
    decoder = _decoder(encoder, image, depth=depth, width=params["decoder"]["mask_token"].shape[-1], heads=heads)
    found, hidden, mask, _ = _paint(encoder, decoder, params, {}, image, key=key, mask_ratio=mask_ratio, train=False)
    prediction = jax.vmap(lambda rows, places: jnp.zeros((mask.shape[1], rows.shape[1]), rows.dtype).at[places].set(rows))(found, hidden)
    return picture(image, prediction, mask, encoder.patch_size, normalize_target=normalize_target, honest=honest)
