"""The distribution of everything drawn for moves, erasing, mixing and policies against torchvision's: 10,000 draws each.

The table of p-values (Kolmogorov-Smirnov for amounts, chi-square for choices; seeds are fixed) is printed by

    python -m pytest -n 0 -s tests/augment/test_draws.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxvision as jv
from jaxvision.augment import geometry
from jaxvision.augment.erasing import draw_cutout, draw_erased
from jaxvision.augment.policies import draw_mixture

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
from torchvision.transforms import v2  # noqa: E402

COUNT = 10_000
KEYS = jax.random.split(jax.random.key(20), COUNT)
SHAPE = (40, 64)
IMAGE = jnp.zeros((*SHAPE, 3))


def check_pvalue(what: str, pvalue: float) -> None:
    print(f"{what:45s} p = {pvalue:.3f}")
    assert pvalue > 0.01, what


def same_amounts(what: str, ours, theirs) -> None:
    """Kolmogorov-Smirnov on two samples."""
    check_pvalue(what, stats.ks_2samp(np.asarray(ours, float), np.asarray(theirs, float)).pvalue)


def same_choices(what: str, ours, theirs) -> None:
    """Chi-square on the counts of two samples of whole numbers."""
    values = np.union1d(ours, theirs)
    counts = [[np.sum(np.asarray(sample) == value) for value in values] for sample in (ours, theirs)]
    check_pvalue(what, stats.chi2_contingency(counts).pvalue)


def theirs_of(transform, shape=SHAPE) -> list[dict]:
    """What torchvision draws, again and again."""
    torch.manual_seed(20)
    blank = [torch.zeros(3, *shape)]
    return [transform.make_params(blank) for _ in range(COUNT)]


def our_moves(operation, monkeypatch) -> np.ndarray:
    """[10000, 6]: angle, shift, scale and shear that an operation of geometry.py draws."""
    monkeypatch.setattr(geometry, "affine_matrix", lambda angle, shift, scale, shear: jnp.array([angle, *shift, scale, *shear], float))
    monkeypatch.setattr(geometry, "warped", lambda image, matrix, **options: matrix)
    return np.asarray(jax.jit(jax.vmap(operation, (0, None)))(KEYS, IMAGE))


def test_rotations(monkeypatch):
    ours = -our_moves(jv.augment.rotate((-30.0, 70.0)), monkeypatch)[:, 0]
    same_amounts("rotation: angle", ours, [drawn["angle"] for drawn in theirs_of(v2.RandomRotation((-30.0, 70.0)))])


def test_affine_moves(monkeypatch):
    options = {"translate": (0.1, 0.4), "scale": (0.7, 1.6), "shear": (-10.0, 20.0, 5.0, 30.0)}
    ours = our_moves(jv.augment.affine((-30.0, 10.0), **options), monkeypatch)
    theirs = np.array(
        [[d["angle"], *d["translate"], d["scale"], *d["shear"]] for d in theirs_of(v2.RandomAffine((-30.0, 10.0), **options))]
    )
    for column, name in enumerate(("angle", "translate x", "translate y", "scale", "shear x", "shear y")):
        same_amounts(f"affine: {name}", ours[:, column], theirs[:, column])
    assert np.abs(np.corrcoef(ours.T) - np.eye(6)).max() < 0.05
    for column in (1, 2):
        np.testing.assert_array_equal(ours[:, column], ours[:, column].round())


@pytest.mark.parametrize("scale", [(0.02, 0.33), (0.4, 1.0)], ids=["usual", "hard"])
def test_erased_rectangles(scale):
    """The hard range fails all ten tries now and then: the share of images that stay whole must agree too."""
    ratio = (0.3, 3.3)
    ours = np.asarray(jax.jit(jax.vmap(lambda key: draw_erased(key, SHAPE, scale, ratio)))(KEYS))
    drawn = theirs_of(v2.RandomErasing(scale=scale, ratio=ratio))
    theirs = np.array([[d["i"], d["j"], d["h"], d["w"]] if d["v"] is not None else [0, 0, 0, 0] for d in drawn])
    for name, read in {
        "area": lambda rectangle: rectangle[:, 2] * rectangle[:, 3],
        "aspect": lambda rectangle: rectangle[:, 2] / np.maximum(rectangle[:, 3], 1),
        "top": lambda rectangle: rectangle[rectangle[:, 2] > 0, 0],
        "left": lambda rectangle: rectangle[rectangle[:, 2] > 0, 1],
    }.items():
        same_amounts(f"erasing {scale}: {name}", read(ours), read(theirs))
    if scale[1] == 1:
        same_choices("erasing (0.4, 1.0): painted at all", ours[:, 2] > 0, theirs[:, 2] > 0)


def test_places_of_cutout():
    """The truth is the paper's own drawing: a uniform centre, half the side to each side of it, cut at the border."""
    size, rng = 16, np.random.default_rng(20)
    ours = np.asarray(jax.jit(jax.vmap(lambda key: draw_cutout(key, SHAPE, size)))(KEYS))
    for axis, (name, length) in enumerate(zip(("rows", "columns"), SHAPE, strict=True)):
        centre = rng.integers(0, length, COUNT)
        low, high = np.clip(centre - size // 2, 0, length), np.clip(centre + size // 2, 0, length)
        start, stop = (np.clip(ours[:, axis] + offset, 0, length) for offset in (0, size))
        same_amounts(f"cutout: first of the {name}", start, low)
        same_amounts(f"cutout: number of {name}", stop - start, high - low)


def shares(function, shape: tuple[int, int]) -> np.ndarray:
    """What 10,000 examples of class 0, each after one of class 1, keep of their own label."""
    batch = {"image": jnp.zeros((2 * COUNT, *shape, 1), jnp.uint8), "label": jnp.arange(2 * COUNT) % 2}
    return np.asarray(jax.jit(lambda batch: function(KEYS[0], batch)["label"])(batch))[::2, 0]


@pytest.mark.slow
def test_shares_of_mixing():
    alpha = 0.4
    lam = [drawn["lam"] for drawn in theirs_of(v2.MixUp(alpha=alpha, num_classes=2))]
    same_amounts(f"mixup, alpha {alpha}: share kept", shares(jv.augment.mixup(alpha, num_classes=2), (1, 1)), lam)
    ours = shares(jv.augment.cutmix(alpha, num_classes=2), (12, 20))
    theirs = np.array([drawn["lam_adjusted"] for drawn in theirs_of(v2.CutMix(alpha=alpha, num_classes=2), (12, 20))])
    same_amounts(f"cutmix, alpha {alpha}: pixels of the box", np.round(240 * (1 - ours)), np.round(240 * (1 - theirs)))


def test_shares_of_aug_mix():
    """torchvision draws both from Dirichlet distributions: (original, augmented), and the chains within the augmented part."""
    alpha = 0.6
    ours = np.asarray(jax.jit(jax.vmap(lambda key: draw_mixture(key, 3, alpha)))(KEYS))
    torch.manual_seed(20)
    draw = v2.AugMix()._sample_dirichlet
    parts = draw(torch.full((COUNT, 2), alpha)).numpy()
    theirs = np.concatenate([parts[:, :1], draw(torch.full((COUNT, 3), alpha)).numpy() * parts[:, 1:]], axis=1)
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-6)
    for column, name in enumerate(("original", "first chain", "second chain", "third chain")):
        same_amounts(f"AugMix, alpha {alpha}: share of the {name}", ours[:, column], theirs[:, column])
