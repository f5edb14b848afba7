"""jaxvision: functional computer vision on JAX and Flax Linen.

    import jaxvision as jv

Names are loaded on first use, so that this import takes milliseconds and pulls in neither jax nor tensorflow-datasets.
"""

import importlib

__version__ = "0.1.0"

_ROOMS = (
    "augment",
    "core",
    "data",
    "evaluate",
    "kernels",
    "layers",
    "losses",
    "models",
    "objectives",
    "plots",
    "summary",
    "train",
    "weights",
)
_NAMES = {
    "Aux": "jaxvision.core",
    "Carry": "jaxvision.core",
    "Objective": "jaxvision.core",
    "combine": "jaxvision.core",
    "create_model": "jaxvision.models",
    "list_models": "jaxvision.models",
    "report": "jaxvision.summary",
}
__all__ = sorted([*_ROOMS, *_NAMES])


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"jaxvision.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'jaxvision' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
