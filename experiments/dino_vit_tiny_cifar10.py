"""DINO with a tiny Vision Transformer on CIFAR-10: the recipe of Caron et al. (2021), patches and crops scaled to 32 pixels.

    python -m experiments.dino_vit_tiny_cifar10 --data FOLDER_OR_NPZ [--epochs 300] [--dtype bfloat16]

Two views of 32 pixels and six crops of 16, patches of 4. Weighted k-NN (k 20) evaluates the student after each epoch.
Expected: solo-learn's table has 89.5 % linear for a ResNet-18 after 1,000 epochs on all 50,000 images; no long run was made here.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, scheduled_dino, warmed_cosine


def config(
    *,
    data: Path | None = None,
    epochs: int = 300,
    batch_size: int = 256,
    learning_rate: float = 5e-4,
    prototypes: int = 4096,
    crops: int = 6,
    momentum: float = 0.996,
    warmup_epochs: float = 10.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs without labels by self-distillation.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
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
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, prototypes, crops, warmup_epochs = 1, 16, 64, 2, 0.0
    encoder = jv.create_model("vit_tiny_patch16_224", num_classes=0, image_size=32, patch_size=4, drop_path_rate=0.1, dtype=dtype)
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
        augment=jv.augment.dino(32, crop_size=16, crops=crops),
        recipe=jv.augment.imagenet_eval(32, resize_to=32, crop=False),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, **_) -> jv.train.RunOptions:
    """The attention of the class token is drawn at the end."""
    hint = "python -m experiments.linear_probe --run {workdir}"
    attend = partial(jv.models.class_attention, experiment.model)
    draw = jv.plots.draw_attention(attend, jv.train.teacher, *jv.augment.IMAGENET)
    return jv.train.RunOptions(title="DINO, ViT-Ti/4 on CIFAR-10", hint=hint, draw=draw)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
