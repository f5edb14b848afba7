"""The two cross-entropies beside their definitions in float64, their closed forms under the mapped axis, and what they refuse."""

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
