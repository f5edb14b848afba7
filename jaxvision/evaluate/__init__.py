"""Evaluation: inference over a source, metrics, probes of features, transfer, robustness, and the collapse guard."""

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
    # inference
    "collect",
    "features",
    "outputs",
    "predict",
    "prepared",
    # metrics
    "Metric",
    "classification",
    "confusion_matrix",
    "multilabel",
    "per_class_accuracy",
    "scores",
    "top_k",
    # selection of the best epoch
    "Best",
    "track",
    # evaluation of features
    "few_labels",
    "knn",
    "linear_probe",
    "linear_probe_sgd",
    "nearest",
    "neighbours",
    # transfer and robustness
    "advice",
    "robustness",
    "stage_features",
    "transfer",
    # collapse guard
    "Finding",
    "Watch",
    "guard",
    "guard_init",
    # visualization of channels
    "feature_gradient",
    "top_patches",
]
set_public_names(__name__, __all__)
