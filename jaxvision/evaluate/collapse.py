"""The collapse guard: reads a run's figures beside training and names the ways in which self-supervision stops learning.

Pure and on the host: ``watch, findings = guard(watch, metrics, step)``. The figures are those that objectives report: ``loss`` with
``chance_loss`` or ``uniform_loss``, ``teacher_entropy``, ``teacher_distance``, ``rank``.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

_WARMING = 0.1  # what a step counts for while the learning rate still rises: a healthy run then stands almost still


class Finding(NamedTuple):
    """One collapse: when it was seen, in which term of a combined objective ("" where there is one), what it is, what to try."""

    step: int
    term: str
    name: str
    meaning: str
    remedy: str

    def __str__(self) -> str:
        where = f" in {self.term}" if self.term else ""
        return f"collapse at step {self.step}{where}: {self.name}: {self.meaning}; try {self.remedy}"


class Watch(NamedTuple):
    """What the guard remembers: for how long each sign of each term has held, the last learning rate, and what it has told already."""

    held: dict[tuple[str, str], float]
    rate: float
    told: frozenset[tuple[str, str]]


class _Sign(NamedTuple):
    name: str
    patience: float  # steps in a row
    seen: Callable  # the figures of one step, those that are missing nan -> whether it holds
    meaning: str
    remedy: str


def _identical(figures: Mapping) -> bool:
    return figures["teacher_distance"] <= 1e-9 and figures["learning_rate"] != 0 and figures["gradient_norm"] != 0


def _dead(figures: Mapping) -> bool:
    return figures["rank"] < 1.05


def _near(value: float, goal: float, share: float) -> bool:
    return abs(value - goal) < share * goal


def _one(figures: Mapping) -> bool:
    return figures["teacher_entropy"] < 0.005 * figures["uniform_loss"] and figures["loss"] < 0.02 * figures["uniform_loss"]


def _uniform(figures: Mapping) -> bool:
    uniform = figures["uniform_loss"]
    return _near(figures["loss"], uniform, 0.1) and _near(figures["teacher_entropy"], uniform, 2e-4) and not _dead(figures)


def _chance(figures: Mapping) -> bool:
    return _near(figures["loss"], figures["chance_loss"], 0.005) and not _dead(figures)


_SIGNS = (
    _Sign(
        *("student and teacher identical", 10, _identical),
        "the teacher is a copy of the student and has nothing to teach",
        "a teacher momentum of 0.99 or more",
    ),
    _Sign(
        *("dead features", 30, _dead),
        "the encoder gives all images the same features, up to one direction",
        "a lower learning rate, a warm-up, or normalisation in the encoder",
    ),
    _Sign(
        *("one dimension dominates", 25, _one),
        "the teacher is certain, of the same prototypes as the student: its entropy and the loss are near 0",
        "centring (a centre momentum of 0.9) or a higher teacher temperature",
    ),
    _Sign(
        *("uniform output", 20, _uniform),
        "the teacher gives all prototypes the same share, and the loss stays at ln K",
        "a lower teacher temperature (0.04 to 0.07)",
    ),
    _Sign(
        *("contrastive chance", 40, _chance),
        "the loss stays at ln(2N - 1): no view is told from any other",
        "a temperature of 0.1 to 0.5, or a lower learning rate",
    ),
)
_READ = ("loss", "chance_loss", "uniform_loss", "teacher_entropy", "teacher_distance", "rank")
_SHARED = ("learning_rate", "gradient_norm")  # of the whole step


def _terms(metrics: Mapping) -> dict[str, dict[str, float]]:
    """The figures of each term of a combined objective, by its name; "" for an objective alone. What is missing is nan: no sign holds."""
    shared = {name: float(metrics.get(name, math.nan)) for name in _SHARED}
    terms: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        term, _, figure = name.rpartition("/")
        if figure in _READ:
            terms.setdefault(term, dict.fromkeys(_READ, math.nan) | shared)[figure] = float(value)
    return terms


def guard_init() -> Watch:
    """The state of a guard that has seen nothing; a resumed run begins with it again."""
    return Watch({}, math.inf, frozenset())


def guard(watch: Watch, metrics: Mapping, step: int) -> tuple[Watch, list[Finding]]:
    """The guard after one more step, and what it sees for the first time, each sign once a term. ``metrics``: numbers by name.

    A sign must hold in every one of so many steps in a row, by the figures of the step itself:

    * "student and teacher identical", 10 steps: ``teacher_distance`` is 0. At the first step it always is, and as long as the rate is 0.
    * "dead features", 30: the effective rank of the features is below 1.05, one direction or none. What follows from it is not told.
    * "one dimension dominates", 25: ``teacher_entropy`` is below 0.5 % and the loss below 2 % of ln K. A healthy start is like this for the
      ten steps or so that the centre needs to arrive, and no longer.
    * "uniform output", 20: ``teacher_entropy`` is within 0.02 % and the loss within 10 % of ln K. A healthy loss starts at ln K too, but
      its teacher is sharpened: a temperature of 0.04 makes its entropy differ from ln K by 600 times what a temperature of 1 does.
    * "contrastive chance", 40: the loss is within 0.5 % of ln(2N - 1). A healthy one is below that from the first step on.

    A step whose ``learning_rate`` is above the last one's counts for a tenth: in a warm-up a healthy run hardly moves either.
    """
    rate = float(metrics.get("learning_rate", math.nan))
    weight = _WARMING if rate > watch.rate else 1.0
    held, told, findings = {}, set(watch.told), []
    for term, figures in _terms(metrics).items():
        for sign in _SIGNS:
            place = (term, sign.name)
            if not sign.seen(figures):
                continue
            held[place] = watch.held.get(place, 0.0) + weight
            if held[place] >= sign.patience and place not in told:
                told.add(place)
                findings.append(Finding(step, term, sign.name, sign.meaning, sign.remedy))
    return Watch(held, rate, frozenset(told)), findings
