"""The chunked log-sum-exp and the chunked cross-entropy over prototypes beside their reference implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import kernels
from tests.marks import slow

RNG = np.random.default_rng(0)


def agree(ours, plain, arrays, which, weights) -> None:
    """Values, and gradients under random slopes, are the same relative to their largest entries."""

    def weighed(form):
        def total(*arrays):
            found = form(*arrays)
            return jnp.sum(weights * found), found

        return jax.jit(jax.value_and_grad(total, which, has_aux=True))(*arrays)

    ((_, found), slopes), ((_, expected), expected_slopes) = weighed(ours), weighed(plain)
    for one, other in zip((found, *slopes), (expected, *expected_slopes), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    ("chunk", "groups"),
    [(1, None), (4, None), (11, None), (None, None), (4, np.arange(11) // 2), (4, np.array([3, 0, 3, 5, 10, -1, 3, 0, 0, 7, 0]))],
)
def test_log_sum_exp_of_others(chunk, groups):
    """Ragged blocks, queries that are not the keys, groups that are not side by side, and a query of no group at all."""
    queries, keys = 3 * RNG.standard_normal((7, 5)).astype(np.float32), RNG.standard_normal((11, 5)).astype(np.float32)
    own = np.array([3, 0, 10, 5, -1, 99, 3])
    ours = lambda queries, keys: kernels.log_sum_exp_of_others(queries, keys, own, groups=groups, chunk=chunk)  # noqa: E731
    plain = lambda queries, keys: kernels.plain_log_sum_exp_of_others(queries, keys, own, groups=groups)  # noqa: E731
    agree(ours, plain, (queries, keys), (0, 1), RNG.standard_normal(7).astype(np.float32))


def test_a_query_without_others_has_no_gradient():
    one = jnp.ones((1, 3))
    value, slope = jax.value_and_grad(lambda rows: kernels.log_sum_exp_of_others(rows, rows, jnp.zeros(1, int))[0])(one)
    assert np.isfinite(value) and not np.any(slope)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("chunk", [4, None, *(slow(chunk) for chunk in (1, 13))])
def test_prototype_cross_entropy(chunk, unit):
    student, teacher, ours, theirs, offset = (
        RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (2, 4, 5), (13, 5), (13, 5), (13,))
    )
    plain = lambda student, ours: kernels.plain_prototype_cross_entropy(student, teacher, ours, theirs, offset, unit=unit)  # noqa: E731

    def chunked(student, ours):
        return kernels.prototype_cross_entropy(student, teacher, ours, theirs, offset, unit=unit, chunk=chunk)

    agree(chunked, plain, (student, ours), (0, 1), RNG.standard_normal((2, 3, 4)).astype(np.float32))


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("chunk", [4, None, *(slow(chunk) for chunk in (1, 13))])
def test_prototype_entropy(chunk, unit):
    rows, prototypes, offset = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 4, 5), (13, 5), (13,)))
    expected = kernels.plain_prototype_entropy(rows, prototypes, 3 * offset, unit=unit)
    assert expected.shape == (2, 4)
    np.testing.assert_allclose(kernels.prototype_entropy(rows, prototypes, 3 * offset, unit=unit, chunk=chunk), expected, rtol=1e-5)
    prototypes = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True) if unit else prototypes
    chances = jax.nn.softmax(rows @ prototypes.T - 3 * offset)
    np.testing.assert_allclose(expected, -jnp.sum(chances * jnp.log(chances), axis=-1), rtol=1e-5)


def test_likely_prototypes_may_come_last():
    """The running maximum rises with every block; what was summed below an earlier one must move with it."""
    ladder = np.linspace(-300, 300, 12, dtype=np.float32)[:, None]
    one = np.ones((2, 1, 1), np.float32)
    for order in (ladder, ladder[::-1]):
        ours = kernels.prototype_cross_entropy(one, one, order, order / 100, np.zeros(12), chunk=1)
        plain = kernels.plain_prototype_cross_entropy(one, one, order, order / 100, np.zeros(12))
        np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_what_does_not_fit_is_named():
    rows = jnp.ones((3, 2))
    with pytest.raises(ValueError, match="^queries, keys, own:"):
        kernels.log_sum_exp_of_others(rows, rows, jnp.arange(2))
    with pytest.raises(ValueError, match="chunk: found 0"):
        kernels.log_sum_exp_of_others(rows, rows, jnp.arange(3), chunk=0)
    with pytest.raises(ValueError, match="^groups:"):
        kernels.log_sum_exp_of_others(rows, rows, jnp.arange(3), groups=jnp.arange(2))
    with pytest.raises(ValueError, match="chunk: found -1"):
        kernels.prototype_entropy(rows, rows, jnp.zeros(3), chunk=-1)
