"""Schedules: functions from the update count to a learning rate, a momentum or a weight decay."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

Schedule = Callable[[Any], Any]  # update count -> number
Rate = float | Schedule


def warmup_cosine(peak: float, steps: int, *, warmup: int = 0, end: float = 0.0) -> Schedule:
    """A schedule: linear from 0 to ``peak`` in ``warmup`` updates, then half a cosine down to ``end`` at update ``steps``.

    Raises ValueError when the warm-up is not shorter than the run.

    >>> import jaxvision as jv
    >>> rate = jv.train.warmup_cosine(1.0, 10, warmup=2)
    >>> [round(float(rate(count)), 2) for count in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"warmup: found {warmup}, expected 0 or more and fewer than the {steps} steps of the run")
    cosine = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=end / peak if peak else 0.0)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), cosine], [warmup]) if warmup else cosine


def cosine(start: float, end: float, steps: int) -> Schedule:
    """A schedule: half a cosine from ``start`` to ``end`` (up or down) in ``steps`` updates, then ``end``.

    The momentum of DINO is ``cosine(0.996, 1.0, steps)``, its weight decay ``cosine(0.04, 0.4, steps)`` (Caron et al., 2021).
    Raises ValueError for fewer than one step.

    >>> import jaxvision as jv
    >>> momentum = jv.train.cosine(0.9, 1.0, 100)
    >>> [round(float(momentum(count)), 3) for count in (0, 50, 100, 200)]
    [0.9, 0.95, 1.0, 1.0]
    """
    if steps < 1:
        raise ValueError(f"steps: found {steps}, expected at least 1")
    share = optax.cosine_decay_schedule(1.0, steps)
    return lambda count: share(count) * start + (1 - share(count)) * end  # exact at both ends


def step_decay(initial: float, boundaries: tuple[int, ...], *, factor: float = 0.1, warmup: int = 0) -> Schedule:
    """A schedule: ``initial``, multiplied by ``factor`` at each of ``boundaries`` (update counts), with a linear warm-up from 0.

    >>> import jaxvision as jv
    >>> rate = jv.train.step_decay(1.0, (10, 20), warmup=2)
    >>> [round(float(rate(count)), 2) for count in (0, 1, 2, 15, 25)]
    [0.0, 0.5, 1.0, 0.1, 0.01]
    """
    constant = optax.piecewise_constant_schedule(initial, {boundary: factor for boundary in boundaries})
    if not warmup:
        return constant
    rise = optax.linear_schedule(0.0, initial, warmup)
    return lambda count: jnp.where(count < warmup, rise(count), constant(count))
