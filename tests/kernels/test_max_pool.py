"""Max pooling by the compiled kernel equals XLA's: values and gradients, ties, NaN, under every transformation, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import max_pool, native, plain_max_pool
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow

pytestmark = built
CASES = {  # image, window, stride, padding (before, after) of rows and of columns
    "ResNet's": ((2, 12, 13, 64), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "hanging over the edge": ((1, 7, 8, 20), (3, 3), (2, 2), ((0, 1), (0, 1))),
    "channels left over": ((3, 6, 5, 71), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "side by side": ((2, 6, 6, 3), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "unequal": ((1, 9, 12, 5), (2, 4), (3, 1), ((1, 0), (2, 1))),
    "one pixel": ((2, 1, 1, 9), (1, 1), (1, 1), ((0, 0), (0, 0))),
}


def draw(case: str) -> tuple[np.ndarray, dict]:
    shape, size, stride, padding = CASES[case]
    return np.random.default_rng(0).standard_normal(shape, np.float32), {"size": size, "stride": stride, "padding": padding}


def value_and_gradient(function, image, options):
    out, back = jax.vjp(lambda image: function(image, **options), image)
    return out, *back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_plain_forms(case, equal):
    image, options = draw(case)
    image = np.round(image) if equal else image  # the first of equal pixels gets the gradient
    ours, theirs = (value_and_gradient(function, image, options) for function in (max_pool, plain_max_pool))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6, atol=1e-6)


def test_what_is_not_a_number_is_the_largest():
    image = np.array([[1, np.nan, 2, 0], [3, 4, 5, -np.inf]], np.float32).reshape(1, 2, 4, 1)
    options = {"size": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0))}
    np.testing.assert_array_equal(max_pool(image, **options).ravel(), [np.nan, np.nan, 5])
    np.testing.assert_array_equal(max_pool(np.full((1, 2, 2, 3), -np.inf, np.float32), **options), np.full((1, 1, 1, 3), -np.inf))


@pytest.mark.parametrize("transform", ["jvp", "vmap", "vmap with one gradient", slow("hessian")])
def test_every_transformation(transform):
    image, options = draw("unequal")

    def transformed(function):
        value = lambda image: jnp.sum(jnp.sin(function(image, **options)))  # noqa: E731
        if transform == "jvp":
            return jax.jvp(jax.grad(value), (image,), (jnp.cos(image),))[1]
        if transform == "hessian":
            return jax.hessian(value)(image[:, :4, :5])
        if transform == "vmap with one gradient":
            gradient = jnp.cos(function(image, **options))
            return jax.vmap(lambda image: jax.vjp(lambda image: function(image, **options), image)[1](gradient)[0])(
                jnp.stack([image, -image])
            )
        return jax.vmap(jax.grad(value))(jnp.stack([image, -image]))

    np.testing.assert_allclose(transformed(max_pool), transformed(plain_max_pool), rtol=1e-6, atol=1e-6)


def test_devices_pool_their_own_images():
    image, options = draw("ResNet's")
    image = np.concatenate([image] * 4) + np.arange(8, dtype=np.float32)[:, None, None, None]
    rows = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    slope = jax.grad(lambda image: jnp.sum(jnp.sin(max_pool(image, **options))))
    program = jax.jit(slope, in_shardings=rows, out_shardings=rows).lower(image).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" not in program.as_text()
    np.testing.assert_allclose(program(jax.device_put(image, rows)), jax.jit(slope)(image), rtol=1e-6, atol=1e-6)


def test_other_types_are_xlas():
    image, options = draw("ResNet's")
    assert max_pool(image.astype(jnp.bfloat16), **options).dtype == jnp.bfloat16
    program = lambda image: str(jax.make_jaxpr(lambda image: max_pool(image, **options))(image))  # noqa: E731
    assert "jaxvision_pool" in program(image) and "reduce_window_max" in program(image.astype(jnp.float16))


def test_what_does_not_fit_is_refused_by_the_kernel_itself():
    image, _ = draw("ResNet's")
    pairs = {"size": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)}
    with pytest.raises(Exception, match="rows or columns"):
        native.call("jaxvision_pool", (2, 30, 7, 64), **pairs)(image, image)
    with pytest.raises(Exception, match="batch or channels"):
        native.call("jaxvision_pool", (2, 6, 7, 32), **pairs)(image, image)
    with pytest.raises(Exception, match="images"):
        native.call("jaxvision_pool", (2, 6, 7, 64), **pairs)(image, image[:1])


def test_an_image_without_a_batch_is_named():
    with pytest.raises(ValueError, match=r"^image: .*\[B, H, W, C\]"):
        max_pool(jnp.ones((4, 4, 1)), size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
