"""Losses beside independent implementations of their papers' formulas, under every driver: values, gradients, and the documented table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import losses_table
from jaxvision import losses
from tests.losses.cases import BOUNDS, CASES, errors, inputs, truth
from tests.losses.drivers import COUNTS, DRIVERS, run
from tests.marks import slow

EVERY = [(driver, count) for count in COUNTS for driver in DRIVERS]
NAMES = list(CASES)
ONE_EACH = {case.loss: name for name, case in CASES.items() if case.slack == 1}  # one temperature of every loss
# float32: each loss on one mapped axis of several shards; float64: each on one of the other pairs; every pair of them occurs
MAPPED = [(driver, count) for driver, count in EVERY if driver != "jit" and count > 1]
OTHERS = [pair for pair in EVERY if pair not in MAPPED]
PLACE = {loss: place for place, loss in enumerate(ONE_EACH)}
SOME = [(name, *MAPPED[PLACE[case.loss] % len(MAPPED)]) for name, case in CASES.items()]
SOME_WIDE = [(name, *OTHERS[PLACE[loss] % len(OTHERS)]) for loss, name in ONE_EACH.items()]


def check(name: str, dtype: str, driver: str, count: int) -> None:
    """Value and gradients within their bounds, in the type that went in."""
    with jax.enable_x64(dtype == "float64"):
        value, slopes = run(name, dtype, driver, count)
        found, slope = errors(name, dtype, value, slopes)
    if CASES[name].everywhere:
        assert len(value) == (1 if driver == "jit" else count)
    assert value.dtype == dtype and all(array.dtype == dtype for array in slopes)
    bound, slope_bound = BOUNDS[dtype]
    assert found <= bound * CASES[name].slack
    assert slope is None or slope <= slope_bound * CASES[name].slack


def test_every_loss_meets_a_mapped_axis_of_several_shards():
    """On one device, or under jit alone, what looks at its own shard only would pass."""
    assert {CASES[name].loss for name, driver, count in SOME if driver in ("shard_map", "pmap") and count > 1} == set(ONE_EACH)
    assert {case.loss for case in CASES.values()} == set(ONE_EACH)
    assert {(driver, count) for _, driver, count in SOME + SOME_WIDE} == set(EVERY)


@pytest.mark.parametrize("name", ["barlow_twins", "effective_rank"])
def test_a_nan_is_never_within_the_bound(name):
    value, slopes = truth(name, "float64")
    broken = [slope.copy() for slope in slopes]
    if broken:
        broken[-1].flat[0] = np.nan
        assert np.isnan(errors(name, "float64", value, broken)[1])
    assert np.isnan(errors(name, "float64", value * np.nan, slopes)[0])
    assert all(np.isnan(losses_table.share((name, "float64"), cell)) for cell in ("nan / 1e-16", "1e-16 / nan", "nan / -"))


@pytest.mark.parametrize(("name", "driver", "count"), [row if row[0] in ONE_EACH.values() else slow(*row) for row in SOME])
def test_a_loss_is_its_paper(name, driver, count):
    check(name, "float32", driver, count)


@pytest.mark.parametrize(
    ("name", "driver", "count"), [pytest.param(*row, marks=[pytest.mark.slow] * (place % 4 > 0)) for place, row in enumerate(SOME_WIDE)]
)
def test_float64_stays_float64(name, driver, count):
    check(name, "float64", driver, count)


@pytest.mark.parametrize("dtype", ["bfloat16", slow("float16")])
@pytest.mark.parametrize("name", ONE_EACH.values())
def test_half_precision_is_raised(name, dtype):
    """What comes out is the float32 loss of the rounded numbers."""
    case = CASES[name]
    narrow = [jnp.asarray(array, dtype) if array.dtype == np.float32 else array for array in inputs(name, "float32")]
    value = jax.jit(lambda *arrays: case.loss(*arrays, **case.options))(*narrow)
    wide = [np.asarray(array, np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array for array in narrow]
    expected = np.real(case.oracle(*wide, **case.options))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=3e-6, atol=2e-6 * np.abs(expected).max())


def of_rows(name: str, change) -> tuple:
    """The arrays of a case with the floating-point ones that have a batch changed."""
    case = CASES[name]
    return tuple(
        jnp.asarray(change(array, where)) if where is not None else jnp.asarray(array)
        for array, where in zip(inputs(name, "float32"), case.batch, strict=True)
    )


DEGENERATE = {
    "one example": lambda array, where: array.take([0], where),
    "zeros": lambda array, where: np.zeros_like(array) if array.dtype.kind == "f" else array,
    "equal": lambda array, where: np.ones_like(array) if array.dtype.kind == "f" else array,
    "large": lambda array, where: 1e4 * array if array.dtype.kind == "f" else array,
    "small": lambda array, where: 1e-25 * array if array.dtype.kind == "f" else array,
}


@pytest.mark.parametrize("name", [*ONE_EACH.values(), "nt_xent, T = 0.001", "dino, T = 0.1, 0.04"])
def test_degenerate_batches_stay_finite(name):
    case = CASES[name]
    loss = lambda *arrays: case.loss(*arrays, **case.options)  # noqa: E731
    run_once = jax.jit(jax.value_and_grad(loss, case.slopes) if case.slopes else lambda *arrays: (loss(*arrays), ()))
    for kind, change in DEGENERATE.items():
        if name == "gaussian_kl" and kind == "large":
            continue  # exp(1e4) is infinite in any form
        value, slopes = run_once(*of_rows(name, change))
        assert np.isfinite(value).all(), kind
        assert all(np.isfinite(slope).all() for slope in slopes), kind


@pytest.mark.parametrize("name", ONE_EACH.values())
def test_a_nan_that_goes_in_comes_out(name):
    """Of each array in turn, so that a diverged network or teacher is noticed."""
    case, arrays = CASES[name], inputs(name, "float32")
    loss = jax.jit(lambda *arrays: case.loss(*arrays, **case.options))
    for index, array in enumerate(arrays):
        if array.dtype.kind == "f":
            broken = array.copy()
            broken[(1,) * array.ndim] = np.nan
            if case.loss is losses.masked_mse:
                broken[:] = np.nan  # in a visible patch it would not count
            found = loss(*arrays[:index], broken, *arrays[index + 1 :])
            assert not np.isfinite(found).all(), index


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("dino, T = 1, 1", (1, 2)),
        ("dino_prototypes, T = 1, 1", (1, 3, 4)),
        ("dino_center", (0, 1)),
        ("dino_entropy, T = 0.5", (0, 1)),
        ("dino_prototypes_entropy, T = 0.5", (0, 1, 2)),
        ("byol", (1,)),
        ("knowledge_distillation, T = 4", (1,)),
        ("pseudo_label", (0,)),
    ],
)
def test_teachers_get_no_gradient(name, still):
    case = CASES[name]
    slopes = jax.jit(jax.grad(lambda *arrays: jnp.sum(case.loss(*arrays, **case.options)), still))(*inputs(name, "float32"))
    assert all(not np.any(slope) for slope in slopes)


def test_oracles_are_differentiated_by_complex_steps_alone():
    """One gradient by central differences too: the method itself is checked."""
    case = CASES["nt_xent, T = 0.5"]
    _, (slope, _) = truth(case.name, "float64")
    moved = [case.arrays[0].copy() for _ in range(2)]
    moved[0][2, 3] += 1e-5
    moved[1][2, 3] -= 1e-5
    high, low = (case.oracle(array, case.arrays[1], **case.options) for array in moved)
    assert (high - low) / 2e-5 == pytest.approx(slope[2, 3], rel=1e-6)


@pytest.mark.slow
def test_the_documented_table_has_these_cases_with_these_values_within_the_bounds():
    found = losses_table.read()
    assert list(found) == losses_table.rows(), "run `python -m benchmarks.losses_table`"
    for row, (value, *cells) in found.items():
        assert value == losses_table.value(row), f"{row[0]} has changed: run `python -m benchmarks.losses_table`"
        assert len(cells) == len(DRIVERS) and all(losses_table.share(row, cell) <= 1 for cell in cells)
