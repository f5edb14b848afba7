"""Runnable recipes, one a file: ``python -m experiments.NAME --help``. Here is what several of them share."""

from pathlib import Path

import jaxvision as jv


def cifar10(data: Path | None, *, smoke: bool):
    """(train, test) of CIFAR-10 from a folder, an archive or an .npz file, or a few synthetic images for a smoke test."""
    if smoke:
        return jv.data.synthetic(64, seed=0), jv.data.synthetic(32, seed=1)
    read = jv.data.npz if data is not None and data.suffix == ".npz" else jv.data.cifar
    return read(data, "train"), read(data, "test")


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
