"""The collapse guard: reads the metrics of a training run and names known ways in which self-supervised learning fails.

It is a pure function on the host: ``watch, findings = guard(watch, metrics, step)``. It reads the metrics that objectives report: ``loss``
with ``chance_loss`` or ``uniform_loss``, ``teacher_entropy``, ``teacher_distance``, ``rank``.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

_WARM_UP_WEIGHT = 0.1  # weight of a step while the learning rate rises, because a healthy run hardly changes then


class Finding(NamedTuple):
    """One collapse: the step, the term of a combined objective ("" if there is one objective), its name, its meaning, and a remedy.

    >>> import jaxvision as jv
    >>> str(jv.evaluate.Finding(30, "", "dead features", "all images have the same features", "a lower learning rate"))
    'collapse at step 30: dead features: all images have the same features; try a lower learning rate'
    """

    step: int
    term: str
    name: str
    meaning: str
    remedy: str

    def __str__(self) -> str:
        where = f" in {self.term}" if self.term else ""
        return f"collapse at step {self.step}{where}: {self.name}: {self.meaning}; try {self.remedy}"


class Watch(NamedTuple):
    """The state of the guard. Entries are by (term, symptom): the steps that a symptom has held, and the symptoms already reported.

    >>> import jaxvision as jv
    >>> watch, _ = jv.evaluate.guard(jv.evaluate.guard_init(), {"rank": 1.0}, step=1)
    >>> watch.held
    {('', 'dead features'): 1.0}
    """

    held: dict[tuple[str, str], float]
    rate: float
    reported: frozenset[tuple[str, str]]


class _Symptom(NamedTuple):
    name: str
    patience: float  # consecutive steps
    holds: Callable  # metrics of one step (nan where missing) -> bool
    meaning: str
    remedy: str


def _identical(metrics: Mapping) -> bool:
    return metrics["teacher_distance"] <= 1e-9 and metrics["learning_rate"] != 0 and metrics["gradient_norm"] != 0


def _dead(metrics: Mapping) -> bool:
    return metrics["rank"] < 1.05


def _near(value: float, target: float, tolerance: float) -> bool:
    return abs(value - target) < tolerance * target


def _one_dimension(metrics: Mapping) -> bool:
    return metrics["teacher_entropy"] < 0.005 * metrics["uniform_loss"] and metrics["loss"] < 0.02 * metrics["uniform_loss"]


def _uniform(metrics: Mapping) -> bool:
    uniform = metrics["uniform_loss"]
    return _near(metrics["loss"], uniform, 0.1) and _near(metrics["teacher_entropy"], uniform, 2e-4) and not _dead(metrics)


def _chance(metrics: Mapping) -> bool:
    return _near(metrics["loss"], metrics["chance_loss"], 0.005) and not _dead(metrics)


_SYMPTOMS = (
    _Symptom(
        *("student and teacher identical", 10, _identical),
        "the teacher is a copy of the student, so that it adds no signal",
        "a teacher momentum of 0.99 or more",
    ),
    _Symptom(
        *("dead features", 30, _dead),
        "the encoder gives all images the same features, or features that differ along one direction only",
        "a lower learning rate, a warm-up, or normalization in the encoder",
    ),
    _Symptom(
        *("one dimension dominates", 25, _one_dimension),
        "the teacher is certain and selects the same prototypes as the student: its entropy and the loss are near 0",
        "centring (a centre momentum of 0.9) or a higher teacher temperature",
    ),
    _Symptom(
        *("uniform output", 20, _uniform),
        "the teacher gives all prototypes the same share, and the loss stays at ln K",
        "a lower teacher temperature (0.04 to 0.07)",
    ),
    _Symptom(
        *("contrastive chance", 40, _chance),
        "the loss stays at ln(2N - 1): the model does not distinguish the views",
        "a temperature of 0.1 to 0.5, or a lower learning rate",
    ),
)
_TERM_METRICS = ("loss", "chance_loss", "uniform_loss", "teacher_entropy", "teacher_distance", "rank")
_STEP_METRICS = ("learning_rate", "gradient_norm")  # shared by all terms


def _terms(metrics: Mapping) -> dict[str, dict[str, float]]:
    """The metrics of each term of a combined objective by its name, "" for a single objective. A missing metric is nan."""
    shared = {name: float(metrics.get(name, math.nan)) for name in _STEP_METRICS}
    terms: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        term, _, metric = name.rpartition("/")
        if metric in _TERM_METRICS:
            terms.setdefault(term, dict.fromkeys(_TERM_METRICS, math.nan) | shared)[metric] = float(value)
    return terms


def guard_init() -> Watch:
    """The initial state of the guard. A resumed run starts with it again.

    >>> import jaxvision as jv
    >>> jv.evaluate.guard_init().held
    {}
    """
    return Watch({}, math.inf, frozenset())


def guard(watch: Watch, metrics: Mapping, step: int) -> tuple[Watch, list[Finding]]:
    """The state after one more step, and the symptoms that are reported for the first time. ``metrics``: numbers by name.

    A symptom is reported once for each term, when it has held in this many consecutive steps:

    * "student and teacher identical", 10 steps: ``teacher_distance`` is 0 (steps with a learning rate or gradient of 0 do not count).
    * "dead features", 30: the effective rank of the features is below 1.05. Symptoms that follow from it are not reported.
    * "one dimension dominates", 25: ``teacher_entropy`` is below 0.5 % and the loss below 2 % of ln K. A healthy run may look like this
      for about the first ten steps, until the centre has converged.
    * "uniform output", 20: ``teacher_entropy`` is within 0.02 % and the loss within 10 % of ln K. A healthy loss starts at ln K too, but
      its teacher is sharpened: at a temperature of 0.04 the entropy is 600 times further from ln K than at a temperature of 1.
    * "contrastive chance", 40: the loss is within 0.5 % of ln(2N - 1). A healthy loss is below that from the first step on.

    A step whose ``learning_rate`` is above that of the last step counts as a tenth, because a healthy run hardly changes in a warm-up.

    >>> import jaxvision as jv
    >>> watch = jv.evaluate.guard_init()
    >>> for step in range(1, 31):
    ...     watch, findings = jv.evaluate.guard(watch, {"rank": 1.0}, step)
    >>> [finding.name for finding in findings]
    ['dead features']
    """
    rate = float(metrics.get("learning_rate", math.nan))
    weight = _WARM_UP_WEIGHT if rate > watch.rate else 1.0
    held, reported, findings = {}, set(watch.reported), []
    for term, values in _terms(metrics).items():
        for symptom in _SYMPTOMS:
            entry = (term, symptom.name)
            if not symptom.holds(values):
                continue
            held[entry] = watch.held.get(entry, 0.0) + weight
            if held[entry] >= symptom.patience and entry not in reported:
                reported.add(entry)
                findings.append(Finding(step, term, symptom.name, symptom.meaning, symptom.remedy))
    return Watch(held, rate, frozenset(reported)), findings
