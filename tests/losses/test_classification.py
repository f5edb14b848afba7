"""Softmax, likelihoods, cross-entropies and class weights: definitions in float64, closed forms, the mapped axis, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxvision as jv
from jaxvision import axis
from tests.oracles import classification as oracle

RNG = np.random.default_rng(0)
LOGITS = (3 * RNG.standard_normal((8, 5))).astype(np.float32)
NUMBERS = RNG.integers(0, 5, 8)
SOFT = RNG.dirichlet(np.ones(5), 8).astype(np.float32)
WEIGHTS = RNG.uniform(0.1, 3, 5).astype(np.float32)
PROBABILITIES = jnp.array([0.1, 0.8, 0.2, 0.7, 0.9])
BINARY = jnp.array([0, 1, 0, 1, 1])
MANY = RNG.integers(0, 2, (8, 5)).astype(np.float32)  # several labels an image


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("labels", [NUMBERS, np.eye(5, dtype=np.float32)[NUMBERS], SOFT], ids=["numbers", "one_hot", "soft"])
def test_cross_entropy_and_its_gradient_are_the_definition(labels, smoothing, weights):
    loss = functools.partial(jv.losses.cross_entropy, labels=labels, label_smoothing=smoothing, class_weights=weights)
    value, gradient = jax.value_and_grad(loss)(LOGITS)
    expected, expected_gradient = oracle.cross_entropy(LOGITS, labels, label_smoothing=smoothing, class_weights=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"class_weights": WEIGHTS}, {"positive_weights": WEIGHTS}], ids=["plain", "classes", "positives"])
@pytest.mark.parametrize("labels", [MANY, SOFT], ids=["hard", "soft"])
def test_binary_cross_entropy_and_its_gradient_are_the_definition(labels, options):
    value, gradient = jax.value_and_grad(functools.partial(jv.losses.binary_cross_entropy, labels=labels, **options))(LOGITS)
    expected, expected_gradient = oracle.binary_cross_entropy(LOGITS, labels, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


def test_large_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4], [-1e4, 1e4]])
    wrong = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    for loss in (jv.losses.cross_entropy, jv.losses.binary_cross_entropy):
        value, gradient = jax.value_and_grad(loss)(logits, wrong)
        assert float(value) in (1e4, 2e4) and np.isfinite(gradient).all()


def test_a_class_that_is_switched_off_costs_nothing():
    logits = LOGITS.copy()
    logits[:, 2] = -np.inf
    labels = np.where(NUMBERS == 2, 0, NUMBERS)
    value, gradient = jax.value_and_grad(jv.losses.cross_entropy)(logits, labels)
    others = np.delete(logits, 2, axis=1)
    expected, expected_gradient = oracle.cross_entropy(others, labels - (labels > 2))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(np.delete(gradient, 2, axis=1), expected_gradient, atol=1e-7)
    assert not gradient[:, 2].any()


def test_half_precision_is_raised_and_double_precision_stays():
    for dtype in (jnp.bfloat16, jnp.float16):
        logits = jnp.asarray(LOGITS, dtype)
        value = jv.losses.cross_entropy(logits, NUMBERS)
        assert value.dtype == jnp.float32 == jv.losses.binary_cross_entropy(logits, jnp.asarray(MANY, dtype)).dtype
        np.testing.assert_allclose(value, oracle.cross_entropy(logits, NUMBERS)[0], rtol=1e-6)
    with jax.enable_x64(True):
        logits = jnp.asarray(LOGITS, jnp.float64)
        for value, (expected, _) in (
            (jv.losses.cross_entropy(logits, NUMBERS, class_weights=WEIGHTS), oracle.cross_entropy(logits, NUMBERS, class_weights=WEIGHTS)),
            (jv.losses.binary_cross_entropy(logits, MANY), oracle.binary_cross_entropy(logits, MANY)),
        ):
            assert value.dtype == jnp.float64
            np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize("shards", [2, 8])
@pytest.mark.parametrize("labels", [NUMBERS, SOFT], ids=["numbers", "soft"])
def test_the_mean_over_shards_is_the_loss_of_the_whole_batch(labels, shards):
    """Sorted labels make the shards as unequal as they can be: each has other classes, so other weights."""
    labels = np.sort(labels, axis=0)
    loss = functools.partial(jv.losses.cross_entropy, label_smoothing=0.1, class_weights=WEIGHTS)
    mesh = jax.make_mesh((shards,), (axis.NAME,), axis_types=(AxisType.Auto,), devices=jax.devices()[:shards])
    rows, whole = PartitionSpec(axis.NAME), PartitionSpec()

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(rows, rows), out_specs=(whole, rows), check_vma=False)
    def sharded(logits, labels):
        value, gradient = jax.value_and_grad(loss)(logits, labels)
        return axis.mean(value), gradient / shards  # the mean over shards of what each says about its own rows

    value, gradient = jax.jit(sharded)(LOGITS, labels)
    expected, expected_gradient = oracle.cross_entropy(LOGITS, labels, label_smoothing=0.1, class_weights=WEIGHTS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


def test_a_class_number_that_does_not_exist_is_not_passed_over():
    for wrong in (-1, 5):
        assert np.isnan(jv.losses.cross_entropy(LOGITS, np.where(NUMBERS == NUMBERS[0], wrong, NUMBERS)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((LOGITS[0], NUMBERS), {}, "logits"),
        ((LOGITS, NUMBERS[:3]), {}, "labels"),
        ((LOGITS, NUMBERS.astype(np.float32)), {}, "labels"),
        ((LOGITS, SOFT[:, :4]), {}, "labels"),
        ((LOGITS, NUMBERS), {"class_weights": WEIGHTS[:4]}, "class_weights"),
        ((LOGITS, NUMBERS), {"label_smoothing": 1.5}, "label_smoothing"),
    ],
)
def test_what_cross_entropy_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        jv.losses.cross_entropy(*arguments, **options)


def test_what_binary_cross_entropy_refuses():
    with pytest.raises(ValueError, match="logits, labels"):
        jv.losses.binary_cross_entropy(LOGITS, SOFT[:, :4])
    with pytest.raises(ValueError, match="positive_weights"):
        jv.losses.binary_cross_entropy(LOGITS, SOFT, positive_weights=WEIGHTS[:1])


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_softmax_refuses_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(ValueError, match="^temperature: "):
        jv.losses.softmax(LOGITS, temperature=temperature)


def test_softmax_of_an_example():
    shares = jv.losses.softmax(jnp.array([11.5, 12.8, -2.4]))
    assert [f"{share:.2%}" for share in shares] == ["21.42%", "78.58%", "0.00%"]


def test_likelihoods_of_examples():
    better = jnp.array([0.1, 0.9, 0.2, 0.7, 0.9])
    assert f"{jv.losses.likelihood(PROBABILITIES, BINARY):.6f}" == "0.362880"
    assert f"{jv.losses.likelihood(better, BINARY):.6f}" == "0.408240"
    assert f"{jv.losses.likelihood(jnp.tile(PROBABILITIES, 10), jnp.tile(BINARY, 10)):.6f}" == "0.000040"


def test_the_logarithm_survives_what_the_product_does_not():
    many = jv.losses.negative_log_likelihood(jnp.tile(PROBABILITIES, 1000), jnp.tile(BINARY, 1000))
    assert jv.losses.likelihood(jnp.tile(PROBABILITIES, 1000), jnp.tile(BINARY, 1000)) == 0
    np.testing.assert_allclose(many, -1000 * np.log(0.36288), rtol=1e-5)
    np.testing.assert_allclose(jv.losses.negative_log_likelihood(jnp.array([1e-9]), jnp.array([0])), 1e-9, rtol=1e-5)
    assert jv.losses.negative_log_likelihood(jnp.array([0.0, 0.5]), jnp.array([1, 1])) == jnp.inf


def test_gradient_of_the_negative_log_likelihood():
    gradient = jax.grad(jv.losses.negative_log_likelihood)(jnp.array([0.0, 1.0, 0.25, 0.25]), jnp.array([0, 1, 0, 1]))
    np.testing.assert_allclose(gradient, [1.0, -1.0, 1 / 0.75, -1 / 0.25], rtol=1e-6)


def test_likelihoods_refuse_shapes_and_raise_precision():
    for loss in (jv.losses.likelihood, jv.losses.negative_log_likelihood):
        with pytest.raises(ValueError, match="probabilities, labels"):
            loss(PROBABILITIES, BINARY[:4])
        assert loss(PROBABILITIES.astype(jnp.bfloat16), BINARY).dtype == jnp.float32
    assert jv.losses.softmax(PROBABILITIES.astype(jnp.float16)).dtype == jnp.float32


def test_a_temperature_can_be_learned():
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
