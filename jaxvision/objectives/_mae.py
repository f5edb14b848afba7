"""Masked autoencoders, MAE (He et al., 2021): a transformer sees a quarter of the patches, a light decoder predicts the others."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Dense, LayerNorm, TransformerBlock, blocked_grid_position
from jaxvision.objectives import _modules
from jaxvision.objectives._patches import Pictures, draw_kept, kept_count, patchify, picture
from jaxvision.typing import Array, Batch, Key

_XAVIER = nn.initializers.xavier_uniform()


def _select(rows: Array, places: Array) -> Array:
    """The rows of [B, N, D] at ``places`` [B, n]."""
    return jnp.take_along_axis(rows, places[:, :, None], axis=1)  # [B, n, D]


def _hidden_places(mask: Array, count: int) -> Array:
    """The numbers [B, count], in order, of the ``count`` patches that a mask [B, N] hides in each image."""
    return jnp.argsort(-mask, axis=1, stable=True)[:, :count]


class Decoder(nn.Module):
    """Visible tokens [B, n, D] and the class token [B, D] -> a prediction of every ``hidden`` patch [B, m, outputs].

    One learned token replaces all hidden patches. Positions are fixed sines and cosines, zero for the class token. ``keep`` [B, n] and
    ``hidden`` [B, m] are the numbers of the visible and hidden patches. The last block computes only the tokens of hidden patches.
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
        of_hidden = lambda x: _select(x, 1 + hidden)  # noqa: E731
        for index in range(self.depth):
            last = index + 1 == self.depth
            x = TransformerBlock(self.heads, name=f"block{index + 1}", **init)(x, train=train, pick=of_hidden if last else None)
        return Dense(self.outputs, name="predict", **dense)(LayerNorm(dtype=self.dtype, name="norm")(x))


def _decoder(encoder: nn.Module, image: Array, **sizes) -> Decoder:
    return Decoder(encoder.patch_size**2 * image.shape[-1], dtype=getattr(encoder, "dtype", None), **sizes)


def _token_width(encoder: nn.Module, key: Key, image: Array) -> int:
    """The width of an encoder's tokens. Raises ValueError for one without tokens, or that cannot leave some of them out."""
    run = lambda image, **options: encoder.init_with_output(key, image, method="features", **options)  # noqa: E731
    kind, (features, _) = type(encoder).__name__, jax.eval_shape(run, image[:1])
    if features.tokens is None:
        raise ValueError(
            f"encoder: {kind} has no tokens, mae expects a transformer that takes keep=[B, n]; use fcmae for a convolutional net"
        )
    try:
        jax.eval_shape(functools.partial(run, keep=jnp.zeros((1, 1), jnp.int32)), image[:1])
        takes_keep = hasattr(encoder, "patch_size")
    except (TypeError, ValueError):
        takes_keep = False
    if not takes_keep:
        raise ValueError(f"encoder: {kind} cannot leave out patches, mae expects a transformer with patch_size that takes keep=[B, n]")
    return features.tokens.shape[-1]


def _paper_init(key: Key, params: Mapping) -> dict:
    """New parameters of the encoder as the paper initializes them (appendix A): Xavier-uniform kernels, class token N(0, 0.02^2)."""

    def draw(path, leaf: Array) -> Array:
        name = "/".join(step.key for step in path)
        if name.endswith("kernel"):  # the patch embedding is initialized as a linear layer
            return _XAVIER(fold_name(key, name), (math.prod(leaf.shape[:-1]), leaf.shape[-1]), leaf.dtype).reshape(leaf.shape)
        if name.endswith("class_token"):
            return 0.02 * jax.random.normal(fold_name(key, name), leaf.shape, leaf.dtype)
        return leaf

    return jax.tree_util.tree_map_with_path(draw, params)


def _with_position(encoder: nn.Module, params: Mapping, change) -> dict:
    """``params`` with ``change`` applied to ``stem/position``. Raises ValueError for an encoder that has none."""
    if "position" not in params.get("stem", {}):
        kind = type(encoder).__name__
        raise ValueError(f"fixed_position: {kind} has no parameter stem/position; pass fixed_position=False")
    return dict(params) | {"stem": dict(params["stem"]) | {"position": change(params["stem"]["position"])}}


def _fixed_table(encoder: nn.Module, table: Array) -> Array:
    """A position table like ``table`` [P + N, D]: zeros for the first P tokens, sines and cosines of the grid for the N patches."""
    side = encoder.image_size // encoder.patch_size
    grid = blocked_grid_position(side, side, table.shape[-1])
    return jnp.zeros_like(table).at[len(table) - len(grid) :].set(grid)


def _start_encoder(encoder, key: Key, image: Array, given: Mapping, *, fixed_position: bool) -> tuple[dict, dict]:
    """(parameters, running statistics) of the encoder as the paper initializes it, with the leaves of ``given["encoder"]`` reused."""
    fresh, stats = _modules.start_encoder(key, encoder, image)
    fresh = jax.jit(_paper_init)(fold_name(key, "encoder"), fresh)
    if fixed_position:
        fresh = _with_position(encoder, fresh, lambda table: _fixed_table(encoder, table))
    return _modules.with_given("encoder", {"params": fresh, "batch_stats": stats}, given)


def _predict(
    encoder: nn.Module, decoder: Decoder, params: dict, stats: dict, image: Array, *, key: Key, mask_ratio: float, train: bool
) -> tuple:
    """(prediction [B, m, P] of the hidden patches, their places [B, m], mask [B, N], running statistics of the encoder) of images."""
    grid = (image.shape[1] // encoder.patch_size, image.shape[2] // encoder.patch_size)
    count = grid[0] * grid[1]
    kept = kept_count(count, mask_ratio)
    keep, mask = draw_kept(fold_name(key, "mask"), len(image), count, kept)
    hidden = _hidden_places(mask, count - kept)
    key_encoder, key_decoder = fold_name(key, "encoder"), fold_name(key, "decoder")
    features, stats = _modules.encode(encoder, params["encoder"], stats, image, key=key_encoder, train=train, keep=keep)
    inputs = (features.tokens, features.pooled, keep, hidden)
    prediction, _ = _modules.apply(decoder, params["decoder"], {}, *inputs, key=key_decoder, train=train, grid=grid)
    return prediction, hidden, mask, stats


def mae(
    encoder: nn.Module,
    *,
    mask_ratio: float = 0.75,
    depth: int = 8,
    width: int = 512,
    heads: int = 16,
    normalize_target: bool = True,
    fixed_position: bool = True,
) -> Objective:
    """MAE: a transformer sees a random part of each image's patches; a light decoder predicts the pixels of the others.

        L = jv.losses.masked_mse(decoder(encoder(visible patches)), patches, mask)

    Reads ``image``. ``encoder``: a Linen module with ``patch_size`` whose ``features(image, keep)`` gives tokens [B, n, D], and pooled,
    which is the decoder's first token. ``mask_ratio`` of the patches are hidden, drawn for each image. ``normalize_target``: each patch
    is a target less its mean over its standard deviation. ``depth``, ``width``, ``heads``: of the decoder. ``fixed_position``: the
    encoder's positions are sines and cosines and get no gradient from this loss. New parameters are initialized as in the paper; given
    ones, or those shared with a term before this one, stay as they are, positions too. Modules: ``encoder``, ``decoder``. Metric:
    ``loss``; ``mae_reconstruction`` gives images.

    Raises ValueError for an encoder that has no tokens, cannot leave some out or, with ``fixed_position``, has no table of positions, for a
    ``mask_ratio`` that hides no patch or all of them, and where the image is missing.
    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> encoder = jv.create_model("vit_tiny_patch16_224", num_classes=0, image_size=32, patch_size=8)
    >>> objective = jv.objectives.mae(encoder, depth=1, width=16, heads=2)
    >>> sorted(objective.init(jax.random.key(0), {"image": jax.numpy.zeros((2, 32, 32, 3))})[0])
    ['decoder', 'encoder']
    """
    _modules.check_encoder(encoder)
    checks.counts(depth=depth, width=width, heads=heads)
    sizes = {"depth": depth, "width": width, "heads": heads}

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("mae", given, "encoder", "decoder")
        (image,) = _modules.read(batch, "mae", "image", recipe="any source of images")
        width_of_tokens = _token_width(encoder, key, image)
        encoder_params, stats = _start_encoder(encoder, key, image, given, fixed_position=fixed_position)
        params, stats = {"encoder": encoder_params}, _modules.with_stats({}, "encoder", stats)
        grid = (image.shape[1] // encoder.patch_size, image.shape[2] // encoder.patch_size)
        place = jnp.zeros((1, 1), jnp.int32)
        inputs = (jnp.zeros((1, 1, width_of_tokens)), jnp.zeros((1, width_of_tokens)), place, place)
        decoder = _decoder(encoder, image, **sizes)
        params["decoder"], _ = _modules.start("decoder", decoder, key, *inputs, given=given, grid=grid, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        (image,) = _modules.read(batch, "mae", "image", recipe="any source of images")
        if fixed_position:
            params = params | {"encoder": _with_position(encoder, params["encoder"], jax.lax.stop_gradient)}
        decoder, options = _decoder(encoder, image, **sizes), {"key": key, "mask_ratio": mask_ratio, "train": True}
        prediction, hidden, _, stats = _predict(encoder, decoder, params, carry.stats.get("encoder", {}), image, **options)
        target = _select(patchify(image, encoder.patch_size), hidden)
        loss = losses.masked_mse(prediction, target, jnp.ones(hidden.shape), normalize_target=normalize_target)
        return loss, Aux(Carry(_modules.with_stats(carry.stats, "encoder", stats), carry.memory), {"loss": loss})

    return Objective(init, value, unchanged)


@functools.partial(jax.jit, static_argnames=("encoder", "mask_ratio", "heads", "normalize_target", "honest"))
def mae_reconstruction(
    encoder: nn.Module,
    params: dict,
    image: Array,
    *,
    key: Key,
    mask_ratio: float = 0.75,
    heads: int = 16,
    normalize_target: bool = True,
    honest: bool = True,
) -> Pictures:
    """Images [B, H, W, C] masked, reconstructed by an encoder and decoder trained by ``mae``, and unchanged.

    ``params``: ``encoder`` and ``decoder``; ``heads``: of the decoder; ``normalize_target`` as in training. A decoder of normalized patches
    predicts neither brightness nor contrast: ``honest`` takes mean and variance from visible patches near by, ``honest=False`` from the
    hidden patches themselves, as the paper's figures do. The result has the fields ``masked``, ``reconstruction`` and ``original``, each
    [B, H, W, C].

    Raises ValueError as ``mae`` does.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> encoder = jv.create_model("vit_tiny_patch16_224", num_classes=0, image_size=32, patch_size=8)
    >>> image, key = jax.numpy.zeros((2, 32, 32, 3)), jax.random.key(0)
    >>> params, _ = jv.objectives.mae(encoder, depth=1, width=16, heads=2).init(key, {"image": image})
    >>> jv.objectives.mae_reconstruction(encoder, params, image, key=key, heads=2).reconstruction.shape
    (2, 32, 32, 3)
    """
    depth = sum(name.startswith("block") for name in params["decoder"])
    decoder = _decoder(encoder, image, depth=depth, width=params["decoder"]["mask_token"].shape[-1], heads=heads)
    predicted, hidden, mask, _ = _predict(encoder, decoder, params, {}, image, key=key, mask_ratio=mask_ratio, train=False)
    scatter = lambda rows, places: jnp.zeros((mask.shape[1], rows.shape[1]), rows.dtype).at[places].set(rows)  # noqa: E731
    prediction = jax.vmap(scatter)(predicted, hidden)  # [B, N, P]
    return picture(image, prediction, mask, encoder.patch_size, normalize_target=normalize_target, honest=honest)
