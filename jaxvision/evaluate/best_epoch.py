"""The choice of the best epoch, as pure arithmetic on its validation figure."""

from typing import NamedTuple

import numpy as np


class Best(NamedTuple):
    """The best figure so far: its value, its step (-1: none yet), and how many judgements ago it was."""

    value: np.ndarray = np.float32(0)  # means nothing while the step is -1
    step: np.ndarray = np.int32(-1)
    stale: np.ndarray = np.int32(0)


def track(best: Best, value: float, step: int, *, higher_is_better: bool = True) -> tuple[Best, bool]:
    """``best`` after one more judgement, and whether that one is the new best. A tie keeps the earlier; nan is never best."""
    value = np.float32(value)
    better = not np.isnan(value) and (int(best.step) < 0 or (value > best.value if higher_is_better else value < best.value))
    if better:
        return Best(value, np.int32(step), np.int32(0)), True
    return best._replace(stale=np.int32(best.stale + 1)), False
