"""ResNet-50 on ImageNet in 90 epochs: linear scaling rule and warm-up of Goyal et al. (2017), with a cosine and label smoothing.

    python -m experiments.resnet50_imagenet --data FOLDER [--batch-size 1024] [--dtype bfloat16]
    python -m experiments.resnet50_imagenet --tfds imagenet2012

FOLDER has train/ and val/, with one sub-folder of images for each class.
Expected: not run here; only its smoke form (a smaller network on synthetic images) was, on 2 CPU cores.
"""

from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import imagenet, warmed_cosine

OPTIONS = jv.train.RunOptions(title="ResNet-50 on ImageNet", threads=8)


def config(
    *,
    data: Path | None = None,
    tfds: str | None = None,
    epochs: int = 90,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    label_smoothing: float = 0.1,
    warmup_epochs: float = 5.0,
    accumulate: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a residual network on a thousand classes.

    Args:
        data: Folder with train/ and val/.
        tfds: Name of a prepared TensorFlow Datasets set instead of a folder.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate for a batch of 256; it is scaled with the batch.
        weight_decay: Added to the gradient of kernels, not of biases and norms.
        label_smoothing: Share of the target that is distributed evenly over all classes.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        accumulate: Micro-batches in a step, where the batch does not fit into memory.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    size, name = 224, "resnet50"
    if smoke:
        size, name = 32, "resnet18"
        epochs, batch_size, learning_rate, warmup_epochs = 1, 16, 0.8, 0.0
    train, test = imagenet(data, tfds, size, smoke=smoke)
    model = jv.create_model(name, num_classes=len(train.classes), zero_init_residual=True, dtype=dtype)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model, label_smoothing=label_smoothing),
        jv.train.momentum(rate, nesterov=True, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        accumulate=accumulate,
        augment=jv.augment.each(jv.augment.imagenet_train(size, crop=False)),
        recipe=jv.augment.imagenet_eval(size, crop=False),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
