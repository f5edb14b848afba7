"""The lecture's figures for softmax and likelihood, a temperature that learns, and class weights by frequency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

FIRST = jnp.array([0.1, 0.8, 0.2, 0.7, 0.9])
LABELS = jnp.array([0, 1, 0, 1, 1])


def test_softmax_of_the_lecture():
    shares = jv.losses.softmax(jnp.array([11.5, 12.8, -2.4]))
    assert [f"{share:.2%}" for share in shares] == ["21.42%", "78.58%", "0.00%"]


def test_likelihoods_of_the_lecture():
    better = jnp.array([0.1, 0.9, 0.2, 0.7, 0.9])
    assert f"{jv.losses.likelihood(FIRST, LABELS):.6f}" == "0.362880"
    assert f"{jv.losses.likelihood(better, LABELS):.6f}" == "0.408240"
    assert f"{jv.losses.likelihood(jnp.tile(FIRST, 10), jnp.tile(LABELS, 10)):.6f}" == "0.000040"


def test_the_logarithm_survives_what_the_product_does_not():
    many = jv.losses.negative_log_likelihood(jnp.tile(FIRST, 1000), jnp.tile(LABELS, 1000))
    assert jv.losses.likelihood(jnp.tile(FIRST, 1000), jnp.tile(LABELS, 1000)) == 0
    np.testing.assert_allclose(many, -1000 * np.log(0.36288), rtol=1e-5)
    np.testing.assert_allclose(jv.losses.negative_log_likelihood(jnp.array([1e-9]), jnp.array([0])), 1e-9, rtol=1e-5)
    assert jv.losses.negative_log_likelihood(jnp.array([0.0, 0.5]), jnp.array([1, 1])) == jnp.inf


def test_gradient_of_the_negative_log_likelihood():
    gradient = jax.grad(jv.losses.negative_log_likelihood)(jnp.array([0.0, 1.0, 0.25, 0.25]), jnp.array([0, 1, 0, 1]))
    np.testing.assert_allclose(gradient, [1.0, -1.0, 1 / 0.75, -1 / 0.25], rtol=1e-6)


def test_likelihoods_refuse_shapes_and_raise_precision():
    for loss in (jv.losses.likelihood, jv.losses.negative_log_likelihood):
        with pytest.raises(ValueError, match="probabilities, labels"):
            loss(FIRST, LABELS[:4])
        assert loss(FIRST.astype(jnp.bfloat16), LABELS).dtype == jnp.float32
    assert jv.losses.softmax(FIRST.astype(jnp.float16)).dtype == jnp.float32


def test_a_temperature_learns():
    """Over-confident logits: the gradient is its closed form, and descent raises the temperature until the loss stops falling."""
    scores = jnp.array([6.0, 5.0, 4.0, -5.0, 3.0, -6.0])  # of class 1 against class 0
    labels = jnp.array([1, 0, 1, 0, 1, 0])

    def loss(temperature):
        logits = jnp.stack([jnp.zeros_like(scores), scores], axis=-1)  # [N, 2]
        return jv.losses.negative_log_likelihood(jv.losses.softmax(logits, temperature=temperature)[:, 1], labels)

    def closed_form(temperature):  # d/dT of sum log(1 + exp(s / T)) - y s / T
        return jnp.sum((labels - jax.nn.sigmoid(scores / temperature)) * scores) / temperature**2

    gradient = jax.jit(jax.grad(loss))
    for temperature in (0.7, 1.0, 3.0):
        np.testing.assert_allclose(gradient(temperature), closed_form(temperature), rtol=1e-4)
    temperature, start = jnp.float32(1.0), loss(1.0)
    for _ in range(60):
        temperature = temperature - 0.3 * gradient(temperature)
    assert temperature > 2 and loss(temperature) < 0.7 * start
    assert abs(closed_form(temperature)) < 1e-2


def test_median_frequency_weights():
    np.testing.assert_allclose(jv.losses.median_frequency_weights(jnp.array([10, 20, 40])), [2.0, 1.0, 0.5])
    np.testing.assert_allclose(jv.losses.median_frequency_weights(jnp.array([10, 0, 20, 30, 0, 60])), [2.5, 0, 1.25, 25 / 30, 0, 25 / 60])
    np.testing.assert_allclose(jax.jit(jv.losses.median_frequency_weights)(jnp.zeros(3)), np.zeros(3))
    with pytest.raises(ValueError, match="counts"):
        jv.losses.median_frequency_weights(jnp.ones((2, 2)))
