"""MAE with ViT-B/16 on ImageNet (He et al., 2021): 147 of 196 patches hidden, a decoder of 8 blocks of 512, normalized targets.

    python -m experiments.mae_vit_b16_imagenet --data FOLDER [--batch-size 4096] [--dtype bfloat16] [--fsdp]
    python -m experiments.mae_vit_b16_imagenet --tfds imagenet2012
    python -m experiments.fine_tune --run RUN

FOLDER has train/ and val/, with one sub-folder of images for each class.
Expected: the paper has 83.6 % after 1,600 epochs and fine-tuning; not run to the end here; only `--smoke` was run.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import imagenet_views, warmed_cosine


def _decoder(smoke: bool) -> dict[str, Any]:
    return {"depth": 1, "width": 48, "heads": 3} if smoke else {"depth": 8, "width": 512, "heads": 16}


def config(
    *,
    data: Path | None = None,
    tfds: str | None = None,
    epochs: int = 800,
    batch_size: int = 4096,
    learning_rate: float = 1.5e-4,
    weight_decay: float = 0.05,
    mask_ratio: float = 0.75,
    warmup_epochs: float = 40.0,
    accumulate: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of photographs by reconstructing hidden patches.

    Args:
        data: Folder with train/ and val/.
        tfds: Name of a prepared TensorFlow Datasets set instead of a folder.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW (0.9, 0.95) for a batch of 256; it is scaled with the batch.
        weight_decay: Decoupled, on kernels only.
        mask_ratio: Share of the patches that are hidden.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        accumulate: Micro-batches in a step, where the batch does not fit into memory.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order, augmentation and masks.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    size, name, options, decoder = 224, "vit_base_patch16_224", {}, _decoder(smoke)
    if smoke:
        size, name, options = 32, "vit_tiny_patch16_224", {"image_size": 32, "patch_size": 8}
        epochs, batch_size, warmup_epochs = 1, 16, 0.0
    train, memory, test = imagenet_views(data, tfds, size, smoke=smoke)
    encoder = jv.create_model(name, num_classes=0, dtype=dtype, **options)
    if smoke:
        encoder = encoder.clone(depth=2)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.mae(encoder, mask_ratio=mask_ratio, **decoder),
        jv.train.adamw(rate, beta2=0.95, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        accumulate=accumulate,
        augment=jv.augment.each(jv.augment.mae(size)),
        recipe=jv.augment.imagenet_eval(size, crop=False),
        evaluate=jv.evaluate.nearest(memory),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, mask_ratio: float, smoke: bool, **_) -> jv.train.RunOptions:
    """Reconstructions are drawn at the end."""
    heads, hint = _decoder(smoke)["heads"], "python -m experiments.fine_tune --run {workdir}"
    reconstruct = partial(jv.objectives.mae_reconstruction, experiment.model, mask_ratio=mask_ratio, heads=heads)
    draw = jv.plots.draw_reconstructions(reconstruct, *jv.augment.IMAGENET)
    return jv.train.RunOptions(title="MAE, ViT-B/16 on ImageNet", hint=hint, draw=draw, threads=8)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
