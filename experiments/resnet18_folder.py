"""ResNet-18 on your own photographs: a folder or a .zip with train/ and val/, which have one sub-folder for each class.

    python -m experiments.resnet18_folder --data FOLDER_OR_ZIP [--epochs 15] [--size 96]
    python -m experiments.resnet18_folder --data FOLDER_OR_ZIP --held-out 0.2     # where there are class folders only

Expected: 73.6 % validation top-1 after 15 epochs on 3,670 photographs of flowers, short side 96 pixels (1 seed; docs/results.md).
"""

from pathlib import Path

import jaxvision as jv
from experiments import required

OPTIONS = jv.train.RunOptions(title="ResNet-18 on photographs", hint="`jaxvision predict {workdir} IMAGE`")


def config(
    *,
    data: Path | None = None,
    held_out: float = 0.0,
    size: int = 96,
    epochs: int = 15,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a residual network on a folder of photographs.

    Args:
        data: Folder or .zip with train/ and val/.
        held_out: Share of each class for evaluation, where there are no such sub-folders.
        size: Side of the crops, in pixels.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of SGD with Nesterov momentum 0.9.
        weight_decay: Added to the gradient of kernels, not of biases and norms.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order, augmentation and what is held out.
        smoke: A few steps on drawn shapes, to see that everything works.
    """
    if smoke:
        train, test = jv.data.shapes(64, size=48), jv.data.shapes(32, size=48, seed=1)
        size, epochs, batch_size, learning_rate = 32, 1, 16, 0.01
    elif held_out:
        train, test = jv.data.split(jv.data.image_folder(required(data)), held_out, seed=seed)
    else:
        train, test = jv.data.image_folder(required(data), "train"), jv.data.image_folder(required(data), "val")
    model = jv.create_model("resnet18", num_classes=len(train.classes), dtype=dtype)
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    colors = jv.augment.color_jitter(brightness=0.3, contrast=0.3, saturation=0.3)
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model, label_smoothing=0.1),
        jv.train.momentum(jv.train.warmup_cosine(learning_rate, steps, warmup=steps // 10), nesterov=True, weight_decay=weight_decay),
        jv.data.random_crops(train, size, scale=(0.35, 1.0)),
        test=jv.data.center_crops(test, size, resize=size * 8 // 7),
        epochs=epochs,
        batch_size=batch_size,
        augment=jv.augment.each(jv.augment.chain(colors, jv.augment.imagenet_train(size, crop=False))),
        recipe=jv.augment.imagenet_eval(size, crop=False),
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
