"""Weights between PyTorch's state dicts and our trees: ``from_torch`` and ``to_torch``, exact inverses of each other."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxvision.layers import resize_position
from jaxvision.weights import mismatch
from jaxvision.weights.rules import IGNORED, Named, family_of, head_names, named, rules_of, shapes_of


def _tables(model: Any, channels: int = 3) -> dict[str, list[Named]]:
    """{layout: the names of every leaf}; a layout that lacks a leaf is left out."""
    shapes, found = shapes_of(model, channels), {}
    for layout, rules in rules_of(model).items():
        try:
            found[layout] = named(shapes, rules)
        except LookupError:
            continue
    if not found:
        raise ValueError(f"model: no layout of another library is known for this {type(model).__name__}")
    return found


def _chosen(tables: dict[str, list[Named]], layout: str | None, tensors: dict, prefix: str) -> str:
    """The layout asked for, or the one most of whose names are there."""
    if layout is not None:
        if layout not in tables:
            raise ValueError(f"layout: found {layout!r}, expected {' or '.join(map(repr, tables))}")
        return layout
    counts = {name: sum(entry.name in tensors for entry in table) for name, table in tables.items()}
    best = max(counts, key=counts.get)
    if not counts[best]:
        raise ValueError(mismatch.nothing(tables, list(tensors), prefix))
    return best


def _channels(table: list[Named], tensors: dict) -> int:
    """Channels of the images that the first convolution was made for."""
    first = next((entry for entry in table if len(entry.shape) == 4 and entry.shape[2] == 3), None)
    tensor = tensors.get(first.name) if first else None
    return np.shape(tensor)[1] if tensor is not None and np.ndim(tensor) == 4 else 3


def _resized(entry: Named, array: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A table of positions [1, P + n, D] for the model's grid; tokens that are no patch keep theirs."""
    cells = math.prod(grid)
    first = entry.shape[0] - cells
    side = math.isqrt(max(array.shape[1] - first, 0))
    if first < 0 or side**2 != array.shape[1] - first or not side:
        raise ValueError(f"grid: {entry.name} {list(array.shape)} is no square grid, or {grid} not the model's grid {list(entry.theirs)}")
    patches = np.asarray(resize_position(jnp.asarray(array[0, first:], jnp.float32), (side, side), tuple(grid)))
    return np.concatenate([array[:, :first], patches[None].astype(array.dtype)], axis=1)


def from_torch(
    model: Any,
    tensors: dict[str, np.ndarray],
    *,
    layout: str | None = None,
    prefix: str = "",
    drop_head: bool = False,
    grid: tuple[int, int] | None = None,
) -> dict:
    """Variables of ``model`` from a state dict: {"params": ..., "batch_stats": ...}, float32.

    ``layout``: "torchvision", "timm" or another of the family's (None: seen by the names). ``prefix``: only names that begin with it are
    read, without it. ``drop_head``: the classifier stays behind, and the tree has no ``head``. ``grid`` (rows, columns), the model's own
    grid of patches: learned positions of another image size are resampled to it. Raises ValueError that lists every name that is missing,
    left over or of another shape, and the option that would help.
    """
    tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    tables = _tables(model)
    layout = _chosen(tables, layout, tensors, prefix)
    table, rules = tables[layout], rules_of(model)[layout]
    if (channels := _channels(table, tensors)) != 3:
        table = named(shapes_of(model, channels), rules)
    left = {name for name in tensors if name.rpartition(".")[2] not in IGNORED}
    if drop_head:
        table = [entry for entry in table if not entry.in_head]
        left -= head_names(rules, list(left))
    found = {entry.name: np.asarray(tensors[entry.name]) for entry in table if entry.name in tensors}
    if grid is not None:
        moved = [entry for entry in table if entry.change.grid and entry.name in found and found[entry.name].ndim == 3]
        found |= {e.name: _resized(e, found[e.name], grid) for e in moved if found[e.name].shape[1] != e.theirs[1]}
    complaint = mismatch.complaint(model, table, found, left, layout=layout, heads=head_names(rules, list(tensors)))
    if complaint:
        raise ValueError(complaint)
    variables: dict = {}
    for entry in table:
        array = entry.change.read(found[entry.name].astype(np.float32), entry.shape)
        node = variables
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        node[entry.path[-1]] = jnp.array(np.ascontiguousarray(array))
    return variables


def to_torch(model: Any, variables: dict, *, layout: str | None = None) -> dict[str, np.ndarray]:
    """The state dict of ``variables`` (of {"params", "batch_stats"}, what is there), the exact inverse of ``from_torch``.

    What a library counts or looks up besides (batches seen, indices of positions) is made anew. Raises ValueError for a layout that the
    family lacks, and where it has several and none is named.
    """
    known = rules_of(model)
    layout = next(iter(known)) if layout is None and len(known) == 1 else layout
    if layout not in known:
        names = " or ".join(map(repr, known)) or "nothing: no layout of another library is known for this model"
        raise ValueError(f"layout: found {layout!r}, expected {names}")
    leaves = {name: tree for name, tree in variables.items() if name in ("params", "batch_stats")}
    tensors: dict = {}
    try:
        table = named(leaves, known[layout])
    except LookupError as error:
        raise ValueError(f"layout: {layout} has no name for {error}") from None
    for entry in table:
        leaf = leaves
        for key in entry.path:
            leaf = leaf[key]
        tensors[entry.name] = np.ascontiguousarray(entry.change.write(np.asarray(leaf))).reshape(entry.theirs)
        if entry.path[-1] == "mean":
            tensors[entry.name.replace("running_mean", "num_batches_tracked")] = np.array(0, np.int64)
    extra = getattr(family_of(model), "BUFFERS", {}).get(layout)
    return tensors | extra(tensors) if extra else tensors
