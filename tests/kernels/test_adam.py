"""Adam's update by the compiled kernel is the paper's in float64, in place, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import AdamArrays, AdamNumbers, adam, plain_adam
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow

NUMBERS = AdamNumbers(
    beta1=0.9,
    rest1=0.1,
    beta2=0.98,
    rest2=0.02,
    first=1 / (1 - 0.9**3),
    second=1 / (1 - 0.98**3),
    epsilon=1e-6,
    clip=0.7,
    coupled=0.3,
    decoupled=0.2,
    rate=0.05,
    decay=0.95,
    rest=0.05,
    finite=True,
)
SHAPES = [(), (1,), (7,), (3, 3, 5, 16), (40_000,), (2, 65_537), (0, 4)]


def draw(shape: tuple[int, ...], average: bool) -> tuple[np.ndarray, AdamArrays]:
    """A gradient and what it moves."""
    random = np.random.default_rng(0)
    gradient, param, mean, square, old = (np.asarray(random.standard_normal(shape), np.float32) for _ in range(5))
    return gradient, AdamArrays(param, mean, 0.1 + np.square(square), old if average else None)


def by_definition(gradient, moving: AdamArrays, n: AdamNumbers) -> list[np.ndarray]:
    """In float64: Kingma & Ba (2015), algorithm 1, with weight decay before it and (Loshchilov & Hutter, 2019, algorithm 2) after it."""
    gradient, param, mean, square, average = (np.float64(np.nan if array is None else array) for array in (gradient, *moving))
    gradient = n.clip * gradient + n.coupled * param
    mean = n.beta1 * mean + (1 - n.beta1) * gradient
    square = n.beta2 * square + (1 - n.beta2) * gradient**2
    corrected = n.first * mean / (np.sqrt(n.second * square) + n.epsilon)
    param = param - n.rate * (corrected + n.decoupled * param)
    return [param, mean, square, n.decay * average + (1 - n.decay) * param]


def compared(found: AdamArrays, expected: list[np.ndarray], bound: float = 1e-6) -> None:
    for ours, theirs in zip(found, expected):
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("form", [adam, plain_adam])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_definition_in_float64(shape, average, form):
    gradient, moving = draw(shape, average)
    found = jax.jit(form)(gradient, moving, NUMBERS)
    assert (found.average is None) == (not average) and found.param.shape == shape
    compared(found, by_definition(gradient, moving, NUMBERS))


@pytest.mark.parametrize("form", [adam, plain_adam])
def test_nothing_moves_where_the_update_is_not_finite(form):
    gradient, moving = draw((300,), True)
    gradient[7] = np.nan
    for ours, theirs in zip(jax.jit(form)(gradient, moving, NUMBERS._replace(finite=False)), moving, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@built
def test_donated_arrays_are_written_in_place_and_others_are_kept():
    gradient, moving = draw((3, 50_000), True)
    program = jax.jit(adam, donate_argnums=1)
    compiled = program.lower(gradient, moving, NUMBERS).compile()
    assert compiled.memory_analysis().alias_size_in_bytes >= 4 * gradient.nbytes
    assert compiled.memory_analysis().temp_size_in_bytes < gradient.nbytes
    given = jax.tree.map(jnp.array, moving)
    found = jax.jit(adam)(gradient, given, NUMBERS)
    for kept, before in zip(given, moving, strict=True):
        np.testing.assert_array_equal(kept, before)
    compared(program(gradient, given, NUMBERS), list(found), bound=0)


@pytest.mark.parametrize("transform", ["jvp", "grad", "vmap", "scan"])
def test_every_transformation_is_the_reference_s(transform):
    gradient, moving = draw((4, 33), True)

    def transformed(form):
        value = lambda gradient, rate: jnp.sum(jnp.square(form(gradient, moving, NUMBERS._replace(rate=rate)).average))  # noqa: E731
        if transform == "jvp":
            return jax.jvp(value, (gradient, 0.05), (np.cos(gradient), 1.0))
        if transform == "grad":
            return jax.grad(value, (0, 1))(gradient, 0.05)
        if transform == "vmap":
            return jax.vmap(lambda gradient, moving: form(gradient, moving, NUMBERS))(gradient, moving)
        return jax.lax.scan(lambda moving, gradient: (form(gradient, moving, NUMBERS), None), moving, jnp.stack([gradient] * 3))[0]

    for ours, theirs in zip(*(jax.tree.leaves(transformed(form)) for form in (adam, plain_adam)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@built
@pytest.mark.parametrize("axis", [0, slow(1)])
def test_devices_move_their_own_parts(axis):
    gradient, moving = draw((24, 4000), True)
    mesh = data_mesh(jax.devices()[:8])
    split = NamedSharding(mesh, PartitionSpec(*("data" if index == axis else None for index in range(2))))
    program = jax.jit(lambda gradient, moving: adam(gradient, moving, NUMBERS), in_shardings=(split, split), out_shardings=split)
    given = jax.device_put((gradient, moving), split)
    assert "all-gather" not in program.lower(*given).compile().as_text()
    compared(program(*given), by_definition(gradient, moving, NUMBERS))


@built
def test_other_types_are_the_reference_s_and_the_kernel_itself_refuses_what_does_not_fit():
    gradient, moving = draw((6,), False)
    text = lambda *given: str(jax.make_jaxpr(adam)(*given, NUMBERS))  # noqa: E731
    assert "adam[" in text(gradient, moving)
    assert "adam[" not in text(gradient, jax.tree.map(lambda array: array.astype(jnp.bfloat16), moving))
    row, one = np.zeros(len(NUMBERS), np.float32), jax.ShapeDtypeStruct((6,), np.float32)
    call = jax.ffi.ffi_call("jaxvision_adam", [one] * 3)
    for arrays, numbers in (((gradient[:5], *moving[:3]), row), ((gradient, *moving[:3]), row[1:])):
        with pytest.raises(Exception, match="numbers"):
            jax.block_until_ready(call(*arrays, numbers))
    call = jax.ffi.ffi_call("jaxvision_adam_average", [one] * 4)
    with pytest.raises(Exception, match="average"):
        jax.block_until_ready(call(gradient, *moving[:3], gradient[:5], row))
