"""Jigsaw puzzles with ResNet-18 on CIFAR-10: the task of Noroozi & Favaro (2016), tiles scaled to 32 pixels.

    python -m experiments.jigsaw_resnet18_cifar10 --data FOLDER_OR_NPZ [--epochs 100] [--dtype bfloat16]

Nine tiles of each image are put in one of 100 orders, which the network predicts. Weighted k-NN (k 20) evaluates the encoder.
Expected: not run to the end here; only `--smoke` was run.
"""

from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, warmed_cosine

OPTIONS = jv.train.RunOptions(title="Jigsaw, ResNet-18 on CIFAR-10", hint="python -m experiments.linear_probe --run {workdir}")


def config(
    *,
    data: Path | None = None,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    permutations: int = 100,
    warmup_epochs: float = 5.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs by putting their tiles in order.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of SGD with Nesterov momentum 0.9 for a batch of 256; it is scaled with the batch.
        weight_decay: Added to the gradient of kernels, not of biases and norms.
        permutations: How many orders there are to tell apart.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and orders of tiles.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, learning_rate, warmup_epochs, permutations = 1, 16, 1.0, 0.0, 8
    encoder = jv.create_model("resnet18", num_classes=0, stem="cifar", dtype=dtype)
    if smoke:
        encoder = encoder.clone(depths=(1, 1))
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.jigsaw(encoder, permutations=permutations),
        jv.train.momentum(rate, nesterov=True, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.each(jv.augment.random_horizontal_flip()),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
