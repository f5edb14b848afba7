"""Colours against torchvision: the same pixels for the same parameters, the same distribution of what is drawn.

The table of p-values (Kolmogorov-Smirnov for amounts, chi-square for choices; 10,000 draws, fixed seeds) is printed by

    python -m pytest -n 0 -s tests/augment/test_color.py
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import jaxvision as jv
from jaxvision.augment import color
from tests.augment.test_draws import KEYS, check_pvalue, same_amounts, theirs_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402

IMAGE = np.random.default_rng(0).random((21, 30, 3), np.float32)
IMAGE[:3] = IMAGE[:3, :, :1]  # grays have no hue
IMAGE[3:6] = IMAGE[3:6].round()  # corners of the cube, where two channels tie for the largest
FORMULAS = {
    "brightness": (color.adjust_brightness, functional.adjust_brightness, (0.0, 0.4, 1.0, 1.8)),
    "contrast": (color.adjust_contrast, functional.adjust_contrast, (0.0, 0.4, 1.0, 1.8)),
    "saturation": (color.adjust_saturation, functional.adjust_saturation, (0.0, 0.4, 1.0, 1.8)),
    "hue": (color.adjust_hue, functional.adjust_hue, (-0.5, -0.17, 0.0, 0.2, 0.5)),
}
TOLERANCE = 2e-5  # contrast's mean is a whole number of 65536ths


def theirs(function, image: np.ndarray, *parameters) -> np.ndarray:
    return function(torch.tensor(image).permute(2, 0, 1), *parameters).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name, channels):
    ours, function, parameters = FORMULAS[name]
    image = IMAGE[..., :channels]
    for parameter in parameters:
        np.testing.assert_allclose(jax.jit(ours)(image, parameter), theirs(function, image, parameter), atol=TOLERANCE)


def test_grayscale():
    expected = theirs(functional.rgb_to_grayscale, IMAGE, 3)
    np.testing.assert_allclose(color.to_grayscale(jnp.asarray(IMAGE)), expected, atol=1e-6)
    np.testing.assert_array_equal(color.to_grayscale(jnp.asarray(IMAGE[..., :1])), IMAGE[..., :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_in_every_order(channels):
    image = IMAGE[..., :channels]
    orders = np.array(list(itertools.permutations(range(4))))
    factors = np.random.default_rng(1).uniform(0.2, 1.8, (24, 4)).astype(np.float32)
    factors[:, 3] = (factors[:, 3] - 1) / 1.6
    found = jax.jit(jax.vmap(color.jittered, (None, 0, 0)))(image, orders, factors)
    functions = [function for _, function, _ in FORMULAS.values()]
    for order, factor, result in zip(orders, factors, found, strict=True):
        expected = image
        for place in order:
            expected = theirs(functions[place], expected, float(factor[place]))
        np.testing.assert_allclose(result, expected, atol=2 * TOLERANCE, err_msg=str(order))


def test_photographs(data_folder):
    """Within 2 / 255 is asked for; the largest difference of all is printed."""
    largest = 0.0
    for name in ("skimage__astronaut.png", "skimage__coffee.png", "imageio__kodim03.png"):
        image = np.asarray(Image.open(data_folder / "photos" / name).convert("RGB").resize((240, 200)), np.float32) / 255
        for ours, function, parameters in FORMULAS.values():
            for parameter in parameters:
                found = jax.jit(ours)(jnp.asarray(image), parameter)
                largest = max(largest, np.abs(np.asarray(found) - theirs(function, image, parameter)).max())
    print(f"colours of photographs: largest difference {255 * largest:.4f} / 255")
    assert largest < 2e-5


JITTER = {"brightness": 0.8, "contrast": (0.5, 3.0), "saturation": 1.6, "hue": 0.2}


def test_factors_and_order_of_the_jitter(monkeypatch):
    monkeypatch.setattr(color, "jittered", lambda image, order, factors: (order, factors))
    order, factors = jax.jit(jax.vmap(jv.augment.color_jitter(**JITTER), (0, None)))(KEYS, IMAGE)
    drawn = theirs_of(v2.ColorJitter(**JITTER))
    for place, name in enumerate(FORMULAS):
        same_amounts(f"colour jitter: {name}", factors[:, place], [draw[f"{name}_factor"] for draw in drawn])
    assert np.abs(np.corrcoef(np.concatenate([factors, order[:, :1]], 1).T) - np.eye(5)).max() < 0.05
    number = np.asarray(order) @ (4 ** np.arange(4))
    their_number = np.array([np.asarray(draw["fn_idx"]) for draw in drawn]) @ (4 ** np.arange(4))
    values = np.unique(number)
    assert len(values) == 24
    counts = [[np.sum(sample == value) for value in values] for sample in (number, their_number)]
    check_pvalue("colour jitter: order, against torchvision's", stats.chi2_contingency(counts).pvalue)
    check_pvalue("colour jitter: order, against all alike", stats.chisquare(counts[0]).pvalue)


def test_shares_of_grayscale():
    dropped = jax.jit(jax.vmap(jv.augment.grayscale(probability=0.2), (0, None)))(KEYS, IMAGE[6:8, :2])
    count = int(np.sum(np.asarray(dropped)[:, 0, 0, 0] != IMAGE[6, 0, 0]))
    check_pvalue("grayscale: share of images", stats.chisquare([count, len(KEYS) - count], [2000, 8000]).pvalue)


@pytest.mark.parametrize("name", FORMULAS)
def test_operations_draw_from_their_range(name, monkeypatch):
    low, high = (-0.1, 0.3) if name == "hue" else (0.5, 3.0)
    monkeypatch.setattr(color, f"adjust_{name}", lambda image, factor: factor)
    operation = getattr(jv.augment, name)
    assert operation(high)(None, jnp.asarray(IMAGE)) == high
    same_amounts(f"{name}: factor", jax.vmap(operation((low, high)), (0, None))(KEYS, IMAGE), np.linspace(low, high, 10_000))


def test_half_precision_stays_and_is_computed_in_float32():
    image = jnp.asarray(IMAGE, jnp.bfloat16)
    found = jv.augment.color_jitter(0.4, 0.4, 0.4, 0.1)(KEYS[0], image)
    expected = jv.augment.color_jitter(0.4, 0.4, 0.4, 0.1)(KEYS[0], image.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.color_jitter(hue=0.6), "^hue"),
        (lambda: jv.augment.color_jitter(hue=(-0.6, 0.1)), "^hue"),
        (lambda: jv.augment.color_jitter(contrast=-1), "^contrast"),
        (lambda: jv.augment.saturation((2, 1)), "^factor"),
        (lambda: jv.augment.hue(0.6), "^shift"),
        (lambda: jv.augment.contrast(2)(None, jnp.zeros((4, 4, 2))), "^image"),
        (lambda: jv.augment.color_jitter(1)(None, jnp.zeros((4, 4, 3))), "^key"),
        (lambda: jv.augment.grayscale()(None, jnp.zeros((4, 4, 3), jnp.uint8)), "^image"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
