"""Autoencoders, plain or variational: an image is encoded as a vector, from which a decoder reconstructs it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis, checks, losses
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
    """Features [B, D] -> latent vectors [B, L], and latent vectors -> images of ``shape`` (H, W, C).

    A dense layer makes a small map of ``width`` channels. As often as the shape allows, its sides are doubled (nearest neighbour) and
    convolved by 3 x 3. A last 3 x 3 convolution makes the channels of the image. ``latent``: the size L; None takes the features as they
    are. ``variational``: 2 L numbers, mean and log-variance.
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
        """Features [B, D] as images; where variational, by the mean of the latent vector."""
        code = self.code(pooled, train=train)
        return self.decode(jnp.split(code, 2, axis=-1)[0] if self.variational else code, train=train)


def _sample(key: Key, mean: Array, log_variance: Array) -> Array:
    """mean + exp(log_variance / 2) noise: the reparametrisation, with standard normal noise drawn for each example by its position."""
    keys = axis.example_keys(key, len(mean))
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    return mean + jnp.exp(log_variance / 2) * noise


def _draw(key: Key, code: Array) -> tuple[Array, Array]:
    """(latent vectors [B, L], divergence from the standard normal distribution) of mean and log-variance [B, 2 L]."""
    mean, log_variance = jnp.split(code, 2, axis=-1)
    return _sample(key, mean, log_variance), losses.gaussian_kl(mean, log_variance)


def _read(batch: Batch) -> Array:
    return _modules.read(batch, "autoencoder", "image", recipe="any source of images")[0]


def _reconstruction_error(made: Array, image: Array, *, binary: bool) -> Array:
    if not binary:
        return losses.mean_squared_error(made, image)
    return losses.binary_cross_entropy(made.reshape(len(made), -1), image.reshape(len(image), -1))


def autoencoder(
    encoder: nn.Module,
    *,
    latent: int | None = None,
    variational: bool = False,
    beta: float | Callable = 1.0,
    binary: bool = False,
    width: int = 64,
) -> Objective:
    """An encoder's features, reduced to ``latent`` numbers, from which a decoder reconstructs the image.

        plain:        L = mean (decoder(z) - image)^2, with z the latent vector
        variational:  L = mean (decoder(z) - image)^2 + beta KL(N(m, s^2) || N(0, 1)) / (H W C), with z drawn from N(m, s^2)

    Reads ``image``. ``encoder``: a Linen module whose ``features(image)`` gives pooled [B, D]. ``latent``: the size of the latent vector;
    None takes the features as they are (where variational: as many numbers). ``width``: channels of the decoder. ``binary``: the first term
    is the mean cross-entropy of pixels in [0, 1] under the decoder's logits. ``beta``: a number or a schedule of ``step``; with 1, L is the
    negative evidence lower bound per value, with decoder variance 1/2 where not ``binary``. Modules: ``encoder``, ``decoder``. Metrics:
    ``reconstruction`` (the first term), ``kl`` (nats an image). ``autoencoder_reconstruction`` gives images.

    Raises ValueError for ``latent`` or ``width`` below 1, and where the image is missing.
    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014; Higgins et al., "beta-VAE", 2017.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> objective = jv.objectives.autoencoder(jv.create_model("lenet5", num_classes=0), latent=4, width=8, variational=True)
    >>> params, carry = objective.init(jax.random.key(0), {"image": jnp.zeros((2, 32, 32, 1))})
    >>> sorted(params), params["decoder"]["narrow"]["bias"].shape  # 4 means, 4 log-variances
    (['decoder', 'encoder'], (8,))
    """
    _modules.check_encoder(encoder)
    checks.counts(width=width, **({} if latent is None else {"latent": latent}))

    def decoder_of(image: Array, features: int) -> Decoder:
        narrowed = features if variational and latent is None else latent
        return Decoder(image.shape[1:], narrowed, variational, width, getattr(encoder, "dtype", None))

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("autoencoder", given, "encoder", "decoder")
        image = _read(batch)
        encoded, stats = _modules.start_encoder(key, encoder, image, given=given)
        params, stats = {"encoder": encoded}, _modules.with_stats({}, "encoder", stats)
        pooled = jax.eval_shape(lambda: _siamese.embed(encoder, params, stats, image[:1], key=key)[0])
        decoder = decoder_of(image, pooled.shape[-1])
        params["decoder"], _ = _modules.start("decoder", decoder, key, jnp.zeros(pooled.shape), given=given, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = _read(batch)
        pooled, stats = _siamese.embed(encoder, params, carry.stats, image, key=fold_name(key, "encoder"))
        decoder, options = decoder_of(image, pooled.shape[-1]), {"key": fold_name(key, "decoder")}
        code, _ = _modules.apply(decoder, params["decoder"], {}, pooled, method="code", **options)
        latent_vector, divergence = _draw(fold_name(key, "latent"), code) if variational else (code, 0.0)
        made, _ = _modules.apply(decoder, params["decoder"], {}, latent_vector, method="decode", **options)
        error = _reconstruction_error(made, image, binary=binary)
        loss = error + (_modules.value_at(beta, step) * divergence / math.prod(image.shape[1:]) if variational else 0)
        metrics = {"loss": loss, "reconstruction": error} | ({"kl": divergence} if variational else {})
        return loss, Aux(Carry(stats, carry.memory), metrics)

    return Objective(init, value, unchanged)


def autoencoder_reconstruction(
    encoder: nn.Module,
    params: dict,
    image: Array,
    *,
    stats: Mapping = {},
    variational: bool = False,
    binary: bool = False,
) -> Array:
    """Images [B, H, W, C] as an encoder and decoder trained by ``autoencoder`` reconstruct them.

    ``params``: ``encoder`` and ``decoder``; ``stats``: the encoder's running statistics, where it has any. ``variational`` and
    ``binary`` as in training: the latent vector is the mean; pixels are probabilities. The result is [B, H, W, C].

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> encoder, image = jv.create_model("lenet5", num_classes=0), jnp.zeros((2, 32, 32, 1))
    >>> params, _ = jv.objectives.autoencoder(encoder, latent=4, width=8).init(jax.random.key(0), {"image": image})
    >>> jv.objectives.autoencoder_reconstruction(encoder, params, image).shape
    (2, 32, 32, 1)
    """
    tree = params["decoder"]
    features, _ = _modules.encode(encoder, params["encoder"], dict(stats), image, key=jax.random.key(0), train=False)
    latent = tree["narrow"]["bias"].shape[0] // (1 + variational) if "narrow" in tree else None
    width = tree["image"]["kernel"].shape[2]
    decoder = Decoder(image.shape[1:], latent, variational, width, getattr(encoder, "dtype", None))
    made = decoder.apply({"params": tree}, features.pooled, train=False)
    return jax.nn.sigmoid(made) if binary else made
