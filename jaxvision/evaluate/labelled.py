"""What every judgement of features asks of them: one finite row an example, one class each."""

import numpy as np


def _finite_rows(name: str, features) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"{name}: found shape {features.shape}, expected [N, D] with N and D of at least 1")
    wide = features if features.dtype in (np.float32, np.float64) else features.astype(np.float32)
    if wrong := int((~np.isfinite(wide).all(1)).sum()):
        raise ValueError(f"{name}: {wrong} of {len(wide)} rows are not finite, expected numbers; the encoder that made them is broken")
    return wide


def check_pair(train_features, test_features) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays [N, D] and [M, D]. Raises ValueError for other shapes, another D, or what is not finite."""
    pair = _finite_rows("train_features", train_features), _finite_rows("test_features", test_features)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(f"test_features: found {pair[1].shape[1]} columns, expected {pair[0].shape[1]}, as train_features have")
    return pair


def check_features(name: str, features, labels) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] as floats and labels [N] as int64, called ``name``_features and ``name``_labels in errors.

    Raises ValueError for other shapes, rows that are not finite, and examples without a label.
    """
    features, labels = _finite_rows(f"{name}_features", features), np.asarray(labels)
    if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"{name}_labels: found {labels.dtype} of shape {labels.shape}, expected {len(features)} class numbers (integers)")
    if labels.min() < 0:
        raise ValueError(f"{name}_labels: found {(labels < 0).sum()} examples without a label (below 0), expected a class each")
    return features, labels.astype(np.int64)
