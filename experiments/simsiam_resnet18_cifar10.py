"""SimSiam with ResNet-18 on CIFAR-10: the recipe of Chen & He (2021), appendix D.

    python -m experiments.simsiam_resnet18_cifar10 --data FOLDER_OR_NPZ [--epochs 800] [--dtype bfloat16]

Weighted k-NN (k 20) evaluates the encoder after each epoch. `python -m experiments.linear_probe --run RUN` trains a linear classifier
on its features.
Expected: the paper has 91.8 % linear after 800 epochs on all 50,000 images; not run to the end here; only `--smoke` was run.
"""

from pathlib import Path
from typing import Any

import jax
import optax

import jaxvision as jv
from experiments import cifar10, warmed_cosine

OPTIONS = jv.train.RunOptions(title="SimSiam, ResNet-18 on CIFAR-10", hint="python -m experiments.linear_probe --run {workdir}")


def config(
    *,
    data: Path | None = None,
    epochs: int = 800,
    batch_size: int = 512,
    learning_rate: float = 0.03,
    weight_decay: float = 5e-4,
    constant_predictor_rate: bool = True,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs without labels, negatives or a teacher.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Initial rate of SGD for a batch of 256; it is scaled with the batch and falls along a cosine.
        weight_decay: On kernels only.
        constant_predictor_rate: Keep the predictor's rate at its initial value.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    sizes: dict[str, Any] = {"hidden": 16, "projection": 32} if smoke else {}
    if smoke:
        epochs, batch_size = 1, 16
    encoder = jv.create_model("resnet18", num_classes=0, stem="cifar", dtype=dtype)
    if smoke:
        encoder = encoder.clone(depths=(1, 1))
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    peak = learning_rate * batch_size / 256
    cosine = jv.train.momentum(warmed_cosine(peak, train, warmup_epochs=0.0, **run), weight_decay=weight_decay)
    constant = jv.train.momentum(peak, weight_decay=weight_decay) if constant_predictor_rate else cosine

    def label(params: dict) -> dict:
        return {name: jax.tree.map(lambda leaf: "predictor" if name == "predictor" else "others", tree) for name, tree in params.items()}

    return jv.train.Experiment(
        encoder,
        jv.objectives.simsiam(encoder, depth=2, **sizes),
        optax.partition({"others": cosine, "predictor": constant}, label),
        train,
        test=test,
        **run,
        augment=jv.augment.simclr(32, strength=0.5, blur=False),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
