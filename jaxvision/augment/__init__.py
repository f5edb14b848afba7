"""Augmentation on the device: pure functions of a key and an image, mapped over batches by ``vmap`` and compiled with the step."""

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
from jaxvision.augment.pixels import (
    alternating_horizontal_flip,
    gaussian_noise,
    normalize,
    random_horizontal_flip,
    random_vertical_flip,
)
from jaxvision.augment.policies import aug_mix, rand_augment, trivial_augment
from jaxvision.augment.random import one_of, random_apply
from jaxvision.augment.recipes import (
    CIFAR10,
    IMAGENET,
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
    # recipes
    "EvalRecipe",
    "cifar_eval",
    "cifar_train",
    "dino",
    "imagenet_eval",
    "imagenet_train",
    "mae",
    "simclr",
    "three_augment",
    # mean and standard deviation of data sets' pixels
    "CIFAR10",
    "IMAGENET",
    # composition and batches
    "chain",
    "each",
    "example_keys",
    "on",
    "one_of",
    "random_apply",
    "views",
    # crops and sizes
    "center_crop",
    "five_crop",
    "random_crop",
    "random_resized_crop",
    "resize",
    # geometry
    "affine",
    "alternating_horizontal_flip",
    "quarter_turns",
    "random_horizontal_flip",
    "random_vertical_flip",
    "rotate",
    "shear",
    "translate",
    # colours and tones
    "autocontrast",
    "brightness",
    "color_jitter",
    "contrast",
    "equalize",
    "grayscale",
    "hue",
    "invert",
    "posterize",
    "saturation",
    "solarize",
    # filters, noise, normalization
    "gaussian_blur",
    "gaussian_noise",
    "normalize",
    "sharpness",
    "sobel",
    # erasing and mixing
    "cutmix",
    "cutout",
    "mixup",
    "mixup_or_cutmix",
    "random_erasing",
    # policies
    "aug_mix",
    "rand_augment",
    "trivial_augment",
]
set_public_names(__name__, __all__)
