"""From a name to a network: ``create_model`` and ``list_models``, which load a family only when one of its models is made."""

import difflib
import fnmatch
import importlib
import inspect
import numbers

from jaxvision.models.catalog import ALIASES, FAMILIES

_COMMON = {  # options of every family that has a use for them, and why one may have none
    "image_size": "it takes images of any size",
    "drop_rate": "it has no dropout",
    "drop_path_rate": "it has no branch beside a shortcut to drop",
}
_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}


def _counts(value, least: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least


def check_common(options: dict) -> None:
    """The options that every family reads alike; rates and counts that make no network are refused before one is built."""
    count, channels = options.get("num_classes", 0), options.get("in_channels")
    if not _counts(count, 0):
        raise ValueError(f"num_classes: found {count!r}, expected 0 (an encoder) or a positive integer")
    if channels is not None and not _counts(channels, 1):
        raise ValueError(f"in_channels: found {channels!r}, expected a positive integer, or None for those of the first image")
    for name in ("drop_rate", "drop_path_rate"):
        rate = options.get(name, 0.0)
        if not isinstance(rate, numbers.Real) or isinstance(rate, bool) or not 0 <= rate < 1:
            raise ValueError(f"{name}: found {rate!r}, expected at least 0 and less than 1")
    if options.get("dtype") is not None:
        import jax.numpy as jnp

        try:
            floating = jnp.issubdtype(jnp.dtype(options["dtype"]), jnp.floating)
        except TypeError:
            floating = False
        if not floating:
            raise ValueError(f"dtype: found {options['dtype']!r}, expected a floating-point type such as 'bfloat16' or 'float32'")


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern (``"vit*"``), sorted; other libraries' names for them are accepted but not listed."""
    return sorted(fnmatch.filter(_FAMILY_OF, pattern))


def create_model(name: str, **options):
    """A Linen module by name, for example ``create_model("resnet18", num_classes=10, stem="cifar")``.

    ``num_classes`` (1000; 0 gives an encoder), ``in_channels`` (None: those of the first image; else others are refused), ``dtype``
    (compute type; parameters stay float32), ``drop_rate``, ``drop_path_rate`` and ``image_size`` where they mean something, and the
    family's own. Raises ValueError for an unknown name, with the nearest ones, or a value that the family refuses; TypeError for an option
    that it lacks, or a name that is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: found {name!r}, expected a model's name such as 'resnet18'; jv.list_models() lists all")
    known = ALIASES.get(name, name)
    if known not in _FAMILY_OF:
        near = difflib.get_close_matches(name, [*_FAMILY_OF, *ALIASES], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "jv.list_models() lists all"
        raise ValueError(f"unknown model {name!r}; {hint}")
    family = importlib.import_module(f"jaxvision.models.{_FAMILY_OF[known]}")
    accepted = {name: parameter.default for name, parameter in inspect.signature(family.build).parameters.items() if name != "name"}
    for option in options:
        if option not in accepted:
            near = difflib.get_close_matches(option, accepted, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            hint = f"; {_COMMON[option]}" if option in _COMMON else hint
            if option == "image_size" and (side := getattr(family, "IMAGE_SIZE", None)):
                hint = f"; it takes images of {side} x {side} alone"
            raise TypeError(f"{option}: {known} has no such option; it has {', '.join(accepted)}{hint}")
    check_common({option: value for option, value in options.items() if value is not None or accepted[option] is not None})
    return family.build(known, **options)
