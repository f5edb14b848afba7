"""Products of rows with a matrix equal NumPy's and their reference, with every derivative; values behind a barrier are computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import barrier, native, plain_product, product
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow, split

SHAPES = {  # rows, columns of the matrix; of the matrix's gradient the narrower operand is turned, or packed in tiles
    "widening": ((16, 3, 6), 10),
    "narrowing": ((16, 3, 10), 4),
    "two dimensions": ((24, 5), 5),
    "an image": ((8, 4, 5, 6), 3),
    "no rows": ((0, 4), 3),
    "compiled, widening": ((5, 19, 21), 50),
    "compiled, narrowing, several steps": ((99, 800), 37),
    "compiled, many chunks": ((2, 60, 59, 9), 4),
    "compiled, one and one": ((70, 1), 1),
}
FEW = ("widening", "compiled, narrowing, several steps")  # with every derivative in the fast tests
cases = pytest.mark.parametrize("case", SHAPES)
few_cases = pytest.mark.parametrize("case", split(SHAPES, FEW))


def draw(case: str) -> tuple[np.ndarray, np.ndarray]:
    random, (shape, columns) = np.random.default_rng(0), SHAPES[case]
    return random.standard_normal(shape), random.standard_normal((shape[-1], columns)) / shape[-1] ** 0.5


def signal_of(shape) -> np.ndarray:
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


@cases
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [("float32", 1e-6), *(slow(*row) for row in (("float64", 1e-14), ("bfloat16", 2e-2)))],
)
def test_value_and_gradients_are_numpys(case, dtype, bound):
    rows, matrix = draw(case)
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(rows, dtype), jnp.asarray(matrix, dtype)
        rows, matrix = (np.asarray(array, np.float64) for array in given)
        out, back = jax.vjp(product, *given)
        signal = jnp.asarray(signal_of(out.shape), dtype)
        found, flat = (out, *back(signal)), np.asarray(signal, np.float64)
        expected = rows @ matrix, flat @ matrix.T, rows.reshape(-1, rows.shape[-1]).T @ flat.reshape(-1, flat.shape[-1])
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(np.float64(ours), theirs, atol=bound * max(1, np.abs(theirs).max(initial=0)))


@few_cases
@pytest.mark.parametrize(
    "transform",
    [
        "jvp",
        "vmap of rows",
        *(slow(name) for name in ("forward over reverse", "reverse over reverse", "vmap", "vmap of one")),
    ],
)
def test_every_transformation_is_the_reference_s(case, transform):
    """A second derivative is compared in float64: two in float32 lie up to twice as far from each other as from it."""

    def transformed(function, rows, matrix):
        value = lambda rows, matrix: jnp.sum(jnp.sin(function(rows, matrix)))  # noqa: E731
        slope = jax.grad(value, (0, 1))
        if transform == "jvp":
            return jax.jvp(function, (rows, matrix), (np.cos(rows), np.sin(matrix)))
        if transform == "forward over reverse":
            return jax.jvp(slope, (rows, matrix), (np.cos(rows), np.sin(matrix)))
        if transform == "reverse over reverse":
            return jax.grad(lambda *given: sum(jnp.sum(jnp.square(part)) for part in slope(*given)), (0, 1))(rows, matrix)
        if transform == "vmap":
            return jax.vmap(slope)(jnp.stack([rows, -rows]), jnp.stack([matrix, 2 * matrix]))
        if transform == "vmap of rows":
            return jax.vmap(slope, in_axes=(1, None))(jnp.stack([rows, -rows, 2 * rows], axis=1), matrix)
        return jax.jit(jax.vmap(slope, in_axes=(None, 2)))(rows, jnp.stack([matrix, 2 * matrix], axis=2))

    given = [np.float32(array) for array in draw(case)]
    ours = jax.tree.leaves(transformed(product, *given))
    dtype = "float64" if transform == "reverse over reverse" else "float32"
    with jax.enable_x64(dtype == "float64"):
        theirs = jax.tree.map(np.asarray, jax.tree.leaves(transformed(plain_product, *(array.astype(dtype) for array in given))))
    bound = 3e-6 if case == "compiled, many chunks" else 1e-6  # sums over 7,080 rows there
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == np.float32
        np.testing.assert_allclose(our, their, atol=bound * max(1, np.abs(their).max(initial=0)))


def test_types_that_differ_are_promoted_and_a_vector_is_multiplied_too():
    rows, matrix = draw("two dimensions")
    for count in (1, 4):  # few and many rows
        many = jnp.asarray(np.tile(rows, (count, 1)), jnp.bfloat16)
        assert product(many, np.float32(matrix)).dtype == np.float32
        assert product(many, np.zeros((5, 0), np.float32)).shape == (24 * count, 0)
    np.testing.assert_allclose(product(np.float32(rows[0]), np.float32(matrix)), rows[0] @ matrix, rtol=1e-5)


@built
def test_rows_enough_are_multiplied_by_the_compiled_kernel_and_few_by_xla():
    matrix = np.ones((5, 7), np.float32)
    slope = jax.jit(jax.grad(lambda rows, matrix: jnp.sum(jnp.sin(product(rows, matrix))), (0, 1)))
    many, few = (slope.lower(np.ones((count, 5), np.float32), matrix).compile().as_text() for count in (64, 63))
    for name in ("", "_rows_gradient", "_matrix_gradient"):
        assert f'"jaxvision_product{name}"' in many and f"jaxvision_product{name}" not in few
    assert " dot(" not in many


@pytest.mark.parametrize("case", [slow("widening"), "many rows"])
def test_devices_multiply_their_own_rows(case):
    random = np.random.default_rng(0)
    rows, matrix = random.standard_normal((16, 3 if case == "widening" else 90, 6), np.float32), random.standard_normal((6, 10), np.float32)
    over = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    slope = jax.grad(lambda rows, matrix: jnp.sum(jnp.sin(product(rows, matrix))), (0, 1))
    whole = NamedSharding(over.mesh, PartitionSpec())
    program = jax.jit(slope, in_shardings=(over, whole), out_shardings=(over, whole)).lower(rows, matrix).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" in program.as_text()
    assert ("jaxvision_product" in program.as_text()) == (case == "many rows" and native.library() is not None)
    for ours, theirs in zip(program(jax.device_put(rows, over), jax.device_put(matrix, whole)), slope(rows, matrix), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-6 * np.abs(theirs).max())  # sums over 1,440 rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_a_barrier_is_the_identity(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(signal_of((3, 4)), dtype)
        value = lambda x: jnp.sum(jnp.sin(barrier(2 * x) * barrier(x)))  # noqa: E731
        plain = lambda x: jnp.sum(jnp.sin(2 * x * x))  # noqa: E731
        for transform in (lambda f: f, jax.grad, jax.hessian, lambda f: jax.vmap(jax.grad(f))):
            ours, theirs = (jax.jit(transform(function))(x) for function in (value, plain))
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(np.float64(ours), np.float64(theirs), rtol=2e-2 if dtype == "bfloat16" else 1e-5, atol=1e-6)
        np.testing.assert_array_equal(x, jnp.asarray(signal_of((3, 4)), dtype))  # what is written in place is not what was given


@built
def test_the_gradient_along_a_chain_of_shortcuts_grows_with_its_length_and_not_with_its_square():
    def additions(length: int, join) -> int:
        """In the compiled program of the gradient."""

        def chain(x, matrices):
            for matrix in matrices:
                centred = x - jnp.mean(x, axis=-1, keepdims=True)
                normed = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-6)
                x = join(x + product(normed, matrix))
            return jnp.sum(jnp.square(x))

        given = np.ones((32, 8), np.float32), [np.ones((8, 8), np.float32)] * length
        return jax.jit(jax.grad(chain, (0, 1))).lower(*given).compile().as_text().count(" add(")

    assert additions(12, barrier) <= 2.1 * additions(6, barrier)
    assert additions(12, lambda x: x) >= 2.5 * additions(6, lambda x: x)  # else XLA does it by itself and the barrier is of no use


@built
def test_devices_keep_their_own_part_behind_a_barrier():
    x = np.float32(signal_of((16, 3, 5)))
    over = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    program = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(barrier(x * 2)))), in_shardings=over, out_shardings=over).lower(x).compile()
    assert "all-gather" not in program.as_text() and "f32[2,3,5]" in program.as_text()
    np.testing.assert_allclose(program(jax.device_put(x, over)), 2 * np.cos(2 * x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 5, 4)])
def test_a_matrix_that_does_not_fit_is_named(shape):
    with pytest.raises(ValueError, match=r"^matrix: .*\[C, D\]"):
        product(jnp.ones((2, 5)), jnp.ones(shape))
