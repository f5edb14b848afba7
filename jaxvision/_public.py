"""Access to the names of a package: listing for ``dir`` and completion, lazy loading, and errors that suggest the nearest names."""

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any


def set_public_names(package: str, names: Iterable[str], *, lazy: Mapping[str, str] = {}) -> None:
    """Make ``dir(package)`` list ``names`` alone, and make the error for any other name suggest the nearest ones.

    ``lazy``: {name: module that defines it}. These names are imported at their first use. A name that is itself a submodule is given as
    that submodule. Other submodules stay importable; they are not listed.

    Type checkers do not see this call. A package that has lazy names imports them once more under ``if TYPE_CHECKING:``.
    """
    names = sorted(names)

    def __getattr__(name: str) -> Any:
        if name in lazy:
            module = importlib.import_module(lazy[name])
            value = module if lazy[name] == f"{package}.{name}" else getattr(module, name)
            setattr(sys.modules[package], name, value)
            return value
        near = [] if name.startswith("__") else difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names)}"
        raise AttributeError(f"module {package!r} has no attribute {name!r}; {hint}")

    def __dir__() -> list[str]:
        return names

    vars(sys.modules[package]).update(__getattr__=__getattr__, __dir__=__dir__)
