"""Python without some of its packages, as users have it who installed only what training needs."""

from collections.abc import Iterable

# Of what pyproject.toml names, all but jax, flax (which brings rich), optax, orbax, chex and numpy.
OPTIONAL = ("tensorflow_datasets", "PIL", "sklearn", "safetensors", "tyro", "tensorboardX", "matplotlib", "grain", "jaxtyping")


def without(packages: Iterable[str]) -> str:
    """The first lines of a program that finds none of the packages."""
    return f"import sys; sys.modules.update(dict.fromkeys({sorted(packages)}))\n"
