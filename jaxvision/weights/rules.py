"""Apply a family's naming rules: for every leaf of our tree, the name in PyTorch's state dict and the transform of its array.

A rule is (path of our module or parameter, name in the state dict[, transform]). ``{i}`` matches an integer, and the name may use it as
``{i-1}``, ``{i+2}`` or ``{2*i}``. The first rule that matches applies. ``LEAVES`` names the leaves of a module.
"""

import functools
import importlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.weights.transforms import Change, default

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
IGNORED = ("num_batches_tracked", "relative_position_index", "attn_mask")  # last parts of the names of buffers that hold nothing learned
_HOLE = re.compile(r"\{(?:(\d+)\*)?([a-z])([+-]\d+)?\}")
_IMAGE_SIZE = 224


class Named(NamedTuple):
    """One leaf of our tree: its path (collection first), its shape, its name and shape in the state dict, and the transform."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    name: str
    theirs: tuple[int, ...]
    change: Change

    @property
    def in_head(self) -> bool:
        """Whether it belongs to the classifier or to an auxiliary classifier."""
        return self.path[1] == "head" or self.auxiliary

    @property
    def auxiliary(self) -> bool:
        """Whether it belongs to an auxiliary classifier, which is used in training only."""
        return self.path[1].startswith("auxiliary")


@functools.cache
def _pattern(template: str) -> re.Pattern:
    """The left side of a rule as a regular expression; holes with the same name match the same number."""
    seen, text, end = set(), "", 0
    for hole in _HOLE.finditer(template):
        text += re.escape(template[end : hole.start()])
        text += f"(?P={hole[2]})" if hole[2] in seen else rf"(?P<{hole[2]}>\d+)"
        seen.add(hole[2])
        end = hole.end()
    return re.compile(text + re.escape(template[end:]))


def _filled(template: str, numbers: dict[str, str]) -> str:
    """The right side of a rule with its numbers inserted."""
    return _HOLE.sub(lambda hole: str(int(hole[1] or 1) * int(numbers[hole[2]]) + int(hole[3] or 0)), template)


def _find(rules: tuple, path: tuple[str, ...], rank: int) -> tuple[str, Change] | None:
    """Name and transform of the leaf at ``path`` (without its collection) by the first rule that matches."""
    whole, module, leaf = "/".join(path), "/".join(path[:-1]), path[-1]
    for ours, theirs, *change in rules:
        pattern = _pattern(ours)
        if match := pattern.fullmatch(whole):
            return _filled(theirs, match.groupdict()), change[0] if change else default(leaf, rank)
        if leaf in LEAVES and (match := pattern.fullmatch(module)):
            own = change[0] if change and leaf == "kernel" else default(leaf, rank)
            return f"{_filled(theirs, match.groupdict())}.{LEAVES[leaf]}", own
    return None


def family_of(model: Any):
    """The layouts file of a model's family. Raises TypeError if the model is not from ``jv.create_model``."""
    package, _, family = type(model).__module__.rpartition(".")
    if package != "jaxvision.models":
        raise TypeError(f"model: found {type(model).__name__}, expected one of jv.create_model's")
    return importlib.import_module(f"jaxvision.weights.layouts.{family}")


def rules_of(model: Any) -> dict[str, tuple]:
    """{layout: rules} of a model, without the libraries that do not have it."""
    found = {name: rules(model) if callable(rules) else rules for name, rules in family_of(model).LAYOUTS.items()}
    return {name: rules for name, rules in found.items() if rules}


def shapes_of(model: Any, channels: int = 3) -> dict:
    """Shapes of a model's variables, without computing them, for its ``in_channels`` or else for ``channels``."""
    channels = getattr(model, "in_channels", None) or channels
    size = getattr(model, "image_size", None) or getattr(family_of(model), "IMAGE_SIZE", _IMAGE_SIZE)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, channels))))


def named(variables: dict, rules: tuple) -> list[Named]:
    """Name every leaf of ``variables`` (arrays or shapes). Raises LookupError for a leaf without a rule."""
    found = []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables):
        path = tuple(key.key for key in keys)
        match = _find(rules, path[1:], len(leaf.shape))
        if match is None:
            raise LookupError("/".join(path[1:]))
        name, change = match
        theirs = jax.eval_shape(change.write, jax.ShapeDtypeStruct(leaf.shape, jnp.float32)).shape
        found.append(Named(path, tuple(leaf.shape), name, tuple(theirs), change))
    return found


def head_names(rules: tuple, names: list[str], *, head: bool = True, auxiliary: bool = True) -> set[str]:
    """The PyTorch names that belong to a classifier, whether our model has one or not."""
    heads = [theirs for ours, theirs, *_ in rules if head and ours.split("/")[0] == "head" or auxiliary and ours.startswith("auxiliary")]
    patterns = [re.compile(r"\d+".join(re.escape(part) for part in _HOLE.sub("\0", theirs).split("\0"))) for theirs in heads]
    modules = {name: name.rpartition(".")[0] for name in names}
    return {name for name, module in modules.items() if any(p.fullmatch(name) or p.fullmatch(module) for p in patterns)}
