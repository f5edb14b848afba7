"""Compiled kernels on several devices: XLA cannot see into a foreign function, so it is told here what each device may compute alone.

Without this a split batch would be gathered, and every device would compute all of it. Besides ``train/sharding.py`` this is the only file
that names shardings: it chooses none, it says which ones a kernel keeps.
"""

from collections.abc import Callable

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec


def _axes(split: object) -> set:
    return set(split) if isinstance(split, tuple) else {split}


def _splits(arrays: tuple, letters: list[str]) -> dict[str, object]:
    """{letter: mesh axes} that batch (b) and channels (c) are split along; other dimensions never are.

    Where both are split along one axis (channels of parameters that are spread over the devices of the batch), it is the batch's.
    """
    found: dict[str, object] = {}
    for array, names in zip(arrays, letters, strict=True):
        spec = array.sharding.spec if isinstance(array.sharding, NamedSharding) else ()
        found = {letter: split for letter, split in zip(names, spec) if letter in "bc" and split is not None} | found
    if {"b", "c"} <= set(found) and _axes(found["b"]) & _axes(found["c"]):
        del found["c"]
    return found


def in_parts(function: Callable, rule: str, *, summed: bool = False) -> Callable:
    """``function(a, b, shape, options)`` on each device's part of the batch and of the channels; ``shape`` is of the result.

    ``rule`` names the dimensions as in einsum: b of the batch, c of the channels. ``summed``: the result lacks the batch, over whose parts
    it is a sum.
    """
    letters = rule.replace(" ", "").replace("->", ",").split(",")

    def partition(shape, options, mesh, given, result):
        split = _splits((*given, result), letters)
        shardings = [NamedSharding(mesh, PartitionSpec(*(split.get(letter) for letter in axes))) for axes in letters]
        part = shardings[-1].shard_shape(shape)

        def lower(a, b):
            found = function(a, b, part, options)
            return jax.lax.psum(found, split["b"]) if summed and "b" in split else found

        return mesh, lower, shardings[-1], tuple(shardings[:-1])

    whole = custom_partitioning(function, static_argnums=(2, 3))
    spaced = " -> ".join(", ".join(" ".join(axes) for axes in side) for side in (letters[:-1], letters[-1:]))
    whole.def_partition(partition=partition, sharding_rule=spaced)
    return whole


def in_parts_of(function: Callable, rule: str) -> Callable:
    """``function(*arrays)``, which lists its results, on each device's part of the batch and of the channels; ``rule`` as above.

    The shapes of its results follow from the arrays' alone; those that lack the batch are sums over its parts.
    """
    given_letters, result_letters = (side.split(",") for side in rule.replace(" ", "").split("->"))

    def partition(mesh, given, results):
        split = _splits((*given, *results), given_letters + result_letters)
        shardings = [
            [NamedSharding(mesh, PartitionSpec(*(split.get(letter) for letter in axes))) for axes in side]
            for side in (result_letters, given_letters)
        ]

        def lower(*arrays):
            found = zip(function(*arrays), result_letters)
            return [one if "b" in axes or "b" not in split else jax.lax.psum(one, split["b"]) for one, axes in found]

        return mesh, lower, shardings[0], tuple(shardings[1])

    whole = custom_partitioning(function)
    spaced = " -> ".join(", ".join(" ".join(axes) for axes in side) for side in (given_letters, result_letters))
    whole.def_partition(partition=partition, sharding_rule=spaced)
    return whole


def in_parts_alike(function: Callable, results: int) -> Callable:
    """``function(*arrays, row)``, which lists so many results, element by element; every array is split as the second is, the row never."""

    def partition(mesh, given, _):
        split = given[1].sharding
        return mesh, function, [split] * results, (*[split] * (len(given) - 1), NamedSharding(mesh, PartitionSpec()))

    whole = custom_partitioning(function)
    whole.def_partition(partition=partition, sharding_rule=", ".join(["..."] * (results + 1)) + ", n -> " + ", ".join(["..."] * results))
    return whole
