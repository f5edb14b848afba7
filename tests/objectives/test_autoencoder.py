"""Autoencoders: what they minimise, the variational bound, and that digits come back out of eight numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.objectives._autoencoder import Decoder, _doublings, _sample
from jaxvision.typing import Features

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


def test_digits_come_back_out_of_eight_numbers():
    image, state, metrics = trained(100, latent=8)
    made = jv.objectives.autoencoder_reconstruction(Linear(), state.params, image)
    assert made.shape == image.shape
    error = np.mean((np.asarray(made) - image) ** 2)
    assert error < 0.6 * np.mean((image.mean(0) - image) ** 2)  # better than the mean of all digits
    assert abs(error - float(metrics["reconstruction"])) < 0.2 * error
    assert set(metrics) >= {"loss", "reconstruction"} and "kl" not in metrics


def test_the_variational_loss_is_its_bound():
    """- E log p(x | z) + KL over the number of values, with the noise of each example drawn by its position."""
    image = digits(6)["image"]
    for binary in (False, True):
        objective = jv.objectives.autoencoder(Linear(), latent=3, variational=True, beta=2.0, binary=binary, width=8)
        params, carry = objective.init(KEY, {"image": image})
        value, aux = jax.jit(objective.loss)(params, carry, {"image": image}, key=KEY, step=0)
        pooled = Linear().apply({"params": params["encoder"]}, image, method="features").pooled
        narrow = params["decoder"]["narrow"]
        mean, log_variance = np.split(np.asarray(pooled @ narrow["kernel"] + narrow["bias"], np.float64), 2, axis=-1)
        divergence = np.mean(np.sum(np.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1) / 2)
        np.testing.assert_allclose(aux.metrics["kl"], divergence, rtol=1e-4)
        np.testing.assert_allclose(value, aux.metrics["reconstruction"] + 2 * divergence / image[0].size, rtol=1e-5)
    scheduled = jv.objectives.autoencoder(Linear(), latent=3, variational=True, beta=lambda step: 0.0 * step, binary=True, width=8)
    value, aux = scheduled.loss(params, carry, {"image": image}, key=KEY, step=0)
    np.testing.assert_allclose(value, aux.metrics["reconstruction"])


def test_the_noise_is_normal_and_differentiable():
    mean, log_variance = jnp.full((4000, 2), 3.0), jnp.full((4000, 2), 2 * np.log(0.5))
    drawn = np.asarray(_sample(KEY, mean, log_variance))
    np.testing.assert_allclose(drawn.mean(0), 3, atol=0.05)
    np.testing.assert_allclose(drawn.std(0), 0.5, atol=0.05)
    slope = jax.grad(lambda mean: _sample(KEY, mean, log_variance).sum())(mean)
    np.testing.assert_array_equal(slope, 1)
    np.testing.assert_array_equal(_sample(KEY, mean[:7], log_variance[:7]), drawn[:7])  # an example's noise is its own


def test_a_variational_one_learns_to_make_digits_of_probabilities():
    image, state, metrics = trained(40, latent=4, variational=True, binary=True)
    made = np.asarray(jv.objectives.autoencoder_reconstruction(Linear(), state.params, image, variational=True, binary=True))
    assert made.min() >= 0 and made.max() <= 1
    assert np.mean((made - image) ** 2) < np.mean((image.mean() - image) ** 2)
    assert np.isfinite(metrics["kl"]) and metrics["kl"] > 0


@pytest.mark.parametrize(("sides", "count"), [((32, 32), 3), ((28, 28), 2), ((224, 224), 5), ((9, 9), 0), ((8, 24), 1), ((2, 2), 0)])
def test_the_decoder_makes_images_of_any_shape(sides, count):
    assert _doublings(*sides) == count
    decoder = Decoder((*sides, 3), width=4)
    made = jax.eval_shape(lambda pooled: decoder.init_with_output(KEY, pooled, train=False)[0], jnp.zeros((2, 5)))
    assert made.shape == (2, *sides, 3)


def test_refusals():
    with pytest.raises(ValueError, match="latent: found 0, expected an integer above 0"):
        jv.objectives.autoencoder(Linear(), latent=0)
    with pytest.raises(ValueError, match="batch: autoencoder reads 'image', found label"):
        jv.objectives.autoencoder(Linear()).init(KEY, {"label": jnp.zeros(2)})
    with pytest.raises(ValueError, match="given: autoencoder has encoder, decoder; found head"):
        jv.objectives.autoencoder(Linear()).init(KEY, digits(2), {"head": {}})
