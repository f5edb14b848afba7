"""PyTorch's cross-entropies, values and gradients, in every combination of labels, smoothing and weights."""

import itertools

import jax
import numpy as np
import pytest

import jaxvision as jv

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")

RNG = np.random.default_rng(1)
LOGITS = (4 * RNG.standard_normal((9, 6))).astype(np.float32)
WEIGHTS = RNG.uniform(0, 2, 6).astype(np.float32)
NUMBERS = RNG.integers(0, 6, 9)
SOFT = RNG.dirichlet(np.ones(6), 9).astype(np.float32)


def value_and_gradient_of_torch(loss, labels, **options):
    logits = torch.tensor(LOGITS, requires_grad=True)
    value = loss(logits, torch.tensor(labels), **{name: torch.tensor(array) for name, array in options.items() if array is not None})
    value.backward()
    return value.item(), logits.grad.numpy()


@pytest.mark.parametrize(
    ("labels", "smoothing", "weights"),
    list(itertools.product([NUMBERS, SOFT], [0.0, 0.1], [None, WEIGHTS])),
    ids=lambda value: str(value) if isinstance(value, float) else {1: "vector", 2: "soft"}.get(np.ndim(value), "none"),
)
def test_cross_entropy(labels, smoothing, weights):
    value, gradient = jax.value_and_grad(jv.losses.cross_entropy)(LOGITS, labels, label_smoothing=smoothing, class_weights=weights)

    def loss(logits, target, weight=None):
        return torch.nn.functional.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing)

    expected, expected_gradient = value_and_gradient_of_torch(loss, labels, weight=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-7)


@pytest.mark.parametrize("positive", [None, WEIGHTS], ids=["plain", "positive"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_binary_cross_entropy(weights, positive):
    options = {"class_weights": weights, "positive_weights": positive}
    value, gradient = jax.value_and_grad(jv.losses.binary_cross_entropy)(LOGITS, SOFT, **options)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    expected, expected_gradient = value_and_gradient_of_torch(loss, SOFT, weight=weights, pos_weight=positive)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-7)
