"""Checks of features and labels: one finite row and one class number for each example."""

import numpy as np


def _finite_rows(name: str, features) -> np.ndarray:
    """``features`` as a float array [N, D].

    Raises ValueError that names the argument ``name`` for another shape and for rows that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"{name}: found shape {features.shape}, expected [N, D] with N and D of at least 1")
    rows = features if features.dtype in (np.float32, np.float64) else features.astype(np.float32)
    if wrong := int((~np.isfinite(rows).all(1)).sum()):
        raise ValueError(f"{name}: {wrong} of {len(rows)} rows are not finite, expected finite numbers; check the encoder's parameters")
    return rows


def check_pair(train_features, test_features) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays [N, D] and [M, D].

    Raises ValueError for other shapes, for different D, and for rows that are not finite.
    """
    pair = _finite_rows("train_features", train_features), _finite_rows("test_features", test_features)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(f"test_features: found {pair[1].shape[1]} columns, expected {pair[0].shape[1]}, as in train_features")
    return pair


def check_features(name: str, features, labels) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] as floats and labels [N] as int64. Errors call them ``name``_features and ``name``_labels.

    Raises ValueError for other shapes, rows that are not finite, and examples without a label.
    """
    features, labels = _finite_rows(f"{name}_features", features), np.asarray(labels)
    if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"{name}_labels: found {labels.dtype} of shape {labels.shape}, expected {len(features)} class numbers (integers)")
    if labels.min() < 0:
        raise ValueError(f"{name}_labels: found {(labels < 0).sum()} examples without a label (below 0), expected a class for each")
    return features, labels.astype(np.int64)
