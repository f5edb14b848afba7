"""The check of a source before a run: it has examples and labels, and the labels fit the classes."""

import numpy as np

from jaxvision.data.source import Source


def _check_vectors(labels: np.ndarray, num_classes: int | None, name: str) -> None:
    if num_classes is not None and labels.shape[1] != num_classes:
        raise ValueError(f"{name}: found label vectors of width {labels.shape[1]}, expected {num_classes}, one value for each class")
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= 1)).all(1))
    if len(wrong):
        found = f"{len(wrong)} of {len(labels)} label vectors with values outside [0, 1] (first at index {wrong[0]})"
        raise ValueError(f"{name}: found {found}, expected 0 or 1 for each class")


def _check_integers(labels: np.ndarray, num_classes: int | None, name: str) -> None:
    if (labels < 0).all():
        fix = "train a method that needs none, or pass it as a stream: jv.data.together(labelled, unlabelled=(source, 7))"
        raise ValueError(f"{name}: the source has no labels (all {len(labels)} are below 0), supervised training needs them: {fix}")
    wrong = np.flatnonzero((labels < 0) | (labels >= (np.inf if num_classes is None else num_classes)))
    if len(wrong):
        found = [str(label) for label in np.unique(labels[wrong])]
        values = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        expected = "at least 0" if num_classes is None else f"0..{num_classes - 1} ({num_classes} classes)"
        where = f"{len(wrong)} of {len(labels)} labels out of range (found {values}; first at index {wrong[0]})"
        raise ValueError(f"{name}: {where}, expected {expected}")


def check(source: Source, *, num_classes: int | None = None, name: str = "train", at_least_two_classes: bool = False) -> None:
    """Check that a source can be used for training. Runs call it before they start.

    ``num_classes``: how many classes the model predicts; None skips the check of the labels. ``name``: what messages call the source.
    ``at_least_two_classes``: refuse a source with labels of a single class. Labels are not read if the source says that they fit its
    classes (``labels_fit_classes``) and it does not have too many classes.

    Raises ValueError, in one line, if the source is empty, if it has no labels (all are negative, as those of ``unlabelled``), or if labels
    are outside 0..num_classes-1 or are vectors [N, K] with another K than ``num_classes``.

    >>> import jaxvision as jv
    >>> try: jv.data.check(jv.data.digits("train"), num_classes=5)
    ... except ValueError as error: print(error)
    train: 717 of 1438 labels out of range (found 5, 6, 7, 8, 9; first at index 4), expected 0..4 (5 classes)
    """
    if not len(source):
        raise ValueError(f"{name}: the source is empty, expected at least one example")
    if num_classes is None and not at_least_two_classes:
        return
    enough = num_classes is None or len(source.classes) <= num_classes
    if getattr(source, "labels_fit_classes", False) and enough and len(source.classes) > 1:
        return
    labels = np.asarray(source.labels)
    if labels.shape[:1] != (len(source),):
        raise ValueError(f"{name}: found labels of shape {labels.shape} for {len(source)} examples, expected one label for each")
    (_check_integers if labels.ndim == 1 else _check_vectors)(labels, num_classes, name)
    if at_least_two_classes and labels.ndim == 1 and (labels == labels[0]).all():
        label = int(labels[0])
        class_name = f" ({source.classes[label]!r})" if label < len(source.classes) else ""
        raise ValueError(f"{name}: found only the label {label}{class_name} in {len(labels)} examples, expected at least two classes")
