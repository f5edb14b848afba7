"""VICReg with ResNet-18 on CIFAR-10: the loss and expander of Bardes et al. (2022), with the views and schedule of SimCLR.

    python -m experiments.vicreg_resnet18_cifar10 --data FOLDER_OR_NPZ [--epochs 200] [--dtype bfloat16]

Weighted k-NN (k 20) evaluates the encoder after each epoch. `python -m experiments.linear_probe --run RUN` trains a linear classifier
on its features.
Expected: solo-learn's table has 92.1 % linear after 1,000 epochs on all 50,000 images; not run to the end here; only `--smoke` was run.
"""

from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, warmed_cosine

OPTIONS = jv.train.RunOptions(title="VICReg, ResNet-18 on CIFAR-10", hint="python -m experiments.linear_probe --run {workdir}")


def config(
    *,
    data: Path | None = None,
    epochs: int = 200,
    batch_size: int = 512,
    learning_rate: float = 0.2,
    weight_decay: float = 1e-4,
    width: int = 2048,
    warmup_epochs: float = 10.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs without labels.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of LARS for a batch of 256; it is scaled with the batch.
        weight_decay: On kernels only.
        width: Of the expander.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, warmup_epochs, width = 1, 16, 0.0, 64
    encoder = jv.create_model("resnet18", num_classes=0, stem="cifar", dtype=dtype)
    if smoke:
        encoder = encoder.clone(depths=(1, 1))
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.vicreg(encoder, width=width),
        jv.train.lars(rate, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.simclr(32, strength=0.5, blur=False),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
