"""Colour jitter and blur by the compiled kernels are their reference implementations, mapped, differentiated and split over devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import blur, jitter, plain_blur, plain_jitter
from jaxvision.train.sharding import data_mesh
from jaxvision.typing import at_least_float32
from tests.kernels.marks import built
from tests.marks import slow

FORMS = {"jitter": (jitter, plain_jitter), "blur": (blur, plain_blur)}
forms = pytest.mark.parametrize("name", FORMS)
SHAPES = [(224, 224, 3), (13, 37, 3), (9, 8, 3), (20, 5, 3), (3, 64, 3), (24, 33, 1), (10, 12, 4)]
pytestmark = built  # else most of this compares the references with themselves


def draw(name: str, shape: tuple[int, ...], count: int = 24, taps: int = 5) -> list[np.ndarray]:
    """Images in [0, 1] and what is done to each: jitters in all orders, or taps."""
    random = np.random.default_rng(0)
    images = random.random((count, *shape), np.float32)
    images[:, :2] = images[:, :2].round()  # corners of the cube of colours, where channels tie
    if name == "blur":
        return [images, random.random((count, taps), np.float32) / taps]
    factors = random.uniform(0.2, 1.8, (count, 4)).astype(np.float32)
    factors[:, 3] = random.uniform(-0.5, 0.5, count)
    return [images, np.array(list(itertools.permutations(range(4))), np.int32)[:count], factors]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@forms
def test_images_are_the_reference_s(name, shape):
    if name == "jitter" and shape[2] == 4:
        with pytest.raises(ValueError, match="4 channels"):
            jitter(*(array[0] for array in draw(name, shape)))
        return
    given = draw(name, shape, count=6 if shape[0] == 224 else 24)
    ours, theirs = (jax.jit(jax.vmap(form))(*given) for form in FORMS[name])
    np.testing.assert_allclose(ours, theirs, atol=5e-6)


@pytest.mark.parametrize("taps", [1, 3, *(slow(taps) for taps in (23, 41))])
def test_any_odd_number_of_taps(taps):
    images, weights = draw("blur", (21, 30, 3), count=3, taps=taps)
    ours, theirs = (jax.vmap(form)(images, weights) for form in (blur, plain_blur))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_a_single_one_in_the_middle_changes_nothing():
    images, _ = draw("blur", (70, 30, 3), count=1)
    np.testing.assert_array_equal(blur(images[0], np.float32([0, 0, 1, 0, 0])), images[0])
    beside = blur(images[0], np.float32([0, 0, 0, 1, 0]))
    np.testing.assert_array_equal(beside[:-1, :-1], images[0][1:, 1:])
    np.testing.assert_array_equal(beside[-1, -1], images[0][-2, -2])  # mirrored at the last pixel


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@forms
def test_other_types_are_the_reference_s_own(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        images, *others = (array[0] for array in draw(name, (9, 8, 3)))
        image = jnp.asarray(images, dtype)
        form, plain = FORMS[name]
        ours, theirs = form(image, *others), plain(at_least_float32(image), *others).astype(dtype)
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.float64(ours), np.float64(theirs), atol=1e-2 if dtype == "bfloat16" else 0)


@pytest.mark.parametrize("transform", ["vmap of both", *(slow(name) for name in ("jvp", "grad", "vmap of one", "grad of vmap"))])
@forms
def test_every_transformation_is_the_reference_s(name, transform):
    images, *others = draw(name, (9, 8, 3), count=4)
    last = len(others)  # factors or taps

    def transformed(form):
        value = lambda image, *others: jnp.sum(jnp.sin(3 * form(image, *others)))  # noqa: E731
        one = [images[0], *(array[0] for array in others)]
        if transform == "grad":
            return jax.grad(value, (0, last))(*one)
        if transform == "jvp":
            along = lambda image, moved: form(image, *one[1:-1], moved)  # noqa: E731
            return jax.jvp(along, (one[0], one[-1]), (np.cos(one[0]), np.sin(one[-1])))
        if transform == "vmap of both":
            return jax.vmap(jax.vmap(form))(*(array.reshape(2, 2, *array.shape[1:]) for array in (images, *others)))
        if transform == "vmap of one":
            return jax.vmap(form, in_axes=(None, *[0] * last))(images[0], *others)
        return jax.grad(lambda images: jnp.sum(jax.vmap(value)(images, *others)))(images)

    ours, theirs = (jax.tree.leaves(transformed(form)) for form in FORMS[name])
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-5 * max(1, np.abs(their).max()))


@forms
def test_what_is_not_a_number_and_what_is_no_colour_are_the_reference_s(name):
    images, *others = draw(name, (13, 37, 3))
    images = 1.2 * images - 0.1
    images[::2, 4, 5, 1] = np.nan
    ours, theirs = (jax.vmap(form)(images, *others) for form in FORMS[name])
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert np.isnan(ours[0]).any() and not np.isnan(ours[1]).any()


@forms
def test_no_images_are_no_images_and_nothing_needs_a_compiler(name):
    images, *others = draw(name, (13, 37, 3), count=3)
    assert jax.vmap(FORMS[name][0])(images[:0], *(array[:0] for array in others)).shape == (0, 13, 37, 3)
    with jax.disable_jit():
        eager = FORMS[name][0](images[0], *(array[0] for array in others))
    np.testing.assert_allclose(eager, FORMS[name][1](images[0], *(array[0] for array in others)), atol=5e-6)


def test_what_does_not_fit_is_named():
    image = np.zeros((4, 9, 3), np.float32)
    with pytest.raises(ValueError, match=r"^order, factors: .*\(2,\).*\(4,\)"):
        jitter(image, np.arange(2), np.ones(4, np.float32))
    for taps in (2, 9):
        with pytest.raises(ValueError, match=f"^taps: .*{taps}"):
            blur(image, np.ones(taps, np.float32))


@forms
def test_devices_change_their_own_images_and_the_numbers_stay(name):
    given = draw(name, (13, 37, 3), count=16)
    over = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    form = jax.vmap(FORMS[name][0])
    program = jax.jit(form, in_shardings=over, out_shardings=over).lower(*given).compile()
    assert f'"jaxvision_{name}"' in program.as_text() and "all-gather" not in program.as_text()
    np.testing.assert_array_equal(program(*(jax.device_put(array, over) for array in given)), form(*given))
