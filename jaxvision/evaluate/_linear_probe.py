"""Linear probes: how well one linear layer tells the classes apart on features that are given and do not change."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize

from jaxvision import losses
from jaxvision.data.source import stratified
from jaxvision.evaluate.labelled import check_features, check_pair
from jaxvision.evaluate.metrics import top_k

SWEEP = tuple(10.0**power for power in range(-6, 2))  # of the penalty on the weights


def _standardized(train_features: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All with the mean 0 and deviation 1 that the training rows have in each column; a column that is constant there becomes 0."""
    mean, deviation = train_features.mean(0, dtype=np.float64), train_features.std(0, dtype=np.float64)
    constant = deviation <= 1e-7 * np.abs(mean)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, deviation))
    return [((features - mean) * scale).astype(np.float32) for features in (train_features, *others)]


def _checked(train_features, train_labels, test_features, test_labels, standardize: bool) -> tuple:
    """Both pairs as arrays, the features as the layer reads them, and the number of classes."""
    train_features, train_labels = check_features("train", train_features, train_labels)
    test_features, test_labels = check_features("test", test_features, test_labels)
    check_pair(train_features, test_features)
    if len(np.unique(train_labels)) < 2:
        raise ValueError(f"train_labels: all {len(train_labels)} are {train_labels[0]}, expected at least two classes to tell apart")
    if standardize:
        train_features, test_features = _standardized(train_features, test_features)
    return train_features, train_labels, test_features, test_labels, int(max(train_labels.max(), test_labels.max())) + 1


def _linear(layer: dict, features):
    return jnp.matmul(features, layer["kernel"], precision="highest") + layer["bias"]


@jax.jit
def _penalized(flat, like: dict, features, labels, regularization):
    """(value, gradient) of the mean cross-entropy plus regularization / 2 times the squared weights; the bias is free.

    ``flat`` is a layer shaped ``like`` in one row, as the optimizer wants it.
    """
    _, layer_of = jax.flatten_util.ravel_pytree(like)

    def value(flat):
        layer = layer_of(flat)
        penalty = 0.5 * regularization * jnp.sum(jnp.square(layer["kernel"]))
        return losses.cross_entropy(_linear(layer, features), labels) + penalty

    return jax.value_and_grad(value)(flat)


def _fit(features, labels, regularization: float, start: dict, iterations: int) -> dict:
    """The layer of least penalized loss, by L-BFGS on all rows at once, from ``start``."""
    flat, layer_of = jax.flatten_util.ravel_pytree(start)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        found, gradient = _penalized(flat.astype(np.float32), start, features, labels, np.float32(regularization))
        return float(found), np.asarray(gradient, np.float64)

    options = {"maxiter": iterations, "ftol": 1e-10, "gtol": 1e-6, "maxfun": 2 * iterations}
    best = scipy.optimize.minimize(value, np.asarray(flat, np.float64), jac=True, method="L-BFGS-B", options=options)
    return layer_of(jnp.asarray(best.x, jnp.float32))


def _zeros(width: int, num_classes: int) -> dict:
    return {"bias": jnp.zeros(num_classes), "kernel": jnp.zeros((width, num_classes))}


def _path(features, labels, sweep: Sequence[float], num_classes: int, iterations: int):
    """(penalty, fitted layer) from the strongest penalty to the weakest; each starts where the one before ended."""
    features, labels = jnp.asarray(features), jnp.asarray(labels)
    layer = _zeros(features.shape[1], num_classes)
    for regularization in sorted(sweep, reverse=True):
        layer = _fit(features, labels, regularization, layer, iterations)
        yield regularization, layer


def _figures(layer: dict, features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    logits = np.asarray(_linear(layer, jnp.asarray(features)))
    return {"top1": top_k(logits, labels)} | ({"top5": top_k(logits, labels, k=5)} if logits.shape[1] > 5 else {})


def _chosen(features, labels, sweep: Sequence[float], share: float, seed: int, num_classes: int, iterations: int) -> float:
    """The penalty that is best on the held-out ``share`` of the training rows; of equal ones that of least loss, then the strongest."""
    held = stratified(labels, share, seed=seed)
    if held.all() or not held.any():
        raise ValueError(f"validation: {share} of {len(labels)} training rows leaves one part empty, give one regularization or more rows")
    scored = []
    for regularization, layer in _path(features[~held], labels[~held], sweep, num_classes, iterations):
        logits = _linear(layer, jnp.asarray(features[held]))
        loss = float(losses.cross_entropy(logits, jnp.asarray(labels[held])))
        scored.append((top_k(np.asarray(logits), labels[held]), -loss, regularization))
    return max(scored)[2]


def linear_probe(
    train_features,
    train_labels,
    test_features,
    test_labels,
    *,
    regularization: float | Sequence[float] = SWEEP,
    validation: float = 0.2,
    standardize: bool = True,
    iterations: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """``top1``, with more than five classes ``top5``, and the ``regularization`` of multinomial logistic regression on frozen features.

    Features [N, D] and [M, D], labels [N] and [M]. The mean cross-entropy plus regularization / 2 times the squared weights (C = 1 / (N
    regularization) in scikit-learn), minimised by L-BFGS on all rows at once. Of several penalties the one that is best on a held-out
    ``validation`` share of every class of the training rows is taken, and all training rows are fitted again with it; the test rows choose
    nothing. ``standardize``: columns get mean 0 and deviation 1, by the training rows. Same numbers on every call.

    Raises ValueError for shapes that do not fit, missing labels, features that are not finite, one class only, a penalty below 0, and a
    held-out part that would be empty.
    """
    sweep = tuple(np.atleast_1d(np.asarray(regularization, float)).tolist())
    if not sweep or not all(0 <= value < np.inf for value in sweep):
        raise ValueError(f"regularization: found {regularization}, expected a number of at least 0, or several to choose from")
    if not 0 < validation < 1:
        raise ValueError(f"validation: found {validation}, expected a share between 0 and 1")
    *pairs, num_classes = _checked(train_features, train_labels, test_features, test_labels, standardize)
    features, labels, others, answers = pairs
    best = sweep[0] if len(sweep) == 1 else _chosen(features, labels, sweep, validation, seed, num_classes, iterations)
    *_, (_, layer) = _path(features, labels, [value for value in sweep if value >= best], num_classes, iterations)
    return _figures(layer, others, answers) | {"regularization": best}


@partial(jax.jit, static_argnames=("optimizer", "epochs", "batch_size"))
def _descend(layer: dict, features, labels, key, *, optimizer, epochs: int, batch_size: int) -> dict:
    """The layer after all epochs, each in an order of its own; what does not fill a last batch waits for the next epoch."""

    def update(state, rows):
        layer, memory = state
        value = lambda layer: losses.cross_entropy(_linear(layer, features[rows]), labels[rows])  # noqa: E731
        moves, memory = optimizer.update(jax.grad(value)(layer), memory, layer)
        return (optax.apply_updates(layer, moves), memory), None

    def epoch(state, number):
        order = jax.random.permutation(jax.random.fold_in(key, number), len(features))
        rows = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)  # [steps, B]
        return jax.lax.scan(update, state, rows)

    return jax.lax.scan(epoch, (layer, optimizer.init(layer)), jnp.arange(epochs))[0][0]


def linear_probe_sgd(
    train_features,
    train_labels,
    test_features,
    test_labels,
    *,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    epochs: int = 100,
    batch_size: int = 256,
    standardize: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """``top1`` and, with more than five classes, ``top5`` of a linear layer trained by SGD on frozen features, the protocol of the papers.

    Momentum, a cosine from ``learning_rate`` to 0, ``epochs`` over the rows in batches of ``batch_size``, no weight decay, weights from 0.
    The rows are given, so there is no augmentation. ``standardize``: as in ``linear_probe``, the place of the batch normalisation without
    parameters that He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, appendix A.1, put before the layer. Raises
    ValueError for shapes that do not fit, missing labels, features that are not finite, one class only, and counts below 1.
    """
    for name, count in (("epochs", epochs), ("batch_size", batch_size)):
        if count < 1:
            raise ValueError(f"{name}: found {count}, expected at least 1")
    *pairs, num_classes = _checked(train_features, train_labels, test_features, test_labels, standardize)
    features, labels, others, answers = pairs
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
    return _figures(layer, others, answers)
