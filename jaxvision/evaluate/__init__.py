"""Judging a model: running it over a source, figures of its outputs, and the choice of the best epoch."""

from jaxvision.evaluate.classify import classification, multilabel, scores
from jaxvision.evaluate.inference import features, outputs, predict, prepared
from jaxvision.evaluate.metrics import confusion_matrix, per_class_accuracy, top_k
from jaxvision.evaluate.selection import Best, track

__all__ = [
    "Best",
    "classification",
    "confusion_matrix",
    "features",
    "multilabel",
    "outputs",
    "per_class_accuracy",
    "predict",
    "prepared",
    "scores",
    "top_k",
    "track",
]
