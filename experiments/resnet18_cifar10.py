"""ResNet-18 with the CIFAR stem on CIFAR-10: crops and flips, momentum, warm-up and cosine.

    python -m experiments.resnet18_cifar10 --data FOLDER_OR_NPZ [--epochs 30] [--dtype bfloat16]

FOLDER_OR_NPZ is a CIFAR-10 folder or archive (python or binary version), or an .npz with x_train, y_train, x_test, y_test.
Expected: docs/results.md has three epochs on 20,000 of the 50,000 images, compared with PyTorch; 30 epochs were not run here.
"""

from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, warmed_cosine

OPTIONS = jv.train.RunOptions(title="ResNet-18 on CIFAR-10", hint="a longer run: --epochs 200 --workdir runs/resnet18_long")


def config(
    *,
    data: Path | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    warmup_epochs: float = 1.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a residual network on small photographs.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of SGD with Nesterov momentum 0.9.
        weight_decay: Added to the gradient of kernels, not of biases and norms.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, learning_rate, warmup_epochs = 1, 16, 0.01, 0.0
    model = jv.create_model("resnet18", num_classes=len(train.classes), stem="cifar", dtype=dtype)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model),
        jv.train.momentum(rate, nesterov=True, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.each(jv.augment.cifar_train()),
        recipe=jv.augment.cifar_eval(),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
