"""MAE with a tiny Vision Transformer on CIFAR-10: the recipe of He et al. (2021), patches and decoder scaled to 32 pixels.

    python -m experiments.mae_vit_tiny_cifar10 --data FOLDER_OR_NPZ [--epochs 400] [--dtype bfloat16]
    python -m experiments.fine_tune --run RUN

Patches of 4: 48 of 64 are hidden. k-NN is reported after each epoch, but fine-tuning is the method's own evaluation.
Expected: not run to the end here; only `--smoke` was run.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, warmed_cosine


def _decoder(smoke: bool) -> dict[str, Any]:
    return {"depth": 1 if smoke else 4, "width": 96, "heads": 3}


def config(
    *,
    data: Path | None = None,
    epochs: int = 400,
    batch_size: int = 512,
    learning_rate: float = 1.5e-4,
    weight_decay: float = 0.05,
    mask_ratio: float = 0.75,
    warmup_epochs: float = 20.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs by reconstructing hidden patches.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW (0.9, 0.95) for a batch of 256; it is scaled with the batch.
        weight_decay: Decoupled, on kernels only.
        mask_ratio: Share of the patches that are hidden.
        warmup_epochs: Epochs in which the rate rises from zero; at most half the run.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order, augmentation and masks.
        smoke: A few steps on synthetic images with a smaller network, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, warmup_epochs = 1, 16, 0.0
    encoder = jv.create_model("vit_tiny_patch16_224", num_classes=0, image_size=32, patch_size=4, dtype=dtype)
    if smoke:
        encoder = encoder.clone(depth=2)
    decoder = _decoder(smoke)
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.mae(encoder, mask_ratio=mask_ratio, **decoder),
        jv.train.adamw(rate, beta2=0.95, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.each(jv.augment.mae(32)),
        recipe=jv.augment.imagenet_eval(32, resize_to=32, crop=False),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, mask_ratio: float, smoke: bool, **_) -> jv.train.RunOptions:
    """Reconstructions are drawn at the end."""
    heads, hint = _decoder(smoke)["heads"], "python -m experiments.fine_tune --run {workdir}"
    reconstruct = partial(jv.objectives.mae_reconstruction, experiment.model, mask_ratio=mask_ratio, heads=heads)
    draw = jv.plots.draw_reconstructions(reconstruct, *jv.augment.IMAGENET)
    return jv.train.RunOptions(title="MAE, ViT-Ti/4 on CIFAR-10", hint=hint, draw=draw)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
