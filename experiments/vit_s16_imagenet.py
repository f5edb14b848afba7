"""ViT-S/16 on ImageNet: the plain recipe of Beyer et al., "Better plain ViT baselines for ImageNet-1k" (2022), without RandAugment.

    python -m experiments.vit_s16_imagenet --data FOLDER [--batch-size 1024] [--dtype bfloat16] [--fsdp]
    python -m experiments.vit_s16_imagenet --tfds imagenet2012

FOLDER has train/ and val/, with one sub-folder of images for each class.
Expected: not run here; only its smoke form (a smaller network on synthetic images) was, on 2 CPU cores.
"""

from pathlib import Path

import jaxvision as jv
from experiments import imagenet

OPTIONS = jv.train.RunOptions(title="ViT-S/16 on ImageNet", threads=8)


def config(
    *,
    data: Path | None = None,
    tfds: str | None = None,
    epochs: int = 90,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    mixup: float = 0.2,
    warmup_steps: int = 10_000,
    accumulate: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a small Vision Transformer on a thousand classes.

    Args:
        data: Folder with train/ and val/.
        tfds: Name of a prepared TensorFlow Datasets set instead of a folder.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decoupled, on kernels only.
        mixup: The alpha of mixup's Beta distribution.
        warmup_steps: Steps in which the rate rises from zero; at most half the run.
        accumulate: Micro-batches in a step, where the batch does not fit into memory.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    size, name, options = 224, "vit_small_patch16_224", {}
    if smoke:
        size, name, options = 32, "vit_tiny_patch16_224", {"image_size": 32, "patch_size": 8}
        epochs, batch_size, warmup_steps = 1, 16, 0
    train, test = imagenet(data, tfds, size, smoke=smoke)
    classes = len(train.classes)
    model = jv.create_model(name, num_classes=classes, pool="mean", dtype=dtype, **options)
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    augment = jv.augment.chain(
        jv.augment.each(jv.augment.imagenet_train(size, crop=False)),
        jv.augment.mixup(mixup, num_classes=classes),
    )
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model),
        jv.train.adamw(
            jv.train.warmup_cosine(learning_rate, steps, warmup=min(warmup_steps, steps // 2)), weight_decay=weight_decay, clip_norm=1.0
        ),
        train,
        test=test,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        augment=augment,
        recipe=jv.augment.imagenet_eval(size, crop=False),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
