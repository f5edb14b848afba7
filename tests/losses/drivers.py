"""A loss and its gradient of a global batch under jit, shard_map and pmap, on any number of devices."""

from functools import lru_cache, partial

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision import axis
from jaxvision.train.sharding import DRIVERS, data_mesh
from tests.losses.cases import CASES, inputs

__all__ = ["COUNTS", "DRIVERS", "run"]
COUNTS = (1, 2, 4, 8)


def _evaluate(loss, slopes: tuple, batch: tuple, everywhere: bool, *arrays):
    """A shard's view: the mean over the axis is the global value, the mean of the gradients the global gradient.

    What must be the global value on every shard is returned as this shard has it: [1, ...], and no mean covers for a shard that differs.
    Of an array that is split each shard holds the gradient of its own rows: its share of the mean is that over the number of shards.
    """
    if everywhere:
        return loss(*arrays)[None], ()
    if not slopes:
        return axis.mean(loss(*arrays)), ()
    value, found = jax.value_and_grad(loss, slopes)(*arrays)
    return axis.mean(value), tuple(
        axis.mean(slope) if batch[index] is None else slope / axis.size() for index, slope in zip(slopes, found, strict=True)
    )


def _spec(where: int | None) -> PartitionSpec:
    return PartitionSpec() if where is None else PartitionSpec(*[None] * where, axis.NAME)


@lru_cache(maxsize=None)
def _program(loss, fixed: tuple, names: tuple, slopes: tuple, batch: tuple, everywhere: bool, driver: str, count: int):
    """(numbers, *arrays) -> (value, gradients), compiled; cases that differ in their ``numbers`` (temperatures) share one program."""

    def evaluate(numbers, *arrays):
        ours = partial(loss, **dict(fixed), **dict(zip(names, numbers, strict=True)))
        return _evaluate(ours, slopes, batch, everywhere, *arrays)

    if driver == "pmap":
        places = (None, *(None if where is None else 0 for where in batch))
        return jax.pmap(evaluate, axis.NAME, in_axes=places, devices=jax.devices()[:count])
    if driver == "shard_map":
        specs = (PartitionSpec(), *(_spec(where) for where in batch))
        out = (_spec(0 if everywhere else None), tuple(_spec(batch[index]) for index in slopes))
        evaluate = jax.shard_map(evaluate, mesh=data_mesh(jax.devices()[:count]), in_specs=specs, out_specs=out, check_vma=False)
    return jax.jit(evaluate)


def run(name: str, dtype: str, driver: str, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(value, gradients) of a case; [shards, ...] where every shard holds the value. float64 needs jax.enable_x64."""
    case, arrays = CASES[name], inputs(name, dtype)
    numbers = {key: value for key, value in case.options.items() if isinstance(value, float)}
    fixed = tuple((key, value) for key, value in (case.options | case.only_ours).items() if key not in numbers)
    program = _program(case.loss, fixed, tuple(numbers), case.slopes, case.batch, case.everywhere, driver, count)
    pairs = zip(arrays, case.batch, strict=True)
    if driver == "pmap":
        rows = [array if where is None else np.stack(np.split(array, count, where)) for array, where in pairs]
        value, slopes = program(tuple(numbers.values()), *rows)
        joined = [
            slope[0] if case.batch[index] is None else np.concatenate(list(np.asarray(slope)), case.batch[index])
            for index, slope in zip(case.slopes, slopes, strict=True)
        ]
        return np.concatenate(list(np.asarray(value))) if case.everywhere else np.asarray(value[0]), [np.asarray(slope) for slope in joined]
    mesh = data_mesh(jax.devices()[:count])
    placed = [jax.device_put(array, NamedSharding(mesh, _spec(where))) for array, where in pairs]
    value, slopes = program(tuple(numbers.values()), *placed)
    return np.asarray(value), [np.asarray(slope) for slope in slopes]
