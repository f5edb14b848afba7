"""Compiled kernels on several devices: XLA cannot partition a foreign function, so this file tells it what each device computes by itself.

Without it XLA would gather a sharded batch, and every device would compute all of it. This is the only file besides ``train/sharding.py``
that names shardings. It chooses none: it keeps those of a kernel's arrays.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.typing import Array


def axis_names(rule: str, *arrays: Any) -> tuple[list[list[str]], list[list[str]]]:
    """The axis names of the arguments and of the results, by a rule as in ``jnp.einsum``.

    "b...k, kn -> b...n" for arrays of rank 3 and 2 gives [["b", "1", "k"], ["k", "n"]] and [["b", "1", "n"]] with other names for the
    axes that an ellipsis stands for. A term of an ellipsis alone stands for all axes of an elementwise function.
    """
    given, results = ([term.strip() for term in side.split(",")] for side in rule.split("->"))
    further = next((array.ndim - len(term.replace("...", "")) for term, array in zip(given, arrays) if "..." in term), 0)

    def names(term: str) -> list[str]:
        before, dots, behind = term.partition("...")
        kind = "inner" if before or behind else "every"
        return [*before, *(f"{kind}{place}" for place in range(further if dots else 0)), *behind]

    return [names(term) for term in given], [names(term) for term in results]


def fitted(shape: tuple[int, ...], rule: str, *arrays: Any) -> tuple[int, ...]:
    """``shape`` of a result, with the extents that the arrays have along its axes.

    These differ from ``shape`` for a shard, and for a batch that ``jax.vmap`` joined with another axis.
    """
    given, (result,) = axis_names(rule, *arrays)
    extents = {name: extent for array, names in zip(arrays, given) for name, extent in zip(names, array.shape)}
    return tuple(extents.get(name, extent) for name, extent in zip(result, shape, strict=True))


def _shards(arrays: tuple, names: list[list[str]]) -> dict[str, Any]:
    """{axis name: mesh axes} for the axes that may be sharded: the batch (b), channels (c) and all axes of an elementwise function.

    The first array that is sharded along an axis decides. Where two axes share a mesh axis, as with channels of parameters that are sharded
    over the devices of the batch, the batch keeps it.
    """
    found: dict[str, Any] = {}
    for array, own in zip(arrays, names, strict=True):
        spec = array.sharding.spec if isinstance(array.sharding, NamedSharding) else ()
        allowed = {name: axes for name, axes in zip(own, spec) if axes is not None and (name in "bc" or name.startswith("every"))}
        found = allowed | found
    used: set = set()
    kept: dict[str, Any] = {}
    for name in sorted(found, key=lambda name: name != "b"):
        axes = set(found[name]) if isinstance(found[name], tuple) else {found[name]}
        if not axes & used:
            kept[name], used = found[name], used | axes
    return kept


def in_parts(function: Callable, rule: str) -> Callable:
    """``function(*arrays)``, computed on each device for its shard of the batch and of the channels.

    ``rule`` names the axes of arguments and results (see ``axis_names``). A result that lacks the batch is summed over its shards.
    """

    def call(*arrays: Array) -> Any:
        given, results = axis_names(rule, *arrays)

        def partition(mesh, arguments, found):
            shards = _shards((*arguments, *found), given + results)
            shardings = [
                [NamedSharding(mesh, PartitionSpec(*(shards.get(name) for name in names))) for names in side] for side in (results, given)
            ]

            def compute(*parts):
                sums = [name for name in ("b",) if name in shards]
                return [
                    jax.lax.psum(part, shards["b"]) if sums and "b" not in names else part for part, names in zip(listed(*parts), results)
                ]

            return mesh, compute, shardings[0], tuple(shardings[1])

        listed = lambda *parts: jax.tree.leaves(function(*parts))  # noqa: E731
        whole = custom_partitioning(listed)
        spaced = " -> ".join(", ".join(" ".join(names) for names in side) for side in (given, results))
        whole.def_partition(partition=partition, sharding_rule=spaced)
        return jax.tree.unflatten(jax.tree.structure(jax.eval_shape(function, *arrays)), whole(*arrays))

    return call
