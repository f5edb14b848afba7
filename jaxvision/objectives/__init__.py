"""Training signals, one method a file: the modules it trains, its memory, its binding to a loss."""

from jaxvision.objectives.classification import supervised
from jaxvision.objectives.sequence import translation

__all__ = ["supervised", "translation"]
