"""Runnable recipes, one a file: ``python -m experiments.NAME --help``. Here is what several of them share."""

from pathlib import Path

import jaxvision as jv


def imagenet(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, test) of ImageNet's form, cropped on the host to ``size``: random parts to train on, middles to judge.

    From a folder or .zip with train/ and val/, from a prepared TensorFlow Datasets set by name, or synthetic images for a smoke test.
    """
    if smoke:
        train, test = (jv.data.synthetic(count, image_shape=(size, size, 3), num_classes=4) for count in (64, 32))
    elif tfds:
        train, test = jv.data.tfds(tfds, "train"), jv.data.tfds(tfds, "validation")
    else:
        train, test = (jv.data.image_folder(data, split) for split in ("train", "val"))
    return jv.data.random_crops(train, size), jv.data.center_crops(test, size, resize=size * 8 // 7)
