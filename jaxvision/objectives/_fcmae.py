"""Fully convolutional masked autoencoders, FCMAE (Woo et al., "ConvNeXt V2", 2023): masked images for convolutional nets."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Conv, ConvNextBlock, initializers
from jaxvision.objectives import _modules
from jaxvision.objectives._patches import Pictures, draw_kept, kept_count, patchify, picture
from jaxvision.typing import Array, Batch, Features, Key


class Decoder(nn.Module):
    """The last map [B, h, w, C] and what is hidden of it [B, h, w] -> a prediction of every patch [B, h w, outputs].

    A token that all hidden places share stands in them; behind it are plain blocks of ConvNeXt V2.
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


def _last(features: Features) -> Array:
    """The coarsest of the maps [B, h, w, C]."""
    return min(features.maps.values(), key=lambda leaf: leaf.shape[1] * leaf.shape[2])


def _patches_of(encoder, image: Array) -> tuple[int, tuple[int, ...]]:
    """(side of the patch of pixels behind each place of the last map, shape of that map) for images.

    Raises ValueError for an encoder without maps, or one whose last map has no square patch of whole pixels behind each place.
    """
    look = lambda image: encoder.init_with_output(jax.random.key(0), image, method="features")  # noqa: E731
    features, _ = jax.eval_shape(look, image)
    if not features.maps:
        raise ValueError(f"encoder: {type(encoder).__name__} has no maps, fcmae expects a convolutional net; use mae for a transformer")
    shape = _last(features).shape
    side = image.shape[1] // shape[1]
    if (shape[1] * side, shape[2] * side) != image.shape[1:3]:
        raise ValueError(f"image: found shape {image.shape}, whose H and W are no multiples of the stride of the last map {shape}")
    return side, shape


def _decoder(encoder, side: int, image: Array, **sizes) -> Decoder:
    return Decoder(side**2 * image.shape[-1], dtype=getattr(encoder, "dtype", None), **sizes)


def _paint(encoder, decoder: Decoder, params: dict, stats: dict, image: Array, *, key: Key, mask_ratio: float, train: bool, grid) -> tuple:
    """(prediction [B, N, P], mask [B, N], running statistics of the encoder) of images, N places on the ``grid`` of the last map."""
    count = grid[0] * grid[1]
    _, mask = draw_kept(fold_name(key, "mask"), len(image), count, kept_count(count, mask_ratio))
    places = mask.reshape(len(image), *grid)  # [B, h, w]
    key_encoder, key_decoder = fold_name(key, "encoder"), fold_name(key, "decoder")
    features, stats = _modules.encode(encoder, params["encoder"], stats, image, key=key_encoder, train=train, mask=places)
    prediction, _ = _modules.apply(decoder, params["decoder"], {}, _last(features), places, key=key_decoder, train=train)
    return prediction, mask, stats


def fcmae(encoder, *, mask_ratio: float = 0.6, width: int = 512, depth: int = 1, normalize_target: bool = True) -> Objective:
    """A convolutional net that sees part of each image, and a decoder of one block that predicts the pixels of the rest.

    (Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", 2023, section 3.1.) ``encoder``: a Linen module
    whose ``features(image, mask=[B, h, w])`` does not see hidden pixels: ConvNeXt. Patches are those behind the places of its last map,
    32 x 32 pixels at ``patch_size`` 4; for images of 32 x 32, ``patch_size`` 1 gives patches of 8 x 8. ``mask_ratio`` of them are hidden,
    drawn for each image; the loss is the mean squared error over the hidden ones, with ``normalize_target`` of each patch less its mean
    over its deviation. ``width`` and ``depth`` are the decoder's. All kernels begin normal of deviation 0.02.

    Reads ``image``. Parameters are stored as ``encoder`` and ``decoder``. Metric: ``loss``; ``fcmae_reconstruction`` draws pictures. Raises
    ValueError for an encoder without maps or masks, images that the last map's stride does not divide, a ``mask_ratio`` that hides none or
    all of the patches, and when the batch has no image.
    """
    _modules.check_encoder(encoder)
    _modules.positive(width=width, depth=depth)
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
        prediction, mask, stats = _paint(encoder, decoder, params, carry.stats.get("encoder", {}), image, grid=shape[1:3], **options)
        loss = losses.masked_mse(prediction, patchify(image, side), mask, normalize_target=normalize_target)
        return loss, Aux(Carry(_modules.with_stats(carry.stats, "encoder", stats), carry.memory), {"loss": loss})

    return Objective(init, value, unchanged)


def fcmae_reconstruction(
    encoder, params: dict, image: Array, *, key: Key, mask_ratio: float = 0.6, normalize_target: bool = True, honest: bool = True
) -> Pictures:
    """Images [B, H, W, C] masked, reconstructed and as they were, by the ``params`` (``encoder`` and ``decoder``) that ``fcmae`` trained.

    ``normalize_target`` as in training; ``honest`` as in ``mae_reconstruction``. Raises ValueError as ``fcmae`` does.
    """
    side, shape = _patches_of(encoder, image)
    depth = sum(name.startswith("block") for name in params["decoder"])
    decoder = _decoder(encoder, side, image, depth=depth, width=params["decoder"]["mask_token"].shape[-1])
    options = {"key": key, "mask_ratio": mask_ratio, "train": False, "grid": shape[1:3]}
    prediction, mask, _ = _paint(encoder, decoder, params, {}, image, **options)
    return picture(image, prediction, mask, side, normalize_target=normalize_target, honest=honest)
