"""The one rule of precision that every loss follows."""

from jaxvision.typing import at_least_float32

__all__ = ["at_least_float32"]
