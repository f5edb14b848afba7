"""Linear probes: the accuracy of one linear layer that is fitted on frozen features."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from numpy.typing import ArrayLike

from jaxvision import checks, losses
from jaxvision.data.source import stratified
from jaxvision.evaluate.feature_checks import check_features, check_pair
from jaxvision.evaluate.metrics import top_k

SWEEP = tuple(10.0**power for power in range(-6, 2))  # default values of ``regularization``


def _standardized(train_features: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All arrays standardized by the mean and standard deviation of the training columns. A constant training column becomes 0."""
    mean, std = train_features.mean(0, dtype=np.float64), train_features.std(0, dtype=np.float64)
    constant = std <= 1e-7 * np.abs(mean)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, std))
    return [((features - mean) * scale).astype(np.float32) for features in (train_features, *others)]


def _checked(train_features, train_labels, test_features, test_labels, standardize: bool) -> tuple:
    """Both pairs as arrays, standardized if asked for, and the number of classes."""
    train_features, train_labels = check_features("train", train_features, train_labels)
    test_features, test_labels = check_features("test", test_features, test_labels)
    check_pair(train_features, test_features)
    if len(np.unique(train_labels)) < 2:
        raise ValueError(f"train_labels: all {len(train_labels)} are {train_labels[0]}, expected at least two classes")
    if standardize:
        train_features, test_features = _standardized(train_features, test_features)
    return train_features, train_labels, test_features, test_labels, int(max(train_labels.max(), test_labels.max())) + 1


def _linear(layer: dict, features):
    return jnp.matmul(features, layer["kernel"], precision="highest") + layer["bias"]


@jax.jit
def _penalized(flat, like: dict, features, labels, regularization):
    """(value, gradient) of the mean cross-entropy plus regularization / 2 times the squared weights without the bias.

    ``flat`` is a layer with the shapes of ``like`` in one vector, as SciPy's optimizer needs it.
    """
    _, layer_of = jax.flatten_util.ravel_pytree(like)

    def value(flat):
        layer = layer_of(flat)
        penalty = 0.5 * regularization * jnp.sum(jnp.square(layer["kernel"]))
        return losses.cross_entropy(_linear(layer, features), labels) + penalty

    return jax.value_and_grad(value)(flat)


def _fit(features, labels, regularization: float, start: dict, iterations: int) -> dict:
    """The layer that minimizes the penalized loss, by L-BFGS on all rows at once, from ``start``."""
    flat, layer_of = jax.flatten_util.ravel_pytree(start)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = _penalized(flat.astype(np.float32), start, features, labels, np.float32(regularization))
        return float(loss), np.asarray(gradient, np.float64)

    options = {"maxiter": iterations, "ftol": 1e-10, "gtol": 1e-6, "maxfun": 2 * iterations}
    best = scipy.optimize.minimize(value, np.asarray(flat, np.float64), jac=True, method="L-BFGS-B", options=options)
    return layer_of(jnp.asarray(best.x, jnp.float32))


def _zeros(width: int, num_classes: int) -> dict:
    return {"bias": jnp.zeros(num_classes), "kernel": jnp.zeros((width, num_classes))}


def _path(features, labels, sweep: Sequence[float], num_classes: int, iterations: int):
    """Yield (regularization, fitted layer) from the strongest to the weakest. Each fit starts from the layer before."""
    features, labels = jnp.asarray(features), jnp.asarray(labels)
    layer = _zeros(features.shape[1], num_classes)
    for regularization in sorted(sweep, reverse=True):
        layer = _fit(features, labels, regularization, layer, iterations)
        yield regularization, layer


def _metrics(layer: dict, features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    logits = np.asarray(_linear(layer, jnp.asarray(features)))
    return {"top1": top_k(logits, labels)} | ({"top5": top_k(logits, labels, k=5)} if logits.shape[1] > 5 else {})


def _chosen(features, labels, sweep: Sequence[float], share: float, seed: int, num_classes: int, iterations: int) -> float:
    """The value with the best accuracy on the held-out ``share`` of the training rows; of equal ones the least loss, then the strongest."""
    held_out = stratified(labels, share, seed=seed)
    if held_out.all() or not held_out.any():
        raise ValueError(f"validation: {share} of {len(labels)} training rows leaves one part empty; give one regularization or more rows")
    scored = []
    for regularization, layer in _path(features[~held_out], labels[~held_out], sweep, num_classes, iterations):
        logits = _linear(layer, jnp.asarray(features[held_out]))
        loss = float(losses.cross_entropy(logits, jnp.asarray(labels[held_out])))
        scored.append((top_k(np.asarray(logits), labels[held_out]), -loss, regularization))
    return max(scored)[2]


def linear_probe(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    regularization: float | Sequence[float] = SWEEP,
    validation: float = 0.2,
    standardize: bool = True,
    iterations: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy of multinomial logistic regression on frozen features: ``top1``, with more than five classes ``top5``, ``regularization``.

    Features [N, D] and [M, D], labels [N] and [M]. L-BFGS minimizes, on all training rows at once,

        mean_i cross_entropy(W x_i + b, y_i) + regularization / 2 ||W||^2        (C = 1 / (N regularization) in scikit-learn)

    Of several values of ``regularization`` the best on a held-out part of the training rows is used (the fraction ``validation`` of each
    class), and the layer is fitted again on all training rows. Test rows select nothing. ``standardize``: scale each column to mean 0 and
    standard deviation 1 of the training rows. The result is the same on every call.

    Raises ValueError for shapes that do not match, missing labels, features that are not finite, a single class, a negative
    ``regularization``, and a held-out part that would be empty.

    >>> import jaxvision as jv  # slow
    >>> import numpy as np
    >>> features, labels = np.eye(2)[np.arange(20) % 2], np.arange(20) % 2
    >>> jv.evaluate.linear_probe(features, labels, features, labels, regularization=0.1)
    {'top1': 1.0, 'regularization': 0.1}
    """
    sweep = tuple(np.atleast_1d(np.asarray(regularization, float)).tolist())
    if not sweep or not all(0 <= value < np.inf for value in sweep):
        raise ValueError(f"regularization: found {regularization}, expected a number of at least 0, or several to choose from")
    if not 0 < validation < 1:
        raise ValueError(f"validation: found {validation}, expected a fraction between 0 and 1")
    *pairs, num_classes = _checked(train_features, train_labels, test_features, test_labels, standardize)
    features, labels, test_rows, test_classes = pairs
    best = sweep[0] if len(sweep) == 1 else _chosen(features, labels, sweep, validation, seed, num_classes, iterations)
    *_, (_, layer) = _path(features, labels, [value for value in sweep if value >= best], num_classes, iterations)
    return _metrics(layer, test_rows, test_classes) | {"regularization": best}


@partial(jax.jit, static_argnames=("optimizer", "epochs", "batch_size"))
def _descend(layer: dict, features, labels, key, *, optimizer, epochs: int, batch_size: int) -> dict:
    """The layer after all epochs. Each epoch has its own order; rows that do not fill a last batch are left out of that epoch."""

    def update(state, rows):
        layer, opt_state = state
        value = lambda layer: losses.cross_entropy(_linear(layer, features[rows]), labels[rows])  # noqa: E731
        updates, opt_state = optimizer.update(jax.grad(value)(layer), opt_state, layer)
        return (optax.apply_updates(layer, updates), opt_state), None

    def epoch(state, number):
        order = jax.random.permutation(jax.random.fold_in(key, number), len(features))
        rows = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)  # [steps, B]
        return jax.lax.scan(update, state, rows)

    return jax.lax.scan(epoch, (layer, optimizer.init(layer)), jnp.arange(epochs))[0][0]


def linear_probe_sgd(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    epochs: int = 100,
    batch_size: int = 256,
    standardize: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy of a linear layer that SGD trains on frozen features: ``top1`` and, with more than five classes, ``top5``.

    The protocol of most papers: momentum, a cosine schedule from ``learning_rate`` to 0, ``epochs`` over the training rows in batches of
    ``batch_size``, no weight decay, weights that start at 0; features are fixed, so there is no augmentation. ``standardize``: as in
    ``linear_probe``; it replaces the batch normalization without parameters that MAE puts before the layer. Raises ValueError for shapes
    that do not match, missing labels, features that are not finite, a single class, and counts below 1.
    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, appendix A.1.

    >>> import jaxvision as jv  # slow
    >>> import numpy as np
    >>> features, labels = np.eye(2)[np.arange(20) % 2], np.arange(20) % 2
    >>> jv.evaluate.linear_probe_sgd(features, labels, features, labels, epochs=5, batch_size=10)
    {'top1': 1.0}
    """
    checks.integer("epochs", epochs)
    checks.integer("batch_size", batch_size)
    *pairs, num_classes = _checked(train_features, train_labels, test_features, test_labels, standardize)
    features, labels, test_rows, test_classes = pairs
    batch_size = min(batch_size, len(features))
    schedule = optax.cosine_decay_schedule(learning_rate, epochs * (len(features) // batch_size))
    layer = _descend(
        _zeros(features.shape[1], num_classes),
        jnp.asarray(features),
        jnp.asarray(labels),
        jax.random.key(seed),
        optimizer=optax.sgd(schedule, momentum=momentum),
        epochs=epochs,
        batch_size=batch_size,
    )
    return _metrics(layer, test_rows, test_classes)
