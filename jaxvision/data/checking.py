"""Checks before a run: is there anything to learn from, and do the labels fit the classes."""

import numpy as np


def one_of(argument: str, found: str, allowed) -> None:
    """Raises ValueError when ``found`` is none of the ``allowed`` names."""
    if found not in allowed:
        raise ValueError(f"{argument}: found {found!r}, expected {' or '.join(map(repr, allowed))}")


def _check_vectors(labels: np.ndarray, num_classes: int | None, name: str) -> None:
    if num_classes is not None and labels.shape[1] != num_classes:
        raise ValueError(f"{name}: found label vectors of width {labels.shape[1]}, expected {num_classes}, one entry a class")
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= 1)).all(1))
    if len(wrong):
        where = f"{len(wrong)} of {len(labels)} label vectors leave [0, 1] (first at index {wrong[0]})"
        raise ValueError(f"{name}: {where}, expected 0 or 1 a class")


def _check_integers(labels: np.ndarray, num_classes: int | None, name: str) -> None:
    if (labels < 0).all():
        fix = "a model with num_classes=0 does without, jv.data.together(labelled, unlabelled=(source, 7)) goes beside labelled ones"
        raise ValueError(f"{name}: the source has no labels (all {len(labels)} are below 0), supervised training needs them: {fix}")
    wrong = np.flatnonzero((labels < 0) | (labels >= (np.inf if num_classes is None else num_classes)))
    if len(wrong):
        found = [str(label) for label in np.unique(labels[wrong])]
        values = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        expected = "at least 0" if num_classes is None else f"0..{num_classes - 1} ({num_classes} classes)"
        where = f"{len(wrong)} of {len(labels)} labels out of range (found {values}; first at index {wrong[0]})"
        raise ValueError(f"{name}: {where}, expected {expected}")


def check(source, *, num_classes: int | None = None, name: str = "train", at_least_two_classes: bool = False) -> None:
    """Raises ValueError, in one line, for a source that nothing can be learned from.

    Empty; no labels at all, as ``unlabelled`` leaves it; labels outside 0..num_classes-1, or vectors [N, K] of another width than
    ``num_classes``; one class only where ``at_least_two_classes``. ``name`` is what the message calls the source. Labels are not read where
    the source says that they fit its classes (``labels_fit_classes``) and there are enough of those.
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
        raise ValueError(f"{name}: found labels of shape {labels.shape} for {len(source)} examples, expected one a row")
    (_check_integers if labels.ndim == 1 else _check_vectors)(labels, num_classes, name)
    if at_least_two_classes and labels.ndim == 1 and (labels == labels[0]).all():
        label = int(labels[0])
        called = f" ({source.classes[label]!r})" if label < len(source.classes) else ""
        raise ValueError(f"{name}: all {len(labels)} labels are {label}{called}, expected at least two classes to tell apart")
