"""From one data set to another: which layers of a trained network to keep, as a rule of thumb and as a measurement."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.evaluate._few_labels import drawn_rows
from jaxvision.evaluate._linear_probe import linear_probe
from jaxvision.evaluate.inference import outputs, prepared
from jaxvision.evaluate.labelled import check_features

_QUADRANTS = {  # (the data are like those the network has seen, there are many labels): what to do
    (True, False): "train a linear classifier on the last layer's features; fine-tuning would overfit",
    (True, True): "fine-tune a few of the last layers, at a tenth of the learning rate",
    (False, False): "the hard case: try a linear classifier on the features of an earlier stage, and more augmentation",
    (False, True): "fine-tune many layers, or all of them, starting from the trained weights",
}


def advice(*, near: bool, much: bool) -> str:
    """What to do with a trained network on new data: ``near`` says that they are like the old ones, ``much`` that there are many labels.

    The four quadrants of Li, Karpathy & Johnson, "CS231n: Transfer Learning", 2016. ``transfer`` measures instead of guessing.
    """
    return _QUADRANTS[bool(near), bool(much)]


@partial(jax.jit, static_argnames=("model", "recipe"))
def _stages(model, variables, image, recipe):
    """{stage: [B, D]}: maps and tokens averaged over their places, and what is pooled."""
    found, seen = model.apply(variables, prepared(image, recipe), method="features", mutable=["tokens"])
    leaves = jax.tree_util.tree_leaves_with_path(seen.get("tokens", {}))
    stages = found.maps | {"/".join(key.key for key in path[:-1]): leaf for path, leaf in leaves}
    means = {name: jnp.mean(stage.astype(jnp.float32), axis=tuple(range(1, stage.ndim - 1))) for name, stage in stages.items()}
    return means | {"pooled": found.pooled.astype(jnp.float32)}


def _place(stage: str) -> tuple:
    """Where a stage stands between input and output: "stride4" before "stride32", "block9" before "block10", "pooled" at the end."""
    return stage == "pooled", [int("".join(filter(str.isdigit, part)) or 0) for part in stage.split("/")]


def stage_features(model, variables, source, *, recipe=None, batch_size: int = 256) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What every stage of an encoder makes of a source: ({stage: [N, D] float32}, labels [N]), from input to output.

    Stages are the maps of a convolutional network or the blocks of a transformer, averaged over their places, and "pooled".
    ``recipe``: ``(key, image) -> image``; it gets no key.
    """
    widths: dict[str, int] = {}

    def forward(batch: dict):
        found = _stages(model, variables, batch["image"], recipe)
        widths.update({name: found[name].shape[1] for name in sorted(found, key=_place)})
        return jnp.concatenate([found[name] for name in widths], axis=1), batch["valid"]

    rows, labels = outputs(forward, source, batch_size=batch_size)
    parts = np.split(rows, np.cumsum(list(widths.values()))[:-1], axis=1)
    return dict(zip(widths, parts, strict=True)), labels


def transfer(
    model,
    variables,
    train_source,
    test_source,
    *,
    recipe=None,
    amounts: Sequence[float | int] = (0.01, 1.0),
    regularization: float | Sequence[float] = 0.1,
    seed: int = 0,
) -> list[dict]:
    """How well a linear layer on each stage of a frozen encoder does on other data, with few labels and with many.

    ``train_source``, ``test_source``: labelled, of the new data. ``amounts``: of the training labels, each a share of every class or a
    number of each. Rows ``{"amount", "labels", "stage", "top1", "best"}``; ``best`` marks an amount's best stage, of equal ones the later.
    It is chosen by the test figures: a map of where the information lies, not an accuracy to report. ``regularization``: as in
    ``linear_probe``.
    """
    (train_features, train_labels), (test_features, test_labels) = (
        stage_features(model, variables, source, recipe=recipe) for source in (train_source, test_source)
    )
    _, labels = check_features("train", next(iter(train_features.values())), train_labels)
    rows = []
    for amount in amounts:
        part = drawn_rows(labels, amount, seed=seed)
        found = {
            stage: linear_probe(features[part], labels[part], test_features[stage], test_labels, regularization=regularization)["top1"]
            for stage, features in train_features.items()
        }
        best = max(reversed(found), key=found.get)
        rows += [
            {"amount": amount, "labels": len(part), "stage": stage, "top1": top1, "best": stage == best} for stage, top1 in found.items()
        ]
    return rows
