"""Augmentation on the device: pure functions of a key and an image, batched by vmap, compiled with the step."""

from jaxvision.augment.batching import chain, each, example_keys
from jaxvision.augment.crops import center_crop, random_crop, random_resized_crop
from jaxvision.augment.mixing import cutmix, mixup, mixup_or_cutmix
from jaxvision.augment.pixels import normalize, random_horizontal_flip, random_vertical_flip
from jaxvision.augment.recipes import cifar_eval, cifar_train, imagenet_eval, imagenet_train
from jaxvision.augment.scaling import resize

__all__ = [
    "center_crop",
    "chain",
    "cifar_eval",
    "cifar_train",
    "cutmix",
    "each",
    "example_keys",
    "imagenet_eval",
    "imagenet_train",
    "mixup",
    "mixup_or_cutmix",
    "normalize",
    "random_crop",
    "random_horizontal_flip",
    "random_resized_crop",
    "random_vertical_flip",
    "resize",
]
