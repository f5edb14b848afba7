"""DINO with ViT-S/16 on ImageNet (Caron et al., 2021): two views of 224 pixels and local crops of 96, 65,536 prototypes.

    python -m experiments.dino_vit_s16_imagenet --data FOLDER [--batch-size 1024] [--dtype bfloat16] [--fsdp]
    python -m experiments.dino_vit_s16_imagenet --tfds imagenet2012

FOLDER has train/ and val/, with one sub-folder of images for each class; labels are used only by k-NN on a tenth of the training images.
Expected: the paper has 69.3 % k-NN and 73.8 % linear after 100 epochs with 8 crops; not run to the end here; only `--smoke` was run.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import imagenet_views, scheduled_dino, warmed_cosine


def config(
    *,
    data: Path | None = None,
    tfds: str | None = None,
    epochs: int = 100,
    batch_size: int = 1024,
    learning_rate: float = 5e-4,
    prototypes: int = 65536,
    crops: int = 8,
    momentum: float = 0.996,
    warmup_epochs: float = 10.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of photographs without labels by self-distillation.

    Args:
        data: Folder with train/ and val/.
        tfds: Name of a prepared TensorFlow Datasets set instead of a folder.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW for a batch of 256; it is scaled with the batch.
        prototypes: Width of the head's last layer.
        crops: Small crops of each image, in addition to its two views.
        momentum: Of the teacher at the start; it rises to 1 along a cosine.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    size, name, local, options = 224, "vit_small_patch16_224", 96, {}
    if smoke:
        size, name, local, options = 32, "vit_tiny_patch16_224", 16, {"image_size": 32, "patch_size": 8}
        epochs, batch_size, learning_rate, prototypes, crops, warmup_epochs = 1, 16, 5e-3, 64, 2, 0.0
    train, memory, test = imagenet_views(data, tfds, size, smoke=smoke)
    encoder = jv.create_model(name, num_classes=0, drop_path_rate=0.1, dtype=dtype, **options)
    if smoke:
        encoder = encoder.clone(depth=2)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    steps = jv.train.total_steps(train, **run)
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, end=1e-6, **run)
    return jv.train.Experiment(
        encoder,
        scheduled_dino(encoder, steps=steps, epochs=epochs, prototypes=prototypes, momentum=momentum),
        jv.train.adamw(rate, weight_decay=jv.train.cosine(0.04, 0.4, steps), clip_norm=3.0),
        train,
        test=test,
        **run,
        augment=jv.augment.dino(size, crop_size=local, crops=crops),
        recipe=jv.augment.imagenet_eval(size, crop=False),
        evaluate=jv.evaluate.nearest(memory),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, **_) -> jv.train.RunOptions:
    """The attention of the class token is drawn at the end."""
    hint = "python -m experiments.linear_probe --run {workdir}"
    attend = partial(jv.models.class_attention, experiment.model)
    draw = jv.plots.draw_attention(attend, jv.train.teacher, *jv.augment.IMAGENET)
    return jv.train.RunOptions(title="DINO, ViT-S/16 on ImageNet", hint=hint, draw=draw, threads=8)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
