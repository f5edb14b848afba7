"""Autoencoders: what they minimise, the variational bound, and digits that are reconstructed from 8 numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.typing import Features
from tests.marks import slow

KEY = jax.random.key(0)


class Linear(nn.Module):
    """An encoder of one dense layer."""

    @nn.compact
    def features(self, image, *, train=False, keep=None, mask=None):
        return Features(jax.nn.relu(nn.Dense(32)(image.reshape(len(image), -1))), None, {})


def digits(count: int = 96) -> dict:
    source = jv.data.digits("train")
    return {"image": np.stack([source[index]["image"] for index in range(count)]).astype(np.float32) / 255}


def trained(steps: int, **options):
    objective, batch, optimizer = jv.objectives.autoencoder(Linear(), width=4, **options), digits(), jv.train.adam(5e-3)
    state = jv.train.init(objective, optimizer, batch, key=KEY)
    step = jax.jit(jv.train.make_step(objective, optimizer))
    for _ in range(steps):
        state, metrics = step(state, batch, KEY)
    return batch["image"], state, metrics


@pytest.mark.slow
def test_digits_come_back_out_of_eight_numbers():
    image, state, metrics = trained(100, latent=8)
    made = jv.objectives.autoencoder_reconstruction(Linear(), state.params, image)
    assert made.shape == image.shape
    error = np.mean((np.asarray(made) - image) ** 2)
    assert error < 0.6 * np.mean((image.mean(0) - image) ** 2)  # better than the mean of all digits
    assert abs(error - float(metrics["reconstruction"])) < 0.2 * error
    assert set(metrics) >= {"loss", "reconstruction"} and "kl" not in metrics


@pytest.mark.parametrize("binary", [slow(False), True])
def test_the_variational_loss_is_its_bound(binary):
    """- E log p(x | z) + KL over the number of values, with the noise of each example drawn by its position."""
    image = digits(6)["image"]
    objective = jv.objectives.autoencoder(Linear(), latent=3, variational=True, beta=2.0, binary=binary, width=8)
    params, carry = jax.jit(objective.init)(KEY, {"image": image})
    value, aux = jax.jit(objective.loss)(params, carry, {"image": image}, key=KEY, step=0)
    pooled = Linear().apply({"params": params["encoder"]}, image, method="features").pooled
    narrow = params["decoder"]["narrow"]
    mean, log_variance = np.split(np.asarray(pooled @ narrow["kernel"] + narrow["bias"], np.float64), 2, axis=-1)
    divergence = np.mean(np.sum(np.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1) / 2)
    np.testing.assert_allclose(aux.metrics["kl"], divergence, rtol=1e-4)
    np.testing.assert_allclose(value, aux.metrics["reconstruction"] + 2 * divergence / image[0].size, rtol=1e-5)
    scheduled = jv.objectives.autoencoder(Linear(), latent=3, variational=True, beta=lambda step: 0.0 * step, binary=binary, width=8)
    value, aux = jax.jit(scheduled.loss)(params, carry, {"image": image}, key=KEY, step=0)
    np.testing.assert_allclose(value, aux.metrics["reconstruction"])


class Nothing(nn.Module):
    """An encoder without parameters, whose features are zeros."""

    @nn.compact
    def features(self, image, *, train=False):
        self.param("unused", nn.initializers.zeros, (1,))
        return Features(jnp.zeros((len(image), 1)), None, {})


def test_the_latent_noise_is_normal_and_the_loss_is_differentiable_in_its_moments():
    """Images of one pixel and a decoder that returns the latent number, so the loss is the mean square of mean + deviation noise."""
    objective = jv.objectives.autoencoder(Nothing(), latent=1, variational=True, beta=0.0, width=1)
    batch = {"image": jnp.zeros((4000, 1, 1, 1))}
    params, carry = jax.jit(objective.init)(KEY, batch)
    decoder = jax.tree.map(jnp.zeros_like, params["decoder"])
    decoder["expand"] = {"kernel": jnp.ones((1, 1)), "bias": jnp.full(1, 50.0)}  # gelu is the identity there
    decoder["image"] = {"kernel": decoder["image"]["kernel"].at[1, 1].set(1.0), "bias": jnp.full(1, -50.0)}

    def loss(mean, deviation):
        narrow = decoder["narrow"] | {"bias": jnp.stack([mean, 2 * jnp.log(deviation)])}
        return objective.loss(params | {"decoder": decoder | {"narrow": narrow}}, carry, batch, key=KEY, step=0)[0]

    value, (to_mean, to_deviation) = jax.jit(jax.value_and_grad(loss, (0, 1)))(3.0, 0.5)
    np.testing.assert_allclose(value, 9 + 0.25, rtol=0.02)
    np.testing.assert_allclose(to_mean, 2 * 3, rtol=0.02)
    np.testing.assert_allclose(to_deviation, 2 * 0.5, atol=0.2)


@pytest.mark.slow
def test_a_variational_one_learns_to_make_digits_of_probabilities():
    image, state, metrics = trained(40, latent=4, variational=True, binary=True)
    made = np.asarray(jv.objectives.autoencoder_reconstruction(Linear(), state.params, image, variational=True, binary=True))
    assert made.min() >= 0 and made.max() <= 1
    assert np.mean((made - image) ** 2) < np.mean((image.mean() - image) ** 2)
    assert np.isfinite(metrics["kl"]) and metrics["kl"] > 0


@pytest.mark.parametrize(("sides", "count"), [((32, 32), 3), ((28, 28), 2), ((224, 224), 5), ((9, 9), 0), ((8, 24), 1), ((2, 2), 0)])
def test_the_decoder_makes_images_of_any_shape(sides, count):
    image = jnp.zeros((2, *sides, 3))
    params, _ = jax.eval_shape(jv.objectives.autoencoder(Linear(), width=4).init, KEY, {"image": image})
    assert len([name for name in params["decoder"] if name.startswith("level")]) == count  # doublings
    made = jax.eval_shape(lambda params, image: jv.objectives.autoencoder_reconstruction(Linear(), params, image), params, image)
    assert made.shape == (2, *sides, 3)


def test_refusals():
    with pytest.raises(ValueError, match="latent"):
        jv.objectives.autoencoder(Linear(), latent=0)
    with pytest.raises(ValueError, match="batch"):
        jv.objectives.autoencoder(Linear()).init(KEY, {"label": jnp.zeros(2)})
    with pytest.raises(ValueError, match="given"):
        jv.objectives.autoencoder(Linear()).init(KEY, digits(2), {"head": {}})
