"""jaxvision: functional computer vision on JAX and Flax Linen.

    import jaxvision as jv

Names are loaded on first use. ``import jaxvision`` takes milliseconds and imports neither jax nor tensorflow-datasets nor matplotlib.
"""

from typing import TYPE_CHECKING

from jaxvision._public import set_public_names

if TYPE_CHECKING:  # the same names for editors and type checkers, which do not run the lazy loading below
    from jaxvision import augment, core, data, evaluate, kernels, layers, losses, models, objectives, plots, summary, train, typing, weights
    from jaxvision.core import Aux, Carry, Objective, combine
    from jaxvision.models import create_model, list_models
    from jaxvision.summary import report

__version__ = "0.2.0"

__all__ = [
    # models
    "create_model",
    "list_models",
    "report",
    # training signals and their composition
    "Aux",
    "Carry",
    "Objective",
    "combine",
    # packages
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
    "typing",
    "weights",
]
_DEFINED_IN = {
    "Aux": "jaxvision.core",
    "Carry": "jaxvision.core",
    "Objective": "jaxvision.core",
    "combine": "jaxvision.core",
    "create_model": "jaxvision.models",
    "list_models": "jaxvision.models",
    "report": "jaxvision.summary",
}
set_public_names(__name__, __all__, lazy={name: _DEFINED_IN.get(name, f"jaxvision.{name}") for name in __all__})
