"""SimCLR with ResNet-50 on ImageNet (Chen et al., 2020): LARS, rate 0.3 for a batch of 256, temperature 0.1, blur.

    python -m experiments.simclr_resnet50_imagenet --data FOLDER [--batch-size 4096] [--dtype bfloat16]
    python -m experiments.simclr_resnet50_imagenet --tfds imagenet2012

FOLDER has train/ and val/, with one sub-folder of images for each class; labels are used only by k-NN on a tenth of the training images.
Expected: the paper's linear probe reaches 69.3 % after 1,000 epochs with a batch of 4,096; not run to the end here; only `--smoke` was run.
"""

from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import imagenet_views, warmed_cosine

OPTIONS = jv.train.RunOptions(title="SimCLR, ResNet-50 on ImageNet", hint="python -m experiments.linear_probe --run {workdir}", threads=8)


def config(
    *,
    data: Path | None = None,
    tfds: str | None = None,
    epochs: int = 100,
    batch_size: int = 4096,
    learning_rate: float = 0.3,
    weight_decay: float = 1e-6,
    temperature: float = 0.1,
    warmup_epochs: float = 10.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of photographs without labels.

    Args:
        data: Folder with train/ and val/.
        tfds: Name of a prepared TensorFlow Datasets set instead of a folder.
        epochs: Passes over the training images.
        batch_size: Images per update, over all devices; each is compared with twice as many less two.
        learning_rate: Peak rate of LARS for a batch of 256; it is scaled with the batch.
        weight_decay: On kernels only.
        temperature: That similarities are divided by.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    size, name = 224, "resnet50"
    if smoke:
        size, name = 32, "resnet18"
        epochs, batch_size, warmup_epochs = 1, 16, 0.0
    train, memory, test = imagenet_views(data, tfds, size, smoke=smoke)
    encoder = jv.create_model(name, num_classes=0, dtype=dtype)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.simclr(encoder, temperature=temperature),
        jv.train.lars(rate, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.simclr(size),
        evaluate=jv.evaluate.nearest(memory),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
