"""Fine-tuning of a whole network, from any run folder or weight file: AdamW with layer-wise decay of the learning rate.

    python -m experiments.fine_tune --run RUN_FOLDER [--data OTHER_DATA] [--labels 0.1] [--epochs 50]
    python -m experiments.fine_tune --weights resnet50.pth --model resnet50 --data FOLDER

The recipe of He et al. (2021, MAE), appendix A.1, without its policies: each layer learns ``layer_rate`` times as fast as the one above.
Expected: not run here on a long run's encoder; its smoke form and short runs of `compare_objectives` were.
"""

from pathlib import Path
from typing import Literal

import jaxvision as jv
from experiments import pretrained, warmed_cosine, with_labels


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
    """Train a classifier that begins as a pretrained encoder.

    Args:
        run: Run folder to begin from.
        key: Which encoder of the run: the one that it trained, or the teacher that DINO and BYOL keep beside it.
        weights: Weight file instead of a run folder.
        model: The network that the weight file is for; options follow a colon: resnet18:stem=cifar.
        moments: How that network was shown its images: normalised as for imagenet, not (none), or by MEAN,STD of all channels.
        data: Labelled images; by default those of the run.
        labels: Share of every class's images to train on; above 1, so many of each class.
        epochs: Passes over the training images.
        batch_size: Images an update, over all devices.
        learning_rate: Peak rate of AdamW for a batch of 256; it is scaled with the batch.
        layer_rate: Factor of the rate from each layer to the one below.
        weight_decay: Decoupled, on kernels only.
        label_smoothing: Share of the label spread over all classes.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        flip: Whether images are mirrored half the time; not for digits.
        scratch: Begin anew with the same network.
        seed: Decides the head's initialisation, which labels are kept, data order and augmentation.
        smoke: A few steps on synthetic images with a small random encoder, to see that everything works.
    """
    found = pretrained(run, weights, model, data, smoke=smoke, key=key, moments=moments)
    train, classifier = with_labels(found.train, labels, seed), found.encoder.clone(num_classes=len(found.train.classes))
    settings = {"epochs": 1 if smoke else epochs, "batch_size": min(16 if smoke else batch_size, len(train))}
    rate = warmed_cosine(learning_rate * settings["batch_size"] / 256, train, warmup_epochs=0 if smoke else warmup_epochs, **settings)
    shown = {"augment": found.augment(scale=(0.5, 1.0), flip=flip), "recipe": found.recipe, "seed": seed}
    return jv.train.Experiment(
        classifier,
        jv.objectives.supervised(classifier, label_smoothing=label_smoothing),
        jv.train.adamw(rate, weight_decay=weight_decay, layer_rate=None if scratch else layer_rate),
        train,
        test=found.test,
        **settings,
        **shown,
        evaluate_every=max(1, len(found.test or ()) // len(train)),  # epochs of few labels are short
        given={} if scratch else {"model": found.variables},
    )


def run_options(experiment: jv.train.Experiment, *, scratch: bool, **_) -> jv.train.RunOptions:
    """The title says what begins from scratch."""
    name, start = type(experiment.model).__name__, "from scratch" if scratch else "fine-tuned"
    return jv.train.RunOptions(title=f"{name} on {len(experiment.train)} labelled images, {start}")


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
