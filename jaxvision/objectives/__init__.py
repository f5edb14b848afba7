"""Training signals, one method a file: the modules it trains, its memory, its binding to a loss."""

from jaxvision.objectives.classification import supervised

__all__ = ["supervised"]
