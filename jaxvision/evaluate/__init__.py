"""Judging a model: running it over a source, figures of its outputs, the choice of the best epoch, and what its channels look for."""

from jaxvision._public import set_public_names
from jaxvision.evaluate._few_labels import few_labels
from jaxvision.evaluate._knn import knn, nearest, neighbours
from jaxvision.evaluate._linear_probe import linear_probe, linear_probe_sgd
from jaxvision.evaluate._robustness import robustness
from jaxvision.evaluate._transfer import advice, stage_features, transfer
from jaxvision.evaluate.best_epoch import Best, track
from jaxvision.evaluate.collapse import Finding, Watch, guard, guard_init
from jaxvision.evaluate.inference import collect, features, outputs, predict, prepared
from jaxvision.evaluate.metrics import Metric, classification, confusion_matrix, multilabel, per_class_accuracy, scores, top_k
from jaxvision.evaluate.visualization import feature_gradient, top_patches

__all__ = [
    "Best",
    "Finding",
    "Metric",
    "Watch",
    "advice",
    "classification",
    "collect",
    "confusion_matrix",
    "feature_gradient",
    "features",
    "few_labels",
    "guard",
    "guard_init",
    "knn",
    "linear_probe",
    "linear_probe_sgd",
    "multilabel",
    "nearest",
    "neighbours",
    "outputs",
    "per_class_accuracy",
    "predict",
    "prepared",
    "robustness",
    "scores",
    "stage_features",
    "top_k",
    "top_patches",
    "track",
    "transfer",
]
set_public_names(__name__, __all__)
