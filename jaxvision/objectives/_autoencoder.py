"""Autoencoders: an image through a narrow vector and back, plain or variational (Kingma & Welling, 2014)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Conv, Dense
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch, Key


def _doublings(height: int, width: int) -> int:
    """How often both sides can be halved until the shorter is at most 4, or one of them odd."""
    count = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) > 4:
        height, width, count = height // 2, width // 2, count + 1
    return count


class Decoder(nn.Module):
    """Features [B, D] to a latent vector, and latent vectors back to images of ``shape`` (H, W, C).

    A dense layer makes a small map of ``width`` channels; as often as the shape allows it is doubled (each place becomes four) and
    convolved by 3 x 3; a last 3 x 3 convolution makes the channels of the image. ``latent``: None, for the features themselves, or how many
    numbers; ``variational``: two for each, mean and logarithm of the variance.
    """

    shape: tuple[int, int, int]
    latent: int | None = None
    variational: bool = False
    width: int = 64
    dtype: Any = None

    def setup(self):
        height, width, channels = self.shape
        count = _doublings(height, width)
        self.start = (height // 2**count, width // 2**count)
        for index in range(count):
            setattr(self, f"level{index + 1}", Conv(self.width, 3, padding=1, dtype=self.dtype))
        self.expand = Dense(math.prod(self.start) * self.width, dtype=self.dtype)
        self.image = Conv(channels, 3, padding=1, dtype=self.dtype)
        if self.variational or self.latent:
            self.narrow = Dense(self.latent * (1 + self.variational), dtype=self.dtype)

    def code(self, pooled: Array, *, train: bool) -> Array:
        """Features [B, D] as latent vectors [B, L]; [B, 2 L] where variational."""
        return self.narrow(pooled) if self.variational or self.latent else pooled

    def decode(self, latent: Array, *, train: bool) -> Array:
        """Latent vectors [B, L] as images [B, H, W, C], or their logits."""
        x = jax.nn.gelu(self.expand(latent)).reshape(len(latent), *self.start, self.width)  # [B, h, w, width]
        for index in range(_doublings(*self.shape[:2])):
            level = getattr(self, f"level{index + 1}")
            x = jax.nn.gelu(level(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)))
        return self.image(x)

    def __call__(self, pooled: Array, *, train: bool) -> Array:
        """From features to images; where variational through the mean alone."""
        code = self.code(pooled, train=train)
        return self.decode(jnp.split(code, 2, axis=-1)[0] if self.variational else code, train=train)


def _sample(key: Key, mean: Array, log_variance: Array) -> Array:
    """mean + deviation times normal noise, drawn for each example by its global position: the reparametrisation, differentiable in both."""
    keys = _modules.example_keys(key, len(mean))
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    return mean + jnp.exp(log_variance / 2) * noise


def _difference(made: Array, image: Array, *, binary: bool) -> Array:
    if not binary:
        return losses.mean_squared_error(made, image)
    return losses.binary_cross_entropy(made.reshape(len(made), -1), image.reshape(len(image), -1))


def autoencoder(
    encoder,
    *,
    latent: int | None = None,
    variational: bool = False,
    beta: float | Callable = 1.0,
    binary: bool = False,
    width: int = 64,
) -> Objective:
    """An encoder's features, narrowed to ``latent`` numbers (None: as they are), from which a decoder makes the image again.

    ``encoder``: a Linen module whose ``features(image)`` gives pooled [B, D]. ``width``: channels of the decoder. The loss is the mean
    squared error of the pixels; ``binary``: the mean cross-entropy of pixels in [0, 1] under the decoder's logits.

    ``variational`` (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014): the latent vector is drawn from a normal distribution whose
    mean and variance the encoder gives, and ``beta`` (a number or a schedule; Higgins et al., "beta-VAE", 2017) times its divergence from
    the standard normal one, over the number of pixels' values, is added: with ``beta`` 1 the negative evidence bound per value, the
    decoder's variance being 1/2 where it is not binary. ``latent`` None is then the features' width.

    Reads ``image``. Parameters are stored as ``encoder`` and ``decoder``. Metrics: ``loss``, ``reconstruction`` (without the divergence)
    and ``kl``, in nats an image. ``autoencoder_reconstruction`` gives images. Raises ValueError for ``latent`` or ``width`` below 1,
    and when the batch has no image.
    """
    _modules.check_encoder(encoder)
    _modules.positive(width=width, **({} if latent is None else {"latent": latent}))

    def read(batch: Batch) -> Array:
        return _modules.read(batch, "autoencoder", "image", recipe="any source of images")[0]

    def decoder_of(image: Array, features: int) -> Decoder:
        narrowed = features if variational and latent is None else latent
        return Decoder(image.shape[1:], narrowed, variational, width, getattr(encoder, "dtype", None))

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("autoencoder", given, "encoder", "decoder")
        image = read(batch)
        encoded, stats = _modules.start_encoder(key, encoder, image, given=given)
        params, stats = {"encoder": encoded}, _modules.with_stats({}, "encoder", stats)
        pooled = jax.eval_shape(lambda: _siamese.embed(encoder, params, stats, image[:1], key=key)[0])
        decoder = decoder_of(image, pooled.shape[-1])
        params["decoder"], _ = _modules.start("decoder", decoder, key, jnp.zeros(pooled.shape), given=given, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = read(batch)
        pooled, stats = _siamese.embed(encoder, params, carry.stats, image, key=fold_name(key, "encoder"))
        decoder, options = decoder_of(image, pooled.shape[-1]), {"key": fold_name(key, "decoder")}
        code, _ = _modules.apply(decoder, params["decoder"], {}, pooled, method="code", **options)
        divergence = jnp.zeros((), jnp.float32)
        if variational:
            mean, log_variance = jnp.split(code, 2, axis=-1)
            divergence = losses.gaussian_kl(mean, log_variance)
            code = _sample(fold_name(key, "latent"), mean, log_variance)
        made, _ = _modules.apply(decoder, params["decoder"], {}, code, method="decode", **options)
        rebuilt = _difference(made, image, binary=binary)
        loss = rebuilt + (_modules.at(beta, step) * divergence / math.prod(image.shape[1:]) if variational else 0)
        metrics = {"loss": loss, "reconstruction": rebuilt} | ({"kl": divergence} if variational else {})
        return loss, Aux(Carry(stats, carry.memory), metrics)

    return Objective(init, value, unchanged)


def autoencoder_reconstruction(
    encoder,
    params: dict,
    image: Array,
    *,
    stats: Mapping = {},
    variational: bool = False,
    binary: bool = False,
) -> Array:
    """Images [B, H, W, C] as the ``params`` (``encoder`` and ``decoder``) that ``autoencoder`` trained make them again.

    ``stats``: the encoder's running statistics, where it has any. ``variational`` and ``binary`` as in training: the latent vector is the
    mean; pixels are probabilities.
    """
    tree = params["decoder"]
    features, _ = _modules.encode(encoder, params["encoder"], dict(stats), image, key=jax.random.key(0), train=False)
    latent = tree["narrow"]["bias"].shape[0] // (1 + variational) if "narrow" in tree else None
    width = tree["image"]["kernel"].shape[2]
    decoder = Decoder(image.shape[1:], latent, variational, width, getattr(encoder, "dtype", None))
    made = decoder.apply({"params": tree}, features.pooled, train=False)
    return jax.nn.sigmoid(made) if binary else made
