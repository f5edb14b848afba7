"""The cases of every loss beside its oracle: arrays, the axis of their batch, what is differentiated, and the bounds."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jaxvision import losses
from tests.oracles import barlow_twins, byol, contrastive, dino, distillation, jigsaw, koleo, reconstruction, vicreg
from tests.oracles.differences import value_and_slopes

BATCH = 8  # one example a device at least
BOUNDS = {"float32": (2e-6, 2e-5), "float64": (1e-12, 1e-11)}  # relative to the largest entry: value, gradient


class Case(NamedTuple):
    """One row of docs/losses.md."""

    name: str
    loss: Callable
    oracle: Callable
    arrays: tuple  # float64, or integers
    batch: tuple  # the axis of the batch in each array, None where it has none
    slopes: tuple  # the numbers of the arrays that are differentiated
    options: dict = {}
    only_ours: dict = {}  # options that the oracle lacks
    slack: float = 1.0  # 0.05 / temperature below 0.05
    everywhere: bool = False  # every shard holds the global value, and not its share of a mean


def _normal(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng([seed, *shape]).standard_normal(shape)


def _contrastive() -> list[Case]:
    pair, views = (_normal(BATCH, 6), _normal(BATCH, 6, seed=1)), _normal(BATCH, 3, 5)
    labels = np.array([0, 1, 0, 2, 1, 0, 7, 2])
    rows = []
    for temperature in (1.0, 0.5, 0.05, 0.01, 0.001):
        options, slack = {"temperature": temperature}, max(1.0, 0.05 / temperature)
        name = f"nt_xent, T = {temperature:g}"
        rows.append(Case(name, losses.nt_xent, contrastive.nt_xent, pair, (0, 0), (0, 1), options, {"chunk": 5}, slack))
    for temperature in (1.0, 0.1, 0.05):
        options, name = {"temperature": temperature}, f"supervised_contrastive, T = {temperature:g}"
        ours, oracle = losses.supervised_contrastive, contrastive.supervised_contrastive
        rows.append(Case(name, ours, oracle, (views, labels), (0, 0), (0,), options, {"chunk": 7}))
    # one image a class and two views that agree: the loss is a small difference of large numbers
    close, own_class = _normal(BATCH, 2, 16), np.arange(BATCH)
    close[:, 1] = close[:, 0] + 0.3 * close[:, 1]
    options, name = {"temperature": 0.05}, "supervised_contrastive, nearly solved"
    rows.append(Case(name, ours, oracle, (close, own_class), (0, 0), (0,), options, {"chunk": 7}))
    return rows


def _dino() -> list[Case]:
    student, teacher, center = _normal(4, BATCH, 7), _normal(2, BATCH, 7), _normal(7, scale=0.3)
    features = _normal(4, BATCH, 4), _normal(2, BATCH, 4), _normal(9, 4), _normal(9, 4, seed=1), _normal(9, scale=0.3)
    oracle, rows = dino, []
    for temperatures in ((1.0, 1.0), (0.1, 0.05), (0.1, 0.04), (0.05, 0.05)):
        options = dict(zip(("student_temperature", "teacher_temperature"), temperatures, strict=True))
        slack, name = max(1.0, 0.05 / min(temperatures)), f"T = {temperatures[0]:g}, {temperatures[1]:g}"
        three = (student, teacher, center)
        rows.append(Case(f"dino, {name}", losses.dino, oracle.dino, three, (1, 1, None), (0,), options, {}, slack))
        ours, where = losses.dino_prototypes, (1, 1, None, None, None)
        rows.append(Case(f"dino_prototypes, {name}", ours, oracle.dino_prototypes, features, where, (0, 2), options, {"chunk": 4}, slack))
    unit, slack = {"unit_prototypes": True}, 0.05 / 0.04  # at the default temperatures
    rows.append(Case("dino_prototypes, unit", ours, oracle.dino_prototypes, features, where, (0, 2), unit, {"chunk": 4}, slack))
    _, seen, _, prototypes, middle = features
    chunk = {"chunk": 4}
    ours, theirs, three = losses.dino_prototypes_entropy, oracle.dino_prototypes_entropy, (seen, prototypes, middle)
    for temperature in (0.5, 0.05, 0.04):
        options, slack, name = {"teacher_temperature": temperature}, max(1.0, 0.05 / temperature), f"T = {temperature:g}"
        two = (teacher, center)
        rows.append(Case(f"dino_entropy, {name}", losses.dino_entropy, oracle.dino_entropy, two, (1, None), (), options, {}, slack))
        rows.append(Case(f"dino_prototypes_entropy, {name}", ours, theirs, three, (1, None, None), (), options, chunk, slack))
    rows.append(Case("dino_prototypes_entropy, unit", ours, theirs, three, (1, None, None), (), unit, chunk, slack))
    ours, theirs, three = losses.dino_prototypes_center, oracle.dino_prototypes_center, (middle, seen, prototypes)
    rows.append(Case("dino_prototypes_center, unit", ours, theirs, three, (None, 1, None), (), unit, everywhere=True))
    return rows + [
        Case("dino_center", losses.dino_center, oracle.dino_center, (center, teacher), (None, 1), (), everywhere=True),
        Case(
            "dino_prototypes_center",
            losses.dino_prototypes_center,
            oracle.dino_prototypes_center,
            (middle, seen, prototypes),
            (None, 1, None),
            (),
            everywhere=True,
        ),
    ]


def _others() -> list[Case]:
    pair = (_normal(BATCH, 5), _normal(BATCH, 5, seed=1))
    patches = (_normal(BATCH, 6, 4), _normal(BATCH, 6, 4, seed=1))
    mask = np.random.default_rng(0).integers(0, 2, (BATCH, 6))  # not the same number of hidden patches everywhere
    logits, numbers = _normal(BATCH, 9, scale=2.0), np.arange(BATCH) % 5
    won = logits + 11.0 * np.eye(9)[numbers]  # a loss that is almost 0
    weak, strong = _normal(BATCH, 5, scale=3.0), _normal(BATCH, 5, scale=2.0, seed=1)
    confident, similar = 9.0 * np.eye(5)[numbers], weak + 0.02 * strong
    rebuild, teach, both = reconstruction, distillation, (0, 0)
    return [
        Case("masked_mse", losses.masked_mse, rebuild.masked_mse, (*patches, mask), (0, 0, 0), (0, 1)),
        Case("masked_mse, pixels", losses.masked_mse, rebuild.masked_mse, (*patches, mask), (0, 0, 0), (0, 1), {"normalize_target": False}),
        Case("jigsaw", losses.jigsaw, jigsaw.jigsaw, (logits, numbers), both, (0,)),
        Case("jigsaw, nearly solved", losses.jigsaw, jigsaw.jigsaw, (won, numbers), both, (0,)),
        Case("knowledge_distillation, T = 4", losses.knowledge_distillation, teach.knowledge_distillation, (weak, strong), both, (0,)),
        Case(
            "knowledge_distillation, T = 1",
            losses.knowledge_distillation,
            teach.knowledge_distillation,
            (weak, strong),
            both,
            (0,),
            {"temperature": 1.0},
        ),
        *(
            Case(
                f"knowledge_distillation, nearly equal, T = {temperature:g}",
                losses.knowledge_distillation,
                teach.knowledge_distillation,
                (similar, weak),
                both,
                (0,),
                {"temperature": temperature},
            )
            for temperature in (4.0, 0.05)
        ),
        Case("pseudo_label, nearly solved", losses.pseudo_label, teach.pseudo_label, (confident, confident + strong), both, (1,)),
        Case("pseudo_label", losses.pseudo_label, teach.pseudo_label, (weak, strong), both, (1,), {"threshold": 0.8}),
        Case("byol", losses.byol, byol.byol, pair, both, (0,)),
        Case("barlow_twins", losses.barlow_twins, barlow_twins.barlow_twins, pair, both, (0, 1)),
        Case("vicreg", losses.vicreg, vicreg.vicreg, pair, both, (0, 1)),
        Case("koleo", losses.koleo, koleo.koleo, (_normal(BATCH, 12, seed=3),), (0,), (0,)),
        Case("mean_squared_error", losses.mean_squared_error, rebuild.mean_squared_error, pair, both, (0, 1)),
        Case("gaussian_kl", losses.gaussian_kl, rebuild.gaussian_kl, pair, both, (0, 1)),
        Case("effective_rank", losses.effective_rank, koleo.effective_rank, (_normal(BATCH, 5),), (0,), (), everywhere=True),
    ]


CASES = {case.name: case for case in _contrastive() + _dino() + _others()}


def inputs(name: str, dtype: str) -> tuple[np.ndarray, ...]:
    """The arrays of a case in a type; whole numbers stay."""
    return tuple(array.astype(dtype) if array.dtype == np.float64 else array for array in CASES[name].arrays)


@lru_cache(maxsize=None)
def truth(name: str, dtype: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The oracle's value and gradients in float64, at the arrays as rounded to ``dtype``."""
    case = CASES[name]
    wide = tuple(array.astype(np.float64) if array.dtype.kind != "i" else array for array in inputs(name, dtype))
    return value_and_slopes(lambda *arrays: case.oracle(*arrays, **case.options), wide, case.slopes)


def errors(name: str, dtype: str, value, slopes) -> tuple[float, float | None]:
    """Largest difference from the oracle over the oracle's largest entry: of the value, and the worst of the gradients."""
    expected, expected_slopes = truth(name, dtype)
    error = lambda ours, theirs: float(np.max(np.abs(np.asarray(ours, np.float64) - theirs)) / np.max(np.abs(theirs)))  # noqa: E731
    found = [error(ours, theirs) for ours, theirs in zip(slopes, expected_slopes, strict=True)]
    return error(value, expected), float(np.max(found)) if found else None  # np.max: the largest of a nan and a number is nan
