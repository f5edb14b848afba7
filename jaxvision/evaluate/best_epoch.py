"""The choice of the best epoch by one validation metric."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_DEFAULTS = ("top1", "map")  # the metrics that select an epoch where none is named; else the first one does
_MINIMIZED = ("loss", "error", "rmse", "mae", "fid")  # metrics whose names end like this are better when lower
DIRECTIONS = {"min": "lower is better", "max": "higher is better"}


class Best(NamedTuple):
    """The best value so far, its step (-1: none yet), and how many evaluations ago it was.

    >>> import jaxvision as jv
    >>> int(jv.evaluate.Best().step)
    -1
    """

    value: np.ndarray = np.float32(0)  # has no meaning while the step is -1
    step: np.ndarray = np.int32(-1)
    stale: np.ndarray = np.int32(0)


def track(best: Best, value: float, step: int, *, higher_is_better: bool = True) -> tuple[Best, bool]:
    """``best`` after one more evaluation, and whether that one is the new best. A tie keeps the earlier one; nan is never best.

    >>> import jaxvision as jv
    >>> best, is_new = jv.evaluate.track(jv.evaluate.Best(), 0.5, step=100)
    >>> best, is_new = jv.evaluate.track(best, 0.4, step=200)
    >>> int(best.step), int(best.stale), is_new
    (100, 1, False)
    """
    value = np.float32(value)
    better = not np.isnan(value) and (int(best.step) < 0 or (value > best.value if higher_is_better else value < best.value))
    if better:
        return Best(value, np.int32(step), np.int32(0)), True
    return best._replace(stale=np.int32(best.stale + 1)), False


def mode_of(name: str, mode: str | None = None) -> str:
    """The direction "min" or "max": ``mode`` where it is given, else "min" for names that end in loss, error, rmse, mae or fid."""
    return mode or ("min" if name.lower().endswith(_MINIMIZED) else "max")


def selecting_metric(metrics: Mapping[str, float], best: str | None = None) -> str:
    """The name of the metric that selects the epoch: ``best``, else top1, else map, else the first one.

    Raises ValueError where there is no metric ``best``.
    """
    if best is not None and best not in metrics:
        raise ValueError(f"best: found {best!r}, expected one of {', '.join(metrics)}, the metrics of this run's evaluation")
    return best or next((name for name in _DEFAULTS if name in metrics), next(iter(metrics)))


def selection(best: str | None, mode: str | None) -> str:
    """In words, before the first evaluation: which metric selects, and its direction."""
    if best is not None:
        return f"{best}, {DIRECTIONS[mode_of(best, mode)]},"
    direction = f" ({DIRECTIONS[mode]})" if mode else ""
    return f"{', else '.join(_DEFAULTS)}, else the first metric{direction}"
