"""Readers, one data format in each file; ``jv.data`` lists their public functions."""

from jaxvision._public import set_public_names

__all__ = [
    "cifar",
    "coco",
    "digits",
    "drawn",
    "idx",
    "image_folder",
    "image_list",
    "imagenet",
    "mask_pairs",
    "npz",
    "synthetic",
    "tfds",
    "voc",
]
set_public_names(__name__, __all__)
