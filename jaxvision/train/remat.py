"""Rematerialization: named intermediate values are kept for the backward pass, all others are computed again."""

from collections.abc import Callable, Iterator

import jax


def _names(program) -> Iterator[str]:
    """The names of all values in a traced program, and in the programs that it calls."""
    for equation in program.eqns:
        if equation.primitive.name == "name":
            yield equation.params["name"]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda value: hasattr(value, "eqns")):
            if hasattr(value, "eqns"):
                yield from _names(value)


def rematerialized(loss: Callable, names: tuple[str, ...]) -> Callable:
    """``loss``, whose backward pass keeps only the values with these ``names`` in memory and computes all others again.

    It trades time for memory (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). An empty tuple keeps nothing. The layers
    of this library name three values: "shortcut" (the output of a block), "attention" (the output of attention) and "hidden" (the hidden
    units of an MLP). Name further values by ``jax.ad_checkpoint.checkpoint_name``.

    Raises ValueError, at the first call, for a name that no value of the loss has.

    >>> import jax, jax.numpy as jnp, jaxvision as jv
    >>> from jax.ad_checkpoint import checkpoint_name
    >>> loss = lambda x: jnp.sum(checkpoint_name(jnp.sin(x), "sine") ** 2)
    >>> light = jv.train.rematerialized(loss, ("sine",))
    >>> bool(jax.grad(light)(1.0) == jax.grad(loss)(1.0))
    True
    """
    if isinstance(names, str):
        raise ValueError(f"remat: found {names!r}, expected a tuple of names: ({names!r},)")
    light = jax.checkpoint(loss, policy=jax.checkpoint_policies.save_only_these_names(*names))

    def checked(*arguments, **options):
        known = sorted(set(_names(jax.make_jaxpr(lambda: loss(*arguments, **options))().jaxpr)))
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"remat: found {unknown[0]!r}, expected names of values of this model: {', '.join(known) or 'it has none'}")
        return light(*arguments, **options)

    return checked
