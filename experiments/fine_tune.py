"""Fine-tuning of a whole network, from any run folder or weight file: AdamW with layer-wise decay of the learning rate.

    python -m experiments.fine_tune --run RUN_FOLDER [--data OTHER_DATA] [--labels 0.1] [--epochs 50]
    python -m experiments.fine_tune --weights resnet50.pth --model resnet50 --data FOLDER

The recipe of He et al. (2021, MAE), appendix A.1, without RandAugment, mixup and cutmix: the rate falls by ``layer_rate`` a layer.
Expected: run here only in its smoke form and on short runs of `compare_objectives`.
"""

from pathlib import Path
from typing import Any, Literal

import jaxvision as jv
from experiments import start, warmed_cosine, with_labels


def config(
    *,
    run: Path | None = None,
    key: Literal["student", "teacher"] = "student",
    weights: Path | None = None,
    model: str = "resnet50",
    moments: str = "imagenet",
    data: Path | None = None,
    labels: float = 1.0,
    epochs: int = 50,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    layer_rate: float = 0.75,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    warmup_epochs: float = 5.0,
    flip: bool = True,
    scratch: bool = False,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a classifier from a pretrained encoder.

    Args:
        run: Run folder of the pretrained encoder.
        key: Which encoder of the run: the trained one, or the teacher that DINO and BYOL keep.
        weights: Weight file instead of a run folder.
        model: The network that the weight file is for; options follow a colon: resnet18:stem=cifar.
        moments: Normalization of the network's images: imagenet, none, or MEAN,STD for all channels.
        data: Labelled images; by default those of the run.
        labels: Share of each class's images to train on; above 1, the number of each class.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW for a batch of 256; it is scaled with the batch.
        layer_rate: Factor of the rate from each layer to the one below.
        weight_decay: Decoupled, on kernels only.
        label_smoothing: Share of the target that is distributed evenly over all classes.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        flip: Whether half of the images are flipped horizontally; not for digits.
        scratch: Start from random initialization.
        seed: Decides the head's initialization, which labels are kept, data order and augmentation.
        smoke: A few steps on synthetic images with a small random encoder, to see that everything works.
    """
    found = start(run, weights, model, data, smoke=smoke, key=key, moments=moments)
    train, classifier = with_labels(found.train, labels, seed), found.encoder.clone(num_classes=len(found.train.classes))
    settings: dict[str, Any] = {"epochs": 1 if smoke else epochs, "batch_size": min(16 if smoke else batch_size, len(train))}
    rate = warmed_cosine(learning_rate * settings["batch_size"] / 256, train, warmup_epochs=0 if smoke else warmup_epochs, **settings)
    shared: dict[str, Any] = {"augment": found.augment(scale=(0.5, 1.0), flip=flip), "recipe": found.recipe, "seed": seed}
    return jv.train.Experiment(
        classifier,
        jv.objectives.supervised(classifier, label_smoothing=label_smoothing),
        jv.train.adamw(rate, weight_decay=weight_decay, layer_rate=None if scratch else layer_rate),
        train,
        test=found.test,
        **settings,
        **shared,
        evaluate_every=max(1, len(found.test or ()) // len(train)),  # epochs of few labels are short
        given={} if scratch else {"model": found.variables},
    )


def run_options(experiment: jv.train.Experiment, *, scratch: bool, **_) -> jv.train.RunOptions:
    """The title says what begins from scratch."""
    name, origin = type(experiment.model).__name__, "from scratch" if scratch else "fine-tuned"
    return jv.train.RunOptions(title=f"{name} on {len(experiment.train)} labelled images, {origin}")


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
