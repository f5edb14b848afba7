"""Memory for time: what the way back finds in memory, by name, and what it computes again."""

from collections.abc import Callable, Iterator

import jax


def _names(program) -> Iterator[str]:
    """The names of all values in a traced program, and in those that it calls."""
    for equation in program.eqns:
        if equation.primitive.name == "name":
            yield equation.params["name"]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda value: hasattr(value, "eqns")):
            if hasattr(value, "eqns"):
                yield from _names(value)


def rematerialized(loss: Callable, names: tuple[str, ...]) -> Callable:
    """``loss``, whose gradients find only the values of these ``names`` in memory and compute all others again; none: nothing is kept.

    Layers here name three: "shortcut", what leaves a block, "attention", what tokens find in one another, "hidden", the units of a
    perceptron. ``jax.ad_checkpoint.checkpoint_name`` names further ones (Chen et al., "Training Deep Nets with Sublinear Memory
    Cost", 2016).

    Raises ValueError, at the first call, for a name that the loss has not.
    """
    if isinstance(names, str):
        raise ValueError(f"remat: found {names!r}, expected a tuple of names: ({names!r},)")
    light = jax.checkpoint(loss, policy=jax.checkpoint_policies.save_only_these_names(*names))

    def checked(*arguments, **options):
        found = sorted(set(_names(jax.make_jaxpr(lambda: loss(*arguments, **options))().jaxpr)))
        if unknown := [name for name in names if name not in found]:
            raise ValueError(f"remat: found {unknown[0]!r}, expected names of values of this model: {', '.join(found) or 'it has none'}")
        return light(*arguments, **options)

    return checked
