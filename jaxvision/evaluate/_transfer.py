"""Transfer to another data set: which layers of a trained network to keep, by a rule of thumb and by measurement."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.data.source import Source
from jaxvision.evaluate._few_labels import draw_rows
from jaxvision.evaluate._linear_probe import linear_probe
from jaxvision.evaluate.feature_checks import check_features
from jaxvision.evaluate.inference import outputs, prepared

_ADVICE = {  # (the new data are similar, there are many labels): advice
    (True, False): "train a linear classifier on the last layer's features; fine-tuning would overfit",
    (True, True): "fine-tune a few of the last layers, at a tenth of the learning rate",
    (False, False): "the hard case: try a linear classifier on the features of an earlier stage, and more augmentation",
    (False, True): "fine-tune many layers, or all of them, starting from the trained weights",
}


def advice(*, near: bool, much: bool) -> str:
    """A rule of thumb for using a trained network on new data. ``transfer`` measures instead.

    ``near``: whether the new data are similar to the training data; ``much``: whether there are many labels.
    Source: Li, Karpathy & Johnson, "CS231n: Transfer Learning", 2016.

    >>> import jaxvision as jv
    >>> jv.evaluate.advice(near=True, much=True)
    'fine-tune a few of the last layers, at a tenth of the learning rate'
    """
    return _ADVICE[bool(near), bool(much)]


@partial(jax.jit, static_argnames=("model", "recipe"))
def _stages(model, variables, image, recipe):
    """{stage: [B, D]}: maps and tokens averaged over their positions, and the pooled features."""
    output, sown = model.apply(variables, prepared(image, recipe), method="features", mutable=["tokens"])
    leaves = jax.tree_util.tree_leaves_with_path(sown.get("tokens", {}))
    stages = output.maps | {"/".join(key.key for key in path[:-1]): leaf for path, leaf in leaves}
    means = {name: jnp.mean(stage.astype(jnp.float32), axis=tuple(range(1, stage.ndim - 1))) for name, stage in stages.items()}
    return means | {"pooled": output.pooled.astype(jnp.float32)}


def _order(stage: str) -> tuple:
    """A sort key that orders stages from input to output: "stride4" before "stride32", "block9" before "block10", "pooled" last."""
    return stage == "pooled", [int("".join(filter(str.isdigit, part)) or 0) for part in stage.split("/")]


def stage_features(
    model: nn.Module, variables: Mapping, source: Source, *, recipe: Callable | None = None, batch_size: int = 256
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of every stage of an encoder for a source: ({stage: [N, D] float32}, labels [N]), in the order from input to output.

    Stages are the maps of a convolutional network or the blocks of a transformer, averaged over their positions, and "pooled".
    ``recipe``: ``(key, image) -> image``, called with key None.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> source, model = jv.data.subset(jv.data.digits("test"), range(8)), jv.create_model("lenet5", num_classes=0)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), method="features")
    >>> features, labels = jv.evaluate.stage_features(model, variables, source)
    >>> {name: rows.shape for name, rows in features.items()}
    {'stride1': (8, 6), 'stride2': (8, 16), 'pooled': (8, 84)}
    """
    widths: dict[str, int] = {}

    def forward(batch: dict):
        found = _stages(model, variables, batch["image"], recipe)
        widths.update({name: found[name].shape[1] for name in sorted(found, key=_order)})
        return jnp.concatenate([found[name] for name in widths], axis=1), batch["valid"]

    rows, labels = outputs(forward, source, batch_size=batch_size)
    parts = np.split(rows, np.cumsum(list(widths.values()))[:-1], axis=1)
    return dict(zip(widths, parts, strict=True)), labels


def transfer(
    model: nn.Module,
    variables: Mapping,
    train_source: Source,
    test_source: Source,
    *,
    recipe: Callable | None = None,
    amounts: Sequence[float | int] = (0.01, 1.0),
    regularization: float | Sequence[float] = 0.1,
    seed: int = 0,
) -> list[dict]:
    """Accuracy of a linear layer on each stage of a frozen encoder on other data, with few labels and with many.

    ``train_source``, ``test_source``: labelled sources of the new data. ``amounts`` of training labels: a float is the fraction of each
    class, an int the number of each class. Returns dicts ``{"amount", "labels", "stage", "top1", "best"}``; ``best`` marks the best stage
    of an amount, of equal ones the later. It is selected by the test accuracy, so use it to compare stages, not as a result to report.
    ``regularization``: as in ``linear_probe``.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> source, model = jv.data.subset(jv.data.digits("test"), range(50)), jv.create_model("lenet5", num_classes=0)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), method="features")
    >>> [row["stage"] for row in jv.evaluate.transfer(model, variables, source, source, amounts=(1.0,))]
    ['stride1', 'stride2', 'pooled']
    """
    (train_features, train_labels), (test_features, test_labels) = (
        stage_features(model, variables, source, recipe=recipe) for source in (train_source, test_source)
    )
    _, labels = check_features("train", next(iter(train_features.values())), train_labels)
    rows = []
    for amount in amounts:
        part = draw_rows(labels, amount, seed=seed)
        accuracies = {
            stage: linear_probe(features[part], labels[part], test_features[stage], test_labels, regularization=regularization)["top1"]
            for stage, features in train_features.items()
        }
        best = max(reversed(accuracies), key=accuracies.get)
        shared = {"amount": amount, "labels": len(part)}
        rows += [shared | {"stage": stage, "top1": top1, "best": stage == best} for stage, top1 in accuracies.items()]
    return rows
