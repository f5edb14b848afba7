"""Augmentation on the device: pure functions of a key and an image, batched by vmap, compiled with the step."""

from jaxvision._public import set_public_names
from jaxvision.augment._resize import resize
from jaxvision.augment._views import on, views
from jaxvision.augment.batching import chain, each, example_keys
from jaxvision.augment.color import brightness, color_jitter, contrast, grayscale, hue, saturation
from jaxvision.augment.crops import center_crop, five_crop, random_crop, random_resized_crop
from jaxvision.augment.erasing import cutout, random_erasing
from jaxvision.augment.filtering import gaussian_blur, sharpness, sobel
from jaxvision.augment.geometry import affine, quarter_turns, rotate, shear, translate
from jaxvision.augment.mixing import cutmix, mixup, mixup_or_cutmix
from jaxvision.augment.noise import gaussian_noise
from jaxvision.augment.pixels import alternating_horizontal_flip, normalize, random_horizontal_flip, random_vertical_flip
from jaxvision.augment.policies import aug_mix, rand_augment, trivial_augment
from jaxvision.augment.random import one_of, random_apply
from jaxvision.augment.recipes import (
    EvalRecipe,
    cifar_eval,
    cifar_train,
    dino,
    imagenet_eval,
    imagenet_train,
    mae,
    simclr,
    three_augment,
)
from jaxvision.augment.tone import autocontrast, equalize, invert, posterize, solarize

__all__ = [
    "EvalRecipe",
    "affine",
    "alternating_horizontal_flip",
    "aug_mix",
    "autocontrast",
    "brightness",
    "center_crop",
    "chain",
    "cifar_eval",
    "cifar_train",
    "color_jitter",
    "contrast",
    "cutmix",
    "cutout",
    "dino",
    "each",
    "equalize",
    "example_keys",
    "five_crop",
    "gaussian_blur",
    "gaussian_noise",
    "grayscale",
    "hue",
    "imagenet_eval",
    "imagenet_train",
    "invert",
    "mae",
    "mixup",
    "mixup_or_cutmix",
    "normalize",
    "on",
    "one_of",
    "posterize",
    "quarter_turns",
    "rand_augment",
    "random_apply",
    "random_crop",
    "random_erasing",
    "random_horizontal_flip",
    "random_resized_crop",
    "random_vertical_flip",
    "resize",
    "rotate",
    "saturation",
    "sharpness",
    "shear",
    "simclr",
    "sobel",
    "solarize",
    "three_augment",
    "translate",
    "trivial_augment",
    "views",
]
set_public_names(__name__, __all__)
