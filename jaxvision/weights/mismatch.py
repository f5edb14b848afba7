"""Error messages for a state dict that does not fit a model: every name, both shapes, and the option that may help."""

import math
from collections import Counter
from typing import Any

from jaxvision.weights.rules import Named

_LISTED = 8  # names in one message


def _listed(title: str, lines: list[str]) -> list[str]:
    shown = lines if len(lines) <= _LISTED else [*lines[:_LISTED], f"and {len(lines) - _LISTED} more"]
    return [f"{title} ({len(lines)}): {'; '.join(shown)}"] if lines else []


def _prefix(wanted: set[str], names: list[str], least: int = 1) -> str | None:
    """The prefix that precedes the most wanted names, if it precedes at least ``least`` of them."""
    counts: Counter = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:cut]) + "." for cut in range(1, len(parts)) if ".".join(parts[cut:]) in wanted)
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default=None)
    return best if counts[best] >= least else None


def no_prefix(prefix: str, names: list[str]) -> str:
    """The message if no name begins with ``prefix``, with the prefixes that were found."""
    begins = list(dict.fromkeys(name[: name.find(".") + 1] or name for name in names))
    shown = ", ".join(map(repr, begins[:_LISTED])) + (f" and {len(begins) - _LISTED} more" if len(begins) > _LISTED else "")
    return f"prefix: none of {len(names)} names begins with {prefix!r}; expected one of {shown or 'none: nothing was found'}"


def nothing(tables: dict[str, list[Named]], names: list[str], prefix: str) -> str:
    """The message if no name of any layout was found."""
    wanted = {entry.name for table in tables.values() for entry in table}
    first = {layout: min(table, key=lambda entry: (entry.path[0] != "params", entry.path[1] != "stem")) for layout, table in tables.items()}
    examples = ", ".join(f"{entry.name} ({layout})" for layout, entry in first.items())
    after = f" after the prefix {prefix!r}" if prefix else ""
    found = ", ".join(names[:4]) or "nothing"
    text = f"tensors: none of the model's names was found{after}; expected for example {examples}; found {found}"
    guess = _prefix(wanted, names, least=min(map(len, tables.values())) // 2 + 1)
    return f"{text}; prefix={guess!r} would fit" if guess else text


def _position_hint(entry: Named, shape: tuple[int, ...], model: Any) -> str | None:
    """A hint for a position table of another image size or window."""
    if not entry.change.resize or len(shape) != len(entry.theirs) or shape[-1] != entry.theirs[-1]:
        return None
    if len(shape) == 2:
        window = (math.isqrt(shape[0]) + 1) // 2
        square = f"model.clone(window={window}), or " if (2 * window - 1) ** 2 == shape[0] else ""
        return f"{square}grid=({model.window}, {model.window}) to resample the positions"
    side = model.image_size // model.patch_size
    tokens = shape[1] - (entry.theirs[1] - side**2)
    other = math.isqrt(max(tokens, 0))
    square = f"image_size={other * model.patch_size} in create_model, or " if other**2 == tokens else ""
    return f"{square}grid=({side}, {side}) to resample the positions"


def _channel_hint(entry: Named, found: dict) -> str | None:
    """A hint for a first convolution with another number of input channels."""
    shape = found[entry.name].shape
    if entry.path[1] != "stem" or len(shape) != 4 or len(entry.theirs) != 4:
        return None
    return f"in_channels={shape[1]} in create_model" if shape[:1] + shape[2:] == entry.theirs[:1] + entry.theirs[2:] else None


def _hints(table: list[Named], found: dict, left: set[str], heads: set[str], wrong: list[Named], model: Any) -> list[str]:
    hints = []
    missing = {entry.name for entry in table} - set(found)
    if missing and (guess := _prefix(missing, sorted(left))):
        hints.append(f"prefix={guess!r}")
    bias = next((entry for entry in wrong if entry.in_head and entry.path[1:] == ("head", "bias")), None)
    if bias is not None and found[bias.name].ndim == 1:
        hints.append(f"num_classes={len(found[bias.name])} in create_model, or drop_head=True")
    elif left & heads or any(entry.in_head and not entry.auxiliary and entry.name in missing for entry in table):
        hints.append("drop_head=True")
    elif any(entry.auxiliary and entry.name in missing for entry in table):
        hints.append("drop_auxiliary=True")
    hints += [hint for entry in wrong if (hint := _position_hint(entry, found[entry.name].shape, model) or _channel_hint(entry, found))]
    return list(dict.fromkeys(hints))


def complaint(model: Any, table: list[Named], found: dict, left: set[str], *, layout: str, heads: set[str]) -> str | None:
    """The message for arrays ``found`` that do not fit ``table`` and for unused names ``left``; None if all fits."""
    left = left - {entry.name for entry in table}
    missing = [entry for entry in table if entry.name not in found]
    wrong = [entry for entry in table if entry.name in found and found[entry.name].shape != entry.theirs]
    # numpy gives bfloat16 and similar types the kind "V".
    wrong_type = [e for e in table if e.name in found and found[e.name].dtype.kind != "f" and "float" not in found[e.name].dtype.name]
    lines = [
        *_listed("missing", [f"{entry.name} {list(entry.theirs)}" for entry in missing]),
        *_listed("unexpected", sorted(left)),
        *_listed("of another shape", [f"{e.name}: found {list(found[e.name].shape)}, expected {list(e.theirs)}" for e in wrong]),
        *_listed("of another type", [f"{entry.name}: found {found[entry.name].dtype}, expected floating point" for entry in wrong_type]),
    ]
    if not lines:
        return None
    hints = _hints(table, found, left, heads, wrong, model)
    lines += [f"this may help: {'; '.join(hints)}"] if hints else []
    return "\n  ".join([f"tensors: they do not fit this {type(model).__name__} in {layout}'s layout", *lines])
