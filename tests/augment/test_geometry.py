"""Rotations, shears, shifts: torchvision's pixels on noise and photographs, exact where the move is exact, the fill outside the image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.augment.geometry import affine_matrix, warped
from tests.marks import slow

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
MOVES = [  # angle, translate, scale, shear
    (0.0, (0, 0), 1.0, (0.0, 0.0)),
    (17.0, (0, 0), 1.0, (0.0, 0.0)),
    (-123.4, (3, -5), 1.0, (0.0, 0.0)),
    (0.0, (2, 1), 0.63, (0.0, 0.0)),
    (0.0, (0, 0), 1.0, (25.0, 0.0)),
    (0.0, (0, 0), 1.0, (0.0, -31.0)),
    (200.0, (-7, 4), 1.7, (12.0, -20.0)),
]


@functools.partial(jax.jit, static_argnames=("method", "fill"))
def moved(image, angle, translate, scale, shear, *, method, fill=0.0):
    return warped(image, affine_matrix(angle, translate, scale, shear), method=method, fill=fill)


def of_torchvision(name: str, image: np.ndarray, *arguments, method: str = "bilinear", fill=None) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
    from torchvision.transforms.v2 import InterpolationMode, functional

    options = {"interpolation": InterpolationMode[method.upper()], "fill": fill}
    arguments = [list(value) if isinstance(value, tuple) else value for value in arguments]
    return getattr(functional, name)(torch.tensor(image).permute(2, 0, 1), *arguments, **options).permute(1, 2, 0).numpy()


def assert_same_pixels(found, expected: np.ndarray, method: str) -> None:
    """Equal to 1e-4; for nearest but for one pixel in a thousand, which lies halfway between two of the image."""
    apart = np.abs(np.asarray(found) - expected).max(-1) > 1e-4
    assert apart.mean() <= (1e-3 if method == "nearest" else 0), f"{apart.sum()} of {apart.size} pixels differ"


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(64, 64, 3), (37, 50, 3), (50, 37, 1), (31, 31, 3)], ids=str)
def test_affine_is_that_of_torchvision(shape, method):
    image = RNG.random(shape, np.float32)
    for move in MOVES:
        assert_same_pixels(moved(image, *move, method=method), of_torchvision("affine", image, *move, method=method), method)


@pytest.mark.parametrize("name", ["skimage__chelsea.png", slow("skimage__coffee.png"), slow("skimage__rocket.jpg")])
def test_photographs_turn_as_in_torchvision(data_folder, name):
    photo = np.asarray(pytest.importorskip("PIL.Image").open(data_folder / "photos" / name).convert("RGB"), np.float32) / 255
    for method in ("bilinear", "nearest"):
        for degrees in (0.0, 30.0, -77.7, 180.0):
            expected = of_torchvision("rotate", photo, degrees, method=method)
            assert_same_pixels(jax.jit(jv.augment.rotate(degrees, method=method))(None, photo), expected, method)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_the_ground_is_the_fill(method):
    """The truth is torchvision without a fill on an image padded with it: with a fill it blends the edge twice."""
    image, fill = RNG.random((20, 33, 3), np.float32), (0.9, 0.2, 0.6)
    canvas = np.broadcast_to(np.float32(fill), (80, 93, 3)).copy()
    canvas[30:50, 30:63] = image
    for move in MOVES:
        expected = of_torchvision("affine", canvas, *move, method=method)[30:50, 30:63]
        assert_same_pixels(moved(image, *move, method=method, fill=fill), expected, method)
    nearest = of_torchvision("affine", image, *MOVES[6], method="nearest", fill=list(fill))
    assert_same_pixels(moved(image, *MOVES[6], method="nearest", fill=fill), nearest, "nearest")


def test_white_on_white_stays_white():
    for move in MOVES:
        np.testing.assert_allclose(moved(np.ones((15, 12, 3), np.float32), *move, method="bilinear", fill=1.0), 1.0, atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_whole_pixels_move_exactly(method):
    image = jnp.asarray(RNG.random((9, 12, 3), np.float32))
    np.testing.assert_array_equal(moved(image, *MOVES[0], method=method), image)
    right = jv.augment.translate(0.25, -1 / 3, method=method, fill=0.5)(None, image)
    np.testing.assert_array_equal(right, np.pad(image[3:, :9], ((0, 3), (3, 0), (0, 0)), constant_values=0.5))


def test_positive_angles_turn_as_the_names_promise():
    dot = jnp.zeros((11, 11, 1)).at[5, 9].set(1)  # right of the middle
    assert jv.augment.rotate(90)(None, dot)[1, 5] > 0.99  # up: counter-clockwise
    assert jv.augment.affine(90)(None, dot)[9, 5] > 0.99  # down: clockwise
    assert jv.augment.affine(0, scale=0.5)(None, dot)[5, 7] > 0.2
    low = jnp.zeros((11, 11, 1)).at[9, 5].set(1)
    assert jnp.argmax(jv.augment.shear(20.0)(None, low)[9, :, 0]) < 5 < jnp.argmax(jv.augment.shear(-20.0)(None, low)[9, :, 0])


@pytest.mark.parametrize("turns", range(-1, 5))
def test_quarter_turns_are_exact(turns):
    image = RNG.random((6, 9, 3), np.float32)
    np.testing.assert_array_equal(jv.augment.quarter_turns(turns)(None, jnp.asarray(image)), np.rot90(image, turns))
    square = image[:, :6]
    np.testing.assert_array_equal(jv.augment.quarter_turns((turns, turns))(None, jnp.asarray(square)), np.rot90(square, turns))
    np.testing.assert_allclose(jax.jit(jv.augment.rotate(90 * turns))(None, square), np.rot90(square, turns), atol=1e-5)


def test_quarter_turns_are_drawn_alike():
    image = RNG.random((5, 5, 2), np.float32)
    found = np.asarray(jax.jit(jax.vmap(jv.augment.quarter_turns(), (0, None)))(jax.random.split(KEY, 2000), jnp.asarray(image)))
    counts = [np.all(found == np.rot90(image, turns), axis=(1, 2, 3)).sum() for turns in range(4)]
    assert sum(counts) == 2000 and np.abs(np.array(counts) - 500).max() < 4 * np.sqrt(500)


def test_geometry_keeps_shape_and_dtype_and_draws_for_each_image():
    images = jnp.asarray(RNG.random((4, 12, 9, 1)), jnp.bfloat16)
    operations = (
        jv.augment.rotate((-30, 30)),
        jv.augment.affine((-9, 9), translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5, 5, -9, 9)),
        jv.augment.shear((-20, 20), 5.0, method="nearest"),
        jv.augment.translate((-0.3, 0.3), (0.0, 0.4)),
    )
    for operation in operations:
        found = jax.jit(jax.vmap(operation))(jax.random.split(KEY, 4), images[:1].repeat(4, 0))
        assert (found.shape, found.dtype) == (images.shape, images.dtype)
        assert len({np.asarray(image, np.float32).tobytes() for image in found}) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.rotate((30, -30)), "^degrees"),
        (lambda: jv.augment.rotate(5, method="bicubic"), "^method"),
        (lambda: jv.augment.affine(5, scale=0), "^scale"),
        (lambda: jv.augment.affine(5, translate=(0.1, -0.1)), "^translate"),
        (lambda: jv.augment.affine(5, shear=90), "^shear"),
        (lambda: jv.augment.shear((0, 95)), "^x"),
        (lambda: jv.augment.quarter_turns(0.5), "^turns"),
        (lambda: jv.augment.quarter_turns()(KEY, jnp.ones((4, 5, 3))), "^image: .*4 x 5"),
        (lambda: jv.augment.quarter_turns()(None, jnp.ones((4, 4, 3))), "^key"),
        (lambda: jv.augment.rotate((0, 9))(None, jnp.ones((4, 5, 3))), "^key"),
        (lambda: jv.augment.rotate(9, fill=(0.1, 0.2))(None, jnp.ones((4, 5, 3))), "^fill"),
        (lambda: jv.augment.rotate(9)(None, jnp.ones((2, 4, 5, 3))), "^image"),
    ],
)
def test_wrong_geometry_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [jv.augment.rotate, jv.augment.affine, jv.augment.shear, jv.augment.translate])
def test_a_number_is_exact_and_a_pair_draws(make):
    """What their first lines say: a number needs no key, a pair does and differs from key to key."""
    image, (fixed, range_) = jnp.eye(12)[..., None], (0.3, (-0.4, 0.4)) if make is jv.augment.translate else (30.0, (-30.0, 30.0))
    assert make(fixed)(None, image).shape == image.shape
    with pytest.raises(ValueError, match="^key"):
        make(range_)(None, image)
    first, second = (make(range_)(jax.random.key(seed), image) for seed in (0, 1))
    assert (first != second).any()
