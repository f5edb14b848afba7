"""Convert between PyTorch's state dicts and our parameter trees: ``from_torch`` and its exact inverse ``to_torch``."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.weights import mismatch, releases
from jaxvision.weights.rules import IGNORED, Named, family_of, head_names, named, rules_of, shapes_of


def _tables(model: Any, channels: int = 3) -> dict[str, list[Named]]:
    """{layout: the names of all leaves}, without the layouts that lack a leaf."""
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
    """``layout`` if it is given, else the layout with the most names among the tensors."""
    if layout is not None:
        if layout not in tables:
            raise ValueError(f"layout: found {layout!r}, expected {' or '.join(map(repr, tables))}")
        return layout
    counts = {name: sum(entry.name in tensors for entry in table) for name, table in tables.items()}
    best = max(counts, key=lambda name: (counts[name], -len(tables[name])))
    if not counts[best]:
        raise ValueError(mismatch.nothing(tables, list(tensors), prefix))
    return best


def _channels(table: list[Named], tensors: dict) -> int:
    """The number of input channels of the first convolution."""
    first = next((entry for entry in table if len(entry.shape) == 4 and entry.shape[2] == 3), None)
    tensor = tensors.get(first.name) if first else None
    return np.shape(tensor)[1] if tensor is not None and np.ndim(tensor) == 4 else 3


def _resized(table: list[Named], found: dict, grid: tuple[int, int]) -> dict:
    """The position tables among ``found`` whose shape differs from the model's, resampled to its grid."""
    tables = [entry for entry in table if entry.change.resize and entry.name in found]
    tables = [entry for entry in tables if found[entry.name].ndim == len(entry.theirs) and found[entry.name].shape != entry.theirs]
    try:
        return {entry.name: entry.change.resize(found[entry.name], entry.theirs, grid) for entry in tables}
    except ValueError as error:
        raise ValueError(f"grid: {tables[0].name} {error}") from None


def behind(prefix: str, tensors: dict) -> dict:
    """The tensors whose names begin with ``prefix``, which is removed. Raises ValueError if there is none, with the actual prefixes."""
    found = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if prefix and not found:
        raise ValueError(mismatch.no_prefix(prefix, list(tensors)))
    return found


def _check_values(model: Any, layout: str) -> None:
    """Raise ValueError if the library's network of the same name uses other values, such as epsilon, than the model."""
    wanted = getattr(family_of(model), "VALUES", {}).get(layout, {})
    if odd := {name: value for name, value in wanted.items() if getattr(model, name) != value}:
        found = ", ".join(f"{name}={getattr(model, name)!r}" for name in odd)
        values = ", ".join(f"{name}={value!r}" for name, value in odd.items())
        raise ValueError(f"layout: {layout}'s network has {values}, the model has {found}; use model.clone({values})")


def from_torch(
    model: nn.Module,
    tensors: dict[str, np.ndarray],
    *,
    layout: str | None = None,
    prefix: str = "",
    drop_head: bool = False,
    drop_auxiliary: bool = False,
    grid: tuple[int, int] | None = None,
) -> dict:
    """Variables of ``model`` from a PyTorch state dict: {"params": ..., "batch_stats": ...}, float32.

    ``layout``: "torchvision", "timm" or another one of the family, or a release of a self-supervised method ("dino", "dinov2", "mae",
    "fcmae", "lightly", "solo-learn"), of which the encoder is read; None: it is detected by the names. ``prefix``: read only the names that
    begin with it. ``drop_head``: omit the classifier; ``drop_auxiliary``: omit auxiliary classifiers. ``grid`` (rows, columns): resample
    learned positions of another image size to the model's grid of patches, or those of another Swin window to the model's window. Raises
    ValueError that lists all names that are missing, unexpected or of another shape, with the option that may help; also for a layout
    whose network computes with other values than the model.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> model = jv.create_model("lenet5")
    >>> variables = model.init(jax.random.key(0), jax.numpy.ones((1, 32, 32, 1)))
    >>> tensors = jv.weights.to_torch(model, variables, layout="sequential")
    >>> jv.weights.from_torch(model, tensors)["params"]["head"]["kernel"].shape
    (84, 10)
    """
    tensors, layout = releases.encoder_of(model, behind(prefix, tensors), layout)
    tables = _tables(model)
    layout = _chosen(tables, layout, tensors, prefix)
    _check_values(model, layout)
    table, rules = tables[layout], rules_of(model)[layout]
    if (channels := _channels(table, tensors)) != 3:
        table = named(shapes_of(model, channels), rules)
    left = {name for name in tensors if name.rpartition(".")[2] not in IGNORED}
    dropped = head_names(rules, list(left), head=drop_head, auxiliary=drop_head or drop_auxiliary)
    left -= dropped
    table = [entry for entry in table if not (drop_head and entry.in_head or drop_auxiliary and entry.auxiliary)]
    found = {entry.name: np.asarray(tensors[entry.name]) for entry in table if entry.name in tensors}
    if grid is not None:
        found |= _resized(table, found, grid)
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


def to_torch(model: nn.Module, variables: dict, *, layout: str | None = None) -> dict[str, np.ndarray]:
    """The PyTorch state dict of ``variables`` ({"params": ..., "batch_stats": ...}); the exact inverse of ``from_torch``.

    Buffers that hold nothing learned (the count of batches, indices of positions) are created. ``layout`` None is the family's only layout.
    Raises ValueError for a layout that the family does not have, or if it has several and ``layout`` is None.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> model = jv.create_model("lenet5")
    >>> variables = model.init(jax.random.key(0), jax.numpy.ones((1, 32, 32, 1)))
    >>> tensors = jv.weights.to_torch(model, variables, layout="tutorial")
    >>> tensors["conv1.weight"].shape, tensors["fc3.weight"].shape
    ((6, 1, 5, 5), (10, 84))
    """
    known = rules_of(model)
    layout = next(iter(known)) if layout is None and len(known) == 1 else layout
    if layout not in known:
        names = " or ".join(map(repr, known)) or "nothing: no layout of another library is known for this model"
        raise ValueError(f"layout: found {layout!r}, expected {names}")
    _check_values(model, layout)
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
