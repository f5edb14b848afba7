"""SimSiam from its paper's pseudo-code, in float64 numpy: projector, predictor and loss of two views."""

import numpy as np


def batch_norm(layer: dict, rows: np.ndarray) -> np.ndarray:
    """Rows [B, D] with the mean and variance of the batch taken out, scaled and shifted."""
    normalized = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    return normalized * layer["scale"] + layer["bias"] if layer else normalized


def mlp(layers: dict, rows: np.ndarray, *, last_norm: bool) -> np.ndarray:
    """Dense layers, a norm behind each and ReLU between them; behind the last a norm alone, or nothing."""
    depth = sum(name.startswith("dense") for name in layers)
    for index in range(1, depth + 1):
        rows = rows @ layers[f"dense{index}"]["kernel"] + layers[f"dense{index}"].get("bias", 0.0)
        if index < depth or last_norm:
            rows = batch_norm(layers.get(f"norm{index}"), rows)
        rows = np.maximum(rows, 0) if index < depth else rows
    return rows


def negative_cosine(p: np.ndarray, z: np.ndarray) -> float:
    """D of algorithm 1: minus the mean of p . z, both of length one."""
    p, z = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (p, z))
    return -np.mean(np.sum(p * z, axis=1))


def simsiam(params: dict, features: np.ndarray) -> float:
    """L of algorithm 1 for the features [B, 2, D] of two views; the norms see both views."""
    rows = features.reshape(-1, features.shape[-1])
    z = mlp(params["projector"], rows, last_norm=True)
    p = mlp(params["predictor"], z, last_norm=False)
    (z1, z2), (p1, p2) = (np.swapaxes(side.reshape(len(features), 2, -1), 0, 1) for side in (z, p))
    return negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
