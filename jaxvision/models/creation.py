"""``create_model`` and ``list_models``: from a name to a network. A family is imported only when one of its models is created."""

import difflib
import fnmatch
import importlib
import inspect
from numbers import Real
from typing import TYPE_CHECKING, Any

from jaxvision.models.catalog import ALIASES, FAMILIES

if TYPE_CHECKING:
    from flax import linen as nn

_COMMON = {  # options of every family that can use them, and why a family may lack one
    "image_size": "it takes images of any size",
    "drop_rate": "it has no dropout",
    "drop_path_rate": "it has no residual branch to drop",
}
_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}


def check_common(options: dict) -> None:
    """Check the options that mean the same in every family; raise ValueError that names the wrong one."""
    from jaxvision import checks  # imports numpy, which listing names does not need

    checks.integer("num_classes", options.get("num_classes", 0), at_least=0)
    if options.get("in_channels") is not None:
        checks.integer("in_channels", options["in_channels"])
    for name in ("drop_rate", "drop_path_rate"):
        rate = options.get(name, 0.0)
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 <= rate < 1:
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
    """Names of all models that match a shell pattern, sorted.

    ``create_model`` also accepts the names of torchvision and timm for the same networks; they are not listed.

    >>> import jaxvision as jv
    >>> jv.list_models("resnet?0")
    ['resnet20', 'resnet50']
    """
    return sorted(fnmatch.filter(_FAMILY_OF, pattern))


def _check_option(option: str, accepted: dict, name: str, family: Any) -> None:
    """Raise TypeError for an option that ``build`` of the family does not have, with the nearest one or the reason."""
    if option in accepted:
        return
    near = difflib.get_close_matches(option, accepted, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    hint = f"; {_COMMON[option]}" if option in _COMMON else hint
    if option == "image_size" and (side := getattr(family, "IMAGE_SIZE", None)):
        hint = f"; it only takes images of {side} x {side}"
    raise TypeError(f"{option}: {name} has no such option; it has {', '.join(accepted)}{hint}")


def create_model(name: str, **options: Any) -> "nn.Module":
    """Create a network, a Flax Linen module, by its name.

    Options of every family: ``num_classes`` (default 1000; 0 gives an encoder that returns pooled features), ``in_channels`` (None: those
    of the first image) and ``dtype`` (the type of the computation; parameters stay float32); where they apply, ``drop_rate``,
    ``drop_path_rate`` and ``image_size``. A family may have more, such as ``stem="cifar"`` or ``patch_size=4``. Raises ValueError for an
    unknown name, with the nearest names, and for an invalid value; TypeError for an option that the family does not have.

    >>> import jaxvision as jv
    >>> model = jv.create_model("resnet18", num_classes=10, stem="cifar")
    >>> model.depths, model.num_classes
    ((2, 2, 2, 2), 10)
    """
    if not isinstance(name, str):
        raise TypeError(f"name: found {name!r}, expected the name of a model such as 'resnet18'; jv.list_models() lists all")
    known = ALIASES.get(name, name)
    if known not in _FAMILY_OF:
        near = difflib.get_close_matches(name, [*_FAMILY_OF, *ALIASES], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "jv.list_models() lists all"
        raise ValueError(f"unknown model {name!r}; {hint}")
    family = importlib.import_module(f"jaxvision.models.{_FAMILY_OF[known]}")
    accepted = {name: parameter.default for name, parameter in inspect.signature(family.build).parameters.items() if name != "name"}
    for option in options:
        _check_option(option, accepted, known, family)
    check_common({option: value for option, value in options.items() if value is not None or accepted[option] is not None})
    return family.build(known, **options)
