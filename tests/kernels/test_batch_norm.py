"""The sums of batch normalisation by the compiled kernel are the definition's in float64, with every derivative, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import moments, plain_moments, plain_rescaled, rescaled
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow

SHAPES = {
    "a map": (8, 7, 6, 96),
    "rows": (700, 64),
    "channels left over": (3, 40, 5, 71),
    "few channels": (4, 30, 30, 3),
    "one channel": (600, 1),
    "one row": (1, 24),
    "many channels": (9, 4099),
}
EPSILON = 1e-5


def draw(case: str) -> list[np.ndarray]:
    """x with a mean far from 0, scale, bias, and the gradient of what comes out."""
    random, shape = np.random.default_rng(0), SHAPES[case]
    return [random.standard_normal(size, np.float32) + mean for size, mean in ((shape, 3), (shape[-1:], 1), (shape[-1:], 0), (shape, 0))]


def normed(x, scale, bias, statistics=moments, affine=rescaled):
    """Batch normalisation as the layer composes it."""
    mean, var = statistics(x)
    return affine(x, mean, scale * jax.lax.rsqrt(var + EPSILON), bias)


def plain(x, scale, bias):
    return normed(x, scale, bias, plain_moments, plain_rescaled)


def by_definition(x, scale, bias, gradient):
    """Value and gradients in float64 (Ioffe & Szegedy, 2015, section 3)."""
    x, scale, bias, gradient = (np.float64(array) for array in (x, scale, bias, gradient))
    over = tuple(range(x.ndim - 1))
    deviation = np.sqrt(x.var(axis=over) + EPSILON)
    xhat, slope = (x - x.mean(axis=over)) / deviation, gradient * scale
    to_x = (slope - slope.mean(axis=over) - xhat * (slope * xhat).mean(axis=over)) / deviation
    return xhat * scale + bias, to_x, (gradient * xhat).sum(axis=over), gradient.sum(axis=over)


@pytest.mark.parametrize("case", SHAPES)
def test_moments_are_the_definition_s(case):
    x = draw(case)[0]
    over = tuple(range(x.ndim - 1))
    mean, var = jax.jit(moments)(x)
    np.testing.assert_allclose(mean, np.float64(x).mean(axis=over), rtol=1e-6)
    np.testing.assert_allclose(var, np.float64(x).var(axis=over), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("case", SHAPES)
def test_value_and_gradients_are_the_definition(case):
    *arrays, gradient = draw(case)
    value, back = jax.vjp(normed, *arrays)
    steep = 1 / np.sqrt(EPSILON) if case == "one row" else 1  # what does not vary is divided by the root of epsilon
    for ours, theirs in zip((value, *back(gradient)), by_definition(*arrays, gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * max(steep, np.abs(theirs).max()))


@pytest.mark.parametrize("apart", [1e2, 1e4])
def test_a_mean_far_from_zero_costs_no_digits_of_the_variance(apart):
    x = draw("a map")[0] + np.float32(apart)
    np.testing.assert_allclose(moments(x)[1], np.float64(x).var(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("transform", ["jvp", "vmap", *(slow(name) for name in ("forward over reverse", "reverse over reverse"))])
def test_every_transformation_is_the_reference_s(transform):
    arrays = [array.astype(np.float32) for array in draw("a map")[:3]]
    directions = [np.cos(array) for array in arrays]

    def transformed(function):
        value = lambda *arrays: jnp.sum(jnp.sin(function(*arrays)))  # noqa: E731
        slope = jax.grad(value, (0, 1, 2))
        if transform == "jvp":
            return jax.jvp(value, arrays, directions)
        if transform == "forward over reverse":
            return jax.jvp(slope, arrays, directions)
        if transform == "reverse over reverse":
            return jax.grad(lambda *arrays: sum(jnp.sum(jnp.square(part)) for part in slope(*arrays)), (0, 1, 2))(*arrays)
        return jax.jit(jax.vmap(slope, in_axes=(0, None, None)))(*arrays)

    for our, their in zip(*(jax.tree.leaves(transformed(function)) for function in (normed, plain)), strict=True):
        np.testing.assert_allclose(our, their, atol=5e-5 * max(1, np.abs(their).max()))


def test_what_does_not_vary_and_what_is_not_a_number():
    mean, var = moments(np.full((5, 12), 7, np.float32))
    np.testing.assert_array_equal(mean, np.full(12, 7))
    np.testing.assert_array_equal(var, np.zeros(12))
    x = draw("rows")[0]
    x[100, 10] = np.nan
    for found in moments(x):
        np.testing.assert_array_equal(np.isnan(found), np.arange(64) == 10)


def test_the_sums_are_added_in_one_order():
    *arrays, gradient = draw("a map")
    back = jax.jit(lambda *arrays: jax.vjp(normed, *arrays)[1](gradient))
    first = back(*arrays)
    for _ in range(5):
        for ours, again in zip(first, back(*arrays), strict=True):
            np.testing.assert_array_equal(ours, again)


@built
def test_devices_sum_their_own_rows_and_add_up():
    *arrays, gradient = draw("a map")
    rows = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    whole = NamedSharding(rows.mesh, PartitionSpec())
    slopes = lambda x, scale, bias, gradient: jax.vjp(normed, x, scale, bias)[1](gradient)  # noqa: E731
    program = jax.jit(slopes, in_shardings=(rows, whole, whole, rows), out_shardings=(rows, whole, whole))
    text = program.lower(*arrays, gradient).compile().as_text()
    assert "all-gather" not in text and "all-reduce" in text
    given = [jax.device_put(array, place) for array, place in zip((*arrays, gradient), (rows, whole, whole, rows))]
    for ours, theirs in zip(program(*given), slopes(*arrays, gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@built
def test_other_types_are_xlas_and_the_kernel_itself_refuses_what_does_not_fit():
    x, *_, gradient = draw("channels left over")
    assert "batch_moments" in str(jax.make_jaxpr(moments)(x)) and "batch_moments" not in str(
        jax.make_jaxpr(moments)(x.astype(jnp.bfloat16))
    )
    row = jax.ShapeDtypeStruct((71,), np.float32)
    for target, given in (("jaxvision_batch_moments", ()), ("jaxvision_batch_sums", (gradient.reshape(-1, 71),))):
        with pytest.raises(Exception, match="do not fit"):
            jax.block_until_ready(jax.ffi.ffi_call(target, (row, row))(x.reshape(-1, 71), np.zeros(70, np.float32), *given))
