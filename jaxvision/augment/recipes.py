"""The named recipes, as their papers have them.

``cifar_*``, ``imagenet_*``, ``mae`` and ``three_augment`` are ``(key, image [H, W, C] in [0, 1]) -> image``, lifted to batches by ``each``;
``simclr`` and ``dino`` are batch functions. Evaluation recipes need no key.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxvision.augment._resize import METHODS, resize
from jaxvision.augment._views import views
from jaxvision.augment.batching import chain
from jaxvision.augment.color import color_jitter, grayscale
from jaxvision.augment.crops import random_crop, random_resized_crop, resized_middle
from jaxvision.augment.filtering import gaussian_blur
from jaxvision.augment.options import check_one_of
from jaxvision.augment.pixels import normalize, random_horizontal_flip
from jaxvision.augment.random import one_of, random_apply
from jaxvision.augment.tone import solarize
from jaxvision.typing import Array

Moments = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, one number a channel
# Over the training images, for pixels in [0, 1].
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class EvalRecipe:
    """How a model wants to be shown an image: itself ``(key, image [H, W, C] in [0, 1]) -> image [size, size, C]``; the key may be None.

    The shorter side is resized to ``size / crop_fraction`` pixels, rounded down as timm does, the middle cut out and normalised by ``mean``
    and ``std``. It travels with pretrained weights: ``EvalRecipe(**json)`` of ``dataclasses.asdict`` is equal to what was written.
    Raises ValueError for a size, fraction or method that is none.
    """

    size: int = 224
    crop_fraction: float = 0.875
    method: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not hasattr(values, "__len__"):
                raise ValueError(f"{name}: found {values}, expected one number a channel")
            object.__setattr__(self, name, tuple(values))  # JSON gives lists, which have no hash
        check_one_of("method", self.method, METHODS)
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"size: found {self.size!r}, expected a whole number of pixels, at least 1")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction: found {self.crop_fraction}, expected a share of the shorter side, above 0 and at most 1")

    def __call__(self, key, image: Array) -> Array:
        """The image [H, W, C] as the model sees it."""
        side = math.floor(self.size / self.crop_fraction + 1e-6)  # 224 / (224 / 256) is 256, whatever the rounding
        return normalize(self.mean, self.std)(None, resized_middle(image, side, self.size, method=self.method))


def cifar_train(size: int = 32, *, padding: int = 4) -> Callable:
    """Random crop after ``padding`` black pixels, horizontal flip, normalisation (He et al., 2015, section 4.2)."""
    return chain(random_crop(size, padding=padding), random_horizontal_flip(), normalize(*CIFAR10))


def cifar_eval() -> Callable:
    """Normalisation only."""
    return normalize(*CIFAR10)


def imagenet_train(size: int = 224, *, crop: bool = True) -> Callable:
    """Random resized crop, horizontal flip, normalisation; ``crop=False`` where the source crops (``jv.data.random_crops``)."""
    cropped = (random_resized_crop(size),) if crop else ()
    return chain(*cropped, random_horizontal_flip(), normalize(*IMAGENET))


def imagenet_eval(size: int = 224, *, resize_to: int = 256, crop: bool = True) -> Callable:
    """Shorter side to ``resize_to``, middle ``size``, normalisation: an ``EvalRecipe``.

    ``crop=False`` where the source crops (``jv.data.center_crops``): the normalisation alone.
    """
    return EvalRecipe(size, size / resize_to) if crop else normalize(*IMAGENET)


def mae(size: int = 224, *, moments: Moments = IMAGENET) -> Callable:
    """Random resized crop of at least a fifth of the area, flip, normalisation (He et al., 2021, appendix A.1).

    ``moments``: (mean, standard deviation) of each channel; those of ImageNet are for three.
    """
    return chain(random_resized_crop(size, scale=(0.2, 1.0), method="bicubic"), random_horizontal_flip(), normalize(*moments))


def three_augment(size: int = 224, *, simple_crop: bool = False) -> Callable:
    """3-Augment: crop, flip, one of grayscale, solarize and blur, colour jitter, normalisation (Touvron et al., 2022, DeiT III, section 3).

    ``simple_crop``: the whole image resized and shifted by up to 4 pixels, for ImageNet-21k, in place of the random resized crop.
    """
    if simple_crop:
        cropped = (resize(size, method="bicubic"), random_crop(size, padding=4, mode="reflect"))
    else:
        cropped = (random_resized_crop(size, method="bicubic"),)
    one = one_of(grayscale(), solarize(), gaussian_blur())
    return chain(*cropped, random_horizontal_flip(), one, color_jitter(0.3, 0.3, 0.3), normalize(*IMAGENET))


def _view(crop: Callable, jitter: Callable, *rest: Callable) -> Callable:
    """What all views of contrastive learning have: a crop, a flip, jittered colours 8 times in 10, none 2 times in 10; then the rest."""
    return chain(crop, random_horizontal_flip(), random_apply(jitter, 0.8), grayscale(probability=0.2), *rest)


def simclr(size: int = 224, *, strength: float = 1.0, blur: bool = True) -> Callable:
    """SimCLR's two views: ``(key, batch) -> batch`` with ``views`` [B, 2, size, size, C] in [0, 1] (Chen et al., 2020, appendix A).

    ``strength``: of the colour jitter, 0.5 for CIFAR-10; ``blur``: half the views, with a kernel of a tenth of the size; the paper has none
    for CIFAR-10. The paper does not normalise.
    """
    crop = random_resized_crop(size)
    blurs = (gaussian_blur(kernel_size=size // 20 * 2 + 1, probability=0.5),) if blur else ()
    jitter = color_jitter(*(strength * share for share in (0.8, 0.8, 0.8, 0.2)))
    view = _view(crop, jitter, *blurs)
    return views(view, view)


def dino(
    size: int = 224,
    *,
    crop_size: int = 96,
    crops: int = 8,
    global_scale: tuple[float, float] = (0.4, 1.0),
    local_scale: tuple[float, float] = (0.05, 0.4),
    moments: Moments = IMAGENET,
) -> Callable:
    """DINO's multi-crop: ``(key, batch) -> batch`` with ``views`` [B, 2, size, size, C] and ``crops`` [B, crops, crop_size, crop_size, C].

    Normalised by ``moments``, as in ``mae``. The first view is always blurred, the second once in 10 times and solarized twice, half of the
    crops are blurred (Caron et al., 2021, after BYOL). ``global_scale``, ``local_scale``: ranges of the views' and the crops' shares of the
    image's area.
    """

    def view(size: int, scale: tuple[float, float], *rest: Callable) -> Callable:
        crop = random_resized_crop(size, scale=scale, method="bicubic")
        return _view(crop, color_jitter(0.4, 0.4, 0.2, 0.1), *rest, normalize(*moments))

    first = view(size, global_scale, gaussian_blur())
    second = view(size, global_scale, gaussian_blur(probability=0.1), solarize(probability=0.2))
    small = view(crop_size, local_scale, gaussian_blur(probability=0.5))
    return views(first, second, crops=(small,) * crops)
