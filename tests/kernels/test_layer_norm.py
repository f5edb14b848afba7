"""Layer normalisation by the compiled kernel is the paper's in float64, with every derivative, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import layer_norm, plain_layer_norm
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow

SHAPES = {
    "tokens": (2, 197, 384),
    "a map": (2, 7, 6, 96),
    "channels left over": (300, 71),
    "two channels": (5, 2),
    "one channel": (4, 1),
    "one row of many": (1, 20000),
    "no rows": (0, 8),
}


def draw(case: str) -> list[np.ndarray]:
    """Rows with a mean far from 0, scale, bias, and the gradient of what comes out."""
    random, shape = np.random.default_rng(0), SHAPES[case]
    return [random.standard_normal(size, np.float32) + mean for size, mean in ((shape, 3), (shape[-1:], 1), (shape[-1:], 0), (shape, 0))]


def by_definition(x, scale, bias, gradient, epsilon):
    """Value and gradients in float64."""
    x, scale, bias, gradient = (np.float64(array) for array in (x, scale, bias, gradient))
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    normed, slope = (x - x.mean(axis=-1, keepdims=True)) / deviation, gradient * scale
    mean = lambda array: array.mean(axis=-1, keepdims=True)  # noqa: E731
    rows = tuple(range(x.ndim - 1))
    to_x = (slope - mean(slope) - normed * mean(slope * normed)) / deviation
    return normed * scale + bias, to_x, (gradient * normed).sum(axis=rows), gradient.sum(axis=rows)


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-6, 1e-2])
def test_value_and_gradients_are_the_definition(case, epsilon):
    *arrays, gradient = draw(case)
    value, back = jax.vjp(lambda *arrays: layer_norm(*arrays, epsilon=epsilon), *arrays)
    steepest = np.max(np.abs(gradient) / np.sqrt(arrays[0].var(axis=-1, keepdims=True) + epsilon), initial=1)  # one channel does not vary
    for ours, theirs in zip((value, *back(gradient)), by_definition(*arrays, gradient, epsilon), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * max(steepest, np.abs(theirs).max(initial=0)))


@pytest.mark.parametrize(
    "transform",
    [
        "jvp",
        "vmap",
        *(slow(name) for name in ("forward over reverse", "reverse over reverse", "vmap of the scale")),
    ],
)
def test_every_transformation_is_the_reference_s(transform):
    arrays = [array.astype(np.float32) for array in draw("a map")[:3]]
    directions = [np.cos(array) for array in arrays]

    def transformed(function):
        value = lambda *arrays: jnp.sum(jnp.sin(function(*arrays, epsilon=1e-6)))  # noqa: E731
        slope = jax.grad(value, (0, 1, 2))
        if transform == "jvp":
            return jax.jvp(value, arrays, directions)
        if transform == "forward over reverse":
            return jax.jvp(slope, arrays, directions)
        if transform == "reverse over reverse":
            return jax.grad(lambda *arrays: sum(jnp.sum(jnp.square(part)) for part in slope(*arrays)), (0, 1, 2))(*arrays)
        if transform == "vmap":
            return jax.vmap(slope, in_axes=(0, None, None))(*arrays)
        return jax.jit(jax.vmap(slope, in_axes=(None, 1, None)))(arrays[0], jnp.stack([arrays[1], -arrays[1]], axis=1), arrays[2])

    ours, theirs = (jax.tree.leaves(transformed(function)) for function in (layer_norm, plain_layer_norm))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=2e-5 * max(1, np.abs(their).max()))


def test_rows_that_do_not_vary_and_what_is_not_a_number():
    scale, bias = np.ones(12, np.float32), np.full(12, 0.5, np.float32)
    np.testing.assert_array_equal(layer_norm(np.full((3, 12), 7, np.float32), scale, bias, epsilon=1e-6), np.full((3, 12), 0.5))
    rows = np.random.default_rng(0).standard_normal((3, 12), np.float32)
    rows[1, 10] = np.nan
    np.testing.assert_array_equal(np.isnan(layer_norm(rows, scale, bias, epsilon=1e-6)).all(axis=1), [False, True, False])


def test_the_number_of_threads_changes_no_digit():
    """The gradients of scale and bias are summed in an order that the shape alone decides."""
    *arrays, gradient = draw("tokens")
    back = jax.jit(lambda *arrays: jax.vjp(lambda *arrays: layer_norm(*arrays, epsilon=1e-6), *arrays)[1](gradient))
    first = back(*arrays)
    for _ in range(5):
        for ours, again in zip(first, back(*arrays), strict=True):
            np.testing.assert_array_equal(ours, again)


@built
def test_devices_normalise_their_own_rows_and_add_up():
    *arrays, gradient = draw("a map")
    x, gradient = (np.concatenate([array] * 4) for array in (arrays[0], gradient))
    rows = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    whole = NamedSharding(rows.mesh, PartitionSpec())

    def slopes(x, scale, bias, gradient):
        return jax.vjp(lambda *arrays: layer_norm(*arrays, epsilon=1e-6), x, scale, bias)[1](gradient)

    program = jax.jit(slopes, in_shardings=(rows, whole, whole, rows), out_shardings=(rows, whole, whole))
    text = program.lower(x, *arrays[1:], gradient).compile().as_text()
    assert "all-gather" not in text and "all-reduce" in text
    given = [jax.device_put(array, place) for array, place in zip((x, *arrays[1:], gradient), (rows, whole, whole, rows))]
    for ours, theirs in zip(program(*given), slopes(x, *arrays[1:], gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@built
def test_other_types_are_xlas_and_the_kernel_itself_refuses_what_does_not_fit():
    x, scale, bias, _ = draw("channels left over")
    text = lambda *arrays: str(jax.make_jaxpr(lambda *arrays: layer_norm(*arrays, epsilon=1e-6))(*arrays))  # noqa: E731
    assert "rsqrt" not in text(x, scale, bias) and "rsqrt" in text(x.astype(jnp.bfloat16), scale, bias)
    result = jax.ShapeDtypeStruct(x.shape, np.float32)
    with pytest.raises(Exception, match="scale"):
        jax.ffi.ffi_call("jaxvision_layer_norm", result)(x, scale[1:], bias, epsilon=1e-6)


@pytest.mark.parametrize("name", ["scale", "bias"])
def test_a_vector_that_does_not_fit_is_named(name):
    vectors = {"scale": jnp.ones(3), "bias": jnp.ones(3)} | {name: jnp.ones(1)}
    with pytest.raises(ValueError, match=f"^{name}: "):
        layer_norm(jnp.ones((2, 3)), *vectors.values(), epsilon=1e-6)
