"""Fully convolutional masked autoencoders, FCMAE (Woo et al., "ConvNeXt V2", 2023): masked images for convolutional nets."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Conv, ConvNextBlock, initializers
from jaxvision.objectives import _modules
from jaxvision.objectives._patches import Pictures, draw_kept, kept_count, patchify, picture
from jaxvision.typing import Array, Batch, Features, Key


class Decoder(nn.Module):
    """The last map [B, h, w, C] and its mask [B, h, w] -> a prediction of every patch [B, h w, outputs].

    One learned token replaces the hidden places; ConvNeXt V2 blocks and a prediction layer follow.
    """

    outputs: int
    width: int = 512
    depth: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, last: Array, mask: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "kernel_init": initializers.truncated_normal(), "bias_init": nn.initializers.zeros}
        x = Conv(self.width, 1, name="project", **options)(last)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, self.width), jnp.float32).astype(x.dtype)
        x = jnp.where(mask[..., None] > 0, mask_token, x)
        for index in range(self.depth):
            x = ConvNextBlock(response=True, dtype=self.dtype, name=f"block{index + 1}")(x, train=train)
        predicted = Conv(self.outputs, 1, name="predict", **options)(x)
        return predicted.reshape(len(x), -1, self.outputs)  # [B, h w, outputs]


def _last_map(features: Features) -> Array:
    """The map [B, h, w, C] of the lowest resolution."""
    return min(features.maps.values(), key=lambda leaf: leaf.shape[1] * leaf.shape[2])


def _patches_of(encoder: nn.Module, image: Array) -> tuple[int, tuple[int, ...]]:
    """(side of the pixel patch that one place of the last map covers, shape of that map) for images.

    Raises ValueError for an encoder without maps, or where the stride of the last map does not divide H and W.
    """
    run = lambda image: encoder.init_with_output(jax.random.key(0), image, method="features")  # noqa: E731
    features, _ = jax.eval_shape(run, image)
    if not features.maps:
        raise ValueError(f"encoder: {type(encoder).__name__} has no maps, fcmae expects a convolutional net; use mae for a transformer")
    shape = _last_map(features).shape
    side = image.shape[1] // shape[1]
    if (shape[1] * side, shape[2] * side) != image.shape[1:3]:
        raise ValueError(f"image: found shape {image.shape}, whose H and W are no multiples of the stride of the last map {shape}")
    return side, shape


def _decoder(encoder: nn.Module, side: int, image: Array, **sizes) -> Decoder:
    return Decoder(side**2 * image.shape[-1], dtype=getattr(encoder, "dtype", None), **sizes)


def _predict(
    encoder: nn.Module, decoder: Decoder, params: dict, stats: dict, image: Array, *, key: Key, mask_ratio: float, train: bool, grid
):
    """(prediction [B, N, P], mask [B, N], running statistics of the encoder) of images, N places on the ``grid`` of the last map."""
    count = grid[0] * grid[1]
    _, mask = draw_kept(fold_name(key, "mask"), len(image), count, kept_count(count, mask_ratio))
    places = mask.reshape(len(image), *grid)  # [B, h, w]
    key_encoder, key_decoder = fold_name(key, "encoder"), fold_name(key, "decoder")
    features, stats = _modules.encode(encoder, params["encoder"], stats, image, key=key_encoder, train=train, mask=places)
    prediction, _ = _modules.apply(decoder, params["decoder"], {}, _last_map(features), places, key=key_decoder, train=train)
    return prediction, mask, stats


def fcmae(encoder: nn.Module, *, mask_ratio: float = 0.6, width: int = 512, depth: int = 1, normalize_target: bool = True) -> Objective:
    """FCMAE: a convolutional network sees part of each image; a decoder of one block predicts the pixels of the rest.

        L = jv.losses.masked_mse(decoder(encoder(image, mask)), patches, mask)

    Reads ``image``. ``encoder``: a Linen module whose ``features(image, mask=[B, h, w])`` does not see hidden pixels: ConvNeXt. A patch
    is what one place of its last map covers: 32 x 32 pixels at ``patch_size`` 4; for images of 32 x 32, ``patch_size`` 1 gives patches
    of 8 x 8. ``mask_ratio`` of the patches are hidden, drawn for each image. ``normalize_target``: each patch is a target less its mean
    over its standard deviation. ``width``, ``depth``: of the decoder. All kernels are initialized from a normal distribution of
    deviation 0.02. Modules: ``encoder``, ``decoder``. Metric: ``loss``; ``fcmae_reconstruction`` gives images.

    Raises ValueError for an encoder without maps or masks, images that the last map's stride does not divide, a ``mask_ratio`` that
    hides no patch or all of them, and where the image is missing.
    Source: Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", 2023, section 3.1.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> encoder = jv.create_model("convnextv2_atto", num_classes=0, patch_size=1)
    >>> params, carry = jv.objectives.fcmae(encoder, width=8).init(jax.random.key(0), {"image": jax.numpy.zeros((2, 32, 32, 3))})
    >>> sorted(params)
    ['decoder', 'encoder']
    """
    _modules.check_encoder(encoder)
    checks.counts(width=width, depth=depth)
    sizes = {"width": width, "depth": depth}

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("fcmae", given, "encoder", "decoder")
        (image,) = _modules.read(batch, "fcmae", "image", recipe="any source of images")
        side, shape = _patches_of(encoder, image)
        places = jnp.zeros((1, *shape[1:3]))
        encoded, stats = _modules.start_encoder(key, encoder, image, given=given, mask=places)
        seen = (jnp.zeros((1, *shape[1:])), places)
        decoder, _ = _modules.start("decoder", _decoder(encoder, side, image, **sizes), key, *seen, given=given, train=False)
        return {"encoder": encoded, "decoder": decoder}, Carry(_modules.with_stats({}, "encoder", stats), {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        (image,) = _modules.read(batch, "fcmae", "image", recipe="any source of images")
        side, shape = _patches_of(encoder, image)
        decoder, options = _decoder(encoder, side, image, **sizes), {"key": key, "mask_ratio": mask_ratio, "train": True}
        prediction, mask, stats = _predict(encoder, decoder, params, carry.stats.get("encoder", {}), image, grid=shape[1:3], **options)
        loss = losses.masked_mse(prediction, patchify(image, side), mask, normalize_target=normalize_target)
        return loss, Aux(Carry(_modules.with_stats(carry.stats, "encoder", stats), carry.memory), {"loss": loss})

    return Objective(init, value, unchanged)


@functools.partial(jax.jit, static_argnames=("encoder", "mask_ratio", "normalize_target", "honest"))
def fcmae_reconstruction(
    encoder: nn.Module, params: dict, image: Array, *, key: Key, mask_ratio: float = 0.6, normalize_target: bool = True, honest: bool = True
) -> Pictures:
    """Images [B, H, W, C] masked, reconstructed by an encoder and decoder trained by ``fcmae``, and unchanged.

    ``params``: ``encoder`` and ``decoder``. ``normalize_target`` as in training; ``honest`` as in ``mae_reconstruction``. The result
    has the fields ``masked``, ``reconstruction`` and ``original``, each [B, H, W, C].

    Raises ValueError as ``fcmae`` does.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> encoder, image = jv.create_model("convnextv2_atto", num_classes=0, patch_size=1), jax.numpy.zeros((2, 32, 32, 3))
    >>> params, _ = jv.objectives.fcmae(encoder, width=8).init(jax.random.key(0), {"image": image})
    >>> jv.objectives.fcmae_reconstruction(encoder, params, image, key=jax.random.key(1)).reconstruction.shape
    (2, 32, 32, 3)
    """
    side, shape = _patches_of(encoder, image)
    depth = sum(name.startswith("block") for name in params["decoder"])
    decoder = _decoder(encoder, side, image, depth=depth, width=params["decoder"]["mask_token"].shape[-1])
    options = {"key": key, "mask_ratio": mask_ratio, "train": False, "grid": shape[1:3]}
    prediction, mask, _ = _predict(encoder, decoder, params, {}, image, **options)
    return picture(image, prediction, mask, side, normalize_target=normalize_target, honest=honest)
