"""Metrics: a metric as three pure functions, those of classifiers, and the same numbers of whole numpy arrays."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import losses
from jaxvision.data.source import Source
from jaxvision.evaluate.inference import collect
from jaxvision.typing import Array, Batch, Float, Int, Shaped


class Metric(NamedTuple):
    """A metric as three pure functions, summed batch by batch; no array as long as the data set is ever held.

    ``init() -> state``, ``update(state, outputs, batch) -> state`` and ``compute(state) -> {name: number}``. ``state`` and ``outputs``
    are any pytrees of arrays. ``update`` is compiled together with the model, over all devices: ``outputs`` are the model's for the whole
    batch, ``batch`` has all numeric fields of the source, ``index`` and ``valid``, all with the batch as first axis. Rows whose
    ``valid`` is False are padding or cannot be read, and must have weight 0. ``compute`` gets the state as numpy arrays.

    The form is that of kauldron's and clu's metrics.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> def update(total, outputs, batch):
    ...     return total[0] + jnp.where(batch["valid"], abs(outputs - batch["target"]), 0).sum(), total[1] + batch["valid"].sum()
    >>> mae = jv.evaluate.Metric(lambda: (0.0, 0), update, lambda total: {"mae": float(total[0] / total[1])})
    >>> batch = {"target": jnp.array([1.0, 2.0, 0.0]), "valid": jnp.array([True, True, False])}
    >>> mae.compute(mae.update(mae.init(), jnp.array([3.0, 2.0, 9.0]), batch))
    {'mae': 1.0}
    """

    init: Callable[[], Any]
    update: Callable[[Any, Any, Batch], Any]
    compute: Callable[[Any], dict[str, float]]


class _Sum(NamedTuple):
    """A float32 sum and the rounding errors it has left out, so that a long sum has twice the precision."""

    value: Float[Array, ""]
    error: Float[Array, ""]


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum of two arrays and its exact rounding error (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _plus(total: _Sum, numbers: Float[Array, "B"]) -> _Sum:
    """A sum after further numbers, which are added in pairs, then in pairs of pairs."""
    errors = jnp.zeros_like(numbers)
    while len(numbers) > 1:
        numbers, errors = (jnp.pad(array, (0, len(array) % 2)) for array in (numbers, errors))
        half = len(numbers) // 2
        numbers, lost = _two_sum(numbers[:half], numbers[half:])
        errors = errors[:half] + errors[half:] + lost
    value, lost = _two_sum(total.value, numbers[0])
    return _Sum(value, total.error + errors[0] + lost)


def _ahead(logits, labels, xp=jnp):
    """How many classes [B] come before the label's: a larger logit, or an equal one of a lower class. All where the label's is nan."""
    own = xp.take_along_axis(logits, labels[:, None], axis=1)  # [B, 1]
    return (~(logits <= own) | ((logits == own) & (xp.arange(logits.shape[1]) < labels[:, None]))).sum(1)


def _classification_init() -> dict:
    zero = jnp.zeros((), jnp.int32)
    return {"loss": _Sum(jnp.zeros(()), jnp.zeros(())), "top1": zero, "top5": zero, "count": zero, "outside": zero, "num_classes": zero}


def _classification_update(state: dict, outputs: Float[Array, "B K"], batch: Batch) -> dict:
    if getattr(outputs, "ndim", 0) != 2 or "label" not in batch:
        found = f"outputs of shape {outputs.shape}" if hasattr(outputs, "shape") else type(outputs).__name__
        fields = ", ".join(batch)
        raise ValueError(f"evaluate: classification found {found} and fields {fields}, expected logits [B, K] and the field label")
    labels, valid = batch["label"], batch["valid"]
    surprise = jax.vmap(lambda row, label: losses.cross_entropy(row[None], label[None]))(outputs, labels)  # [B]
    classes = labels if labels.ndim == 1 else labels.argmax(-1)
    ahead = _ahead(outputs, classes)
    outside = (classes < 0) | (classes >= outputs.shape[1])
    return {
        "loss": _plus(state["loss"], jnp.where(valid, surprise, 0).astype(jnp.float32)),
        "top1": state["top1"] + jnp.sum(valid & (ahead < 1)),
        "top5": state["top5"] + jnp.sum(valid & (ahead < 5)),
        "count": state["count"] + jnp.sum(valid),
        "outside": state["outside"] + jnp.sum(valid & outside),
        "num_classes": jnp.full_like(state["num_classes"], outputs.shape[1]),
    }


def _classification_compute(state: dict) -> dict[str, float]:
    count, (value, error) = int(state["count"]), state["loss"]
    if not count:
        raise ValueError("evaluate: found no readable example, expected at least one")
    if outside := int(state["outside"]):
        raise ValueError(f"label: found {outside} of {count} outside the classes, expected 0 to {int(state['num_classes']) - 1}")
    total = float(value) + (float(error) if np.isfinite(value) else 0.0)
    found = {"loss": total / count, "top1": int(state["top1"]) / count}
    return found | ({"top5": int(state["top5"]) / count} if int(state["num_classes"]) > 5 else {})


# The metric of a classifier: ``scores`` of logits [B, K] and the field ``label``, class numbers [B] or distributions [B, K].
classification = Metric(_classification_init, _classification_update, _classification_compute)


def multilabel(infer: Callable, source: Source) -> dict[str, float]:
    """``loss`` (binary cross-entropy) and ``map`` (mean average precision) of labels [N, K] in {0, 1}: an ``evaluate`` of ``Experiment``.

    It is a function and no ``Metric``, because average precision ranks all images: the logits of the whole source are held.

    >>> import numpy as np, jaxvision as jv
    >>> labels = np.array([[1, 0], [0, 1], [1, 1]])
    >>> infer = lambda source: [(4.0 * labels - 2, {"label": labels})]
    >>> jv.evaluate.multilabel(infer, None)["map"]
    1.0
    """
    logits, labels = collect(infer(source))
    logits, labels = jnp.asarray(logits), jnp.asarray(labels, jnp.float32)
    return {
        "loss": float(losses.binary_cross_entropy(logits, labels)),
        "map": float(losses.mean_average_precision(logits, labels)),
    }


def check_metrics(evaluate: Any) -> None:
    """Raise ValueError unless ``evaluate`` is a metric, a dict of metrics, or a function."""
    if isinstance(evaluate, Metric):
        return
    if isinstance(evaluate, Mapping):
        wrong = [f"{name!r}: {type(metric).__name__}" for name, metric in evaluate.items() if not isinstance(metric, Metric)]
        if wrong or not evaluate:
            raise ValueError(f"evaluate: found {wrong[0] if wrong else 'an empty dict'}, expected a dict of jv.evaluate.Metric")
    elif not callable(evaluate):
        found = type(evaluate).__name__
        raise ValueError(f"evaluate: found {found}, expected a jv.evaluate.Metric, a dict of them, or a function (infer, source)")


def combined(metrics: Mapping[str, Metric]) -> Metric:
    """Several metrics as one. A metric is reported under its key, or as ``key/name`` where it computes several numbers."""

    def compute(state: dict) -> dict[str, float]:
        found = {}
        for key, metric in metrics.items():
            numbers = metric.compute(state[key])
            found |= {key if len(numbers) == 1 else f"{key}/{name}": number for name, number in numbers.items()}
        return found

    return Metric(
        init=lambda: {key: metric.init() for key, metric in metrics.items()},
        update=lambda state, outputs, batch: {key: metric.update(state[key], outputs, batch) for key, metric in metrics.items()},
        compute=compute,
    )


def _check_classes(name: str, values: np.ndarray, num_classes: int) -> np.ndarray:
    """Class numbers as int64, wide enough to compute with; raises ValueError for one outside 0..num_classes-1."""
    if values.size and not (0 <= values.min() and values.max() < num_classes):
        raise ValueError(f"{name}: found classes {values.min()} to {values.max()}, expected 0 to {num_classes - 1}")
    return values.astype(np.int64, casting="same_kind")


def top_k(logits: Float[Array, "N K"], labels: Int[Array, "N"], *, k: int = 1) -> float:
    """The share of rows whose label is among the ``k`` largest logits; of equal logits the lower class comes first.

    A row whose label has the logit nan is never correct. Raises ValueError for other shapes, labels outside 0..K-1, ``k`` outside 1..K.

    >>> import numpy as np, jaxvision as jv
    >>> logits = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    >>> jv.evaluate.top_k(logits, np.array([0, 2])), jv.evaluate.top_k(logits, np.array([0, 2]), k=2)
    (0.5, 1.0)
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [N, K] and [N] with N of at least 1")
    labels = _check_classes("labels", labels, logits.shape[1])
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k: found {k}, expected 1 to {logits.shape[1]}, the number of classes")
    return float((_ahead(logits, labels, np) < k).mean())


def scores(logits: Float[Array, "N K"], labels: Shaped[Array, "N *K"]) -> dict[str, float]:
    """``loss`` (mean cross-entropy), ``top1`` and, with more than five classes, ``top5``, from logits [N, K] and labels [N].

    A label given as a distribution [N, K] counts as its largest class in the accuracies.

    >>> import numpy as np, jaxvision as jv
    >>> {name: round(value, 4) for name, value in jv.evaluate.scores(np.eye(2), np.array([0, 0])).items()}
    {'loss': 0.8133, 'top1': 0.5}
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    hard = labels if labels.ndim == 1 else labels.argmax(-1)
    found = {"loss": float(losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))), "top1": top_k(logits, hard)}
    return found | ({"top5": top_k(logits, hard, k=5)} if logits.shape[1] > 5 else {})


def confusion_matrix(predicted: Int[Array, "N"], labels: Int[Array, "N"], num_classes: int) -> np.ndarray:
    """Counts [K, K] int: row the true class, column the predicted one.

    Raises ValueError for shapes other than [N] twice and for classes outside 0..K-1.

    >>> import jaxvision as jv
    >>> jv.evaluate.confusion_matrix([1, 1, 0], [0, 1, 0], 2).tolist()
    [[1, 1], [0, 1]]
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(f"predicted, labels: found shapes {predicted.shape} and {labels.shape}, expected [N] twice")
    predicted, labels = _check_classes("predicted", predicted, num_classes), _check_classes("labels", labels, num_classes)
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)  # [K, K]


def per_class_accuracy(confusion: Int[Array, "K K"]) -> np.ndarray:
    """Each class's share of correct predictions [K] from a confusion matrix [K, K]; nan for a class that does not occur.

    Raises ValueError where the matrix is not square.

    >>> import numpy as np, jaxvision as jv
    >>> jv.evaluate.per_class_accuracy(np.array([[3, 1], [0, 2]])).tolist()
    [0.75, 1.0]
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or len(set(confusion.shape)) != 1:
        raise ValueError(f"confusion: found shape {confusion.shape}, expected [K, K]")
    count = confusion.sum(1)
    return np.divide(np.diag(confusion), count, out=np.full(len(confusion), np.nan), where=count > 0)
