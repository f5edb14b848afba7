"""FCMAE with ConvNeXt V2 atto on CIFAR-10: the recipe of Woo et al. (2023), the stem's patches scaled to 32 pixels.

    python -m experiments.fcmae_convnextv2_atto_cifar10 --data FOLDER_OR_NPZ [--epochs 400] [--dtype bfloat16]
    python -m experiments.fine_tune --run RUN

With patches of 1 the last map has 4 x 4 places of 8 x 8 pixels each; 10 of 16 are hidden. Convolutions are dense, with masked inputs (no
sparse kernels).
Expected: not run to the end here; only `--smoke` was run.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jaxvision as jv
from experiments import cifar10, warmed_cosine


def config(
    *,
    data: Path | None = None,
    epochs: int = 400,
    batch_size: int = 512,
    learning_rate: float = 1.5e-4,
    weight_decay: float = 0.05,
    mask_ratio: float = 0.6,
    warmup_epochs: float = 20.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Learn features of small photographs by reconstructing hidden patches, with a convolutional network.

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
    encoder = jv.create_model("convnextv2_atto", num_classes=0, patch_size=1, dtype=dtype)
    if smoke:
        encoder = encoder.clone(depths=(1, 1, 1, 1))
    run: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    rate = warmed_cosine(learning_rate * batch_size / 256, train, warmup_epochs=warmup_epochs, **run)
    return jv.train.Experiment(
        encoder,
        jv.objectives.fcmae(encoder, mask_ratio=mask_ratio, width=64 if smoke else 256),
        jv.train.adamw(rate, beta2=0.95, weight_decay=weight_decay),
        train,
        test=test,
        **run,
        augment=jv.augment.each(jv.augment.mae(32)),
        recipe=jv.augment.imagenet_eval(32, resize_to=32, crop=False),
        evaluate=jv.evaluate.nearest(train),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, mask_ratio: float, **_) -> jv.train.RunOptions:
    """Reconstructions are drawn at the end."""
    reconstruct = partial(jv.objectives.fcmae_reconstruction, experiment.model, mask_ratio=mask_ratio)
    hint = "python -m experiments.fine_tune --run {workdir}"
    draw = jv.plots.draw_reconstructions(reconstruct, *jv.augment.IMAGENET)
    return jv.train.RunOptions(title="FCMAE, ConvNeXt V2 atto on CIFAR-10", hint=hint, draw=draw)


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
