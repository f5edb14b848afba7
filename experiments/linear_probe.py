"""A linear classifier on frozen features, from any run folder or weight file: the SGD protocol of the self-supervised papers.

    python -m experiments.linear_probe --run RUN_FOLDER [--data OTHER_DATA] [--epochs 100]
    python -m experiments.linear_probe --weights resnet50.pth --model resnet50 --data FOLDER

SimCLR's protocol (Chen et al., 2020, appendix B.6): random crops and flips, momentum 0.9, no weight decay, a cosine from 0.1 for a batch
of 256; the encoder is frozen bit for bit.
Expected: run here only in its smoke form and on short runs of `compare_objectives`.
"""

from pathlib import Path
from typing import Any, Literal

import jaxvision as jv
from experiments import start, warmed_cosine


def config(
    *,
    run: Path | None = None,
    key: Literal["student", "teacher"] = "student",
    weights: Path | None = None,
    model: str = "resnet50",
    moments: str = "imagenet",
    data: Path | None = None,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    flip: bool = True,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a linear classifier on the features of a frozen encoder.

    Args:
        run: Run folder of the encoder.
        key: Which encoder of the run: the trained one, or the teacher that DINO and BYOL keep.
        weights: Weight file instead of a run folder.
        model: The network that the weight file is for; options follow a colon: resnet18:stem=cifar.
        moments: Normalization of the network's images: imagenet, none, or MEAN,STD for all channels.
        data: Labelled images; by default those of the run.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate for a batch of 256; it is scaled with the batch.
        flip: Whether half of the images are flipped horizontally; not for digits.
        seed: Decides the head's initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a small random encoder, to see that everything works.
    """
    found = start(run, weights, model, data, smoke=smoke, key=key, moments=moments)
    if smoke:
        epochs, batch_size, learning_rate = 1, 16, 1.0
    classifier = found.encoder.clone(num_classes=len(found.train.classes))
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, found.train, warmup_epochs=0, **settings)
    return jv.train.Experiment(
        classifier,
        jv.objectives.supervised(classifier, frozen=True),
        jv.train.freeze(jv.train.momentum(rate), train="head"),
        found.train,
        test=found.test,
        **settings,
        augment=found.augment(scale=(0.08, 1.0), flip=flip),
        recipe=found.recipe,
        given={"model": found.variables},
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, **_) -> jv.train.RunOptions:
    """The title names the network."""
    return jv.train.RunOptions(title=f"linear probe of {type(experiment.model).__name__}")


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
