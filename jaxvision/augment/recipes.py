"""Complete augmentation recipes of published methods.

``cifar_*``, ``imagenet_*``, ``mae`` and ``three_augment`` are ``(key, image [H, W, C] in [0, 1]) -> image``; ``each`` lifts them to
batches. ``simclr`` and ``dino`` are batch functions. Evaluation recipes accept None as the key.
"""

import math
from dataclasses import dataclass

from jaxvision import checks
from jaxvision.augment._resize import METHODS, resize
from jaxvision.augment._views import views
from jaxvision.augment.batching import Augmentation, BatchAugmentation, chain
from jaxvision.augment.color import color_jitter, grayscale
from jaxvision.augment.crops import random_crop, random_resized_crop, resized_center_crop
from jaxvision.augment.filtering import gaussian_blur
from jaxvision.augment.pixels import normalize, random_horizontal_flip
from jaxvision.augment.random import one_of, random_apply
from jaxvision.augment.tone import solarize
from jaxvision.typing import Array, Key

Moments = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, one number for each channel
# Of the training images, for pixels in [0, 1].
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class EvalRecipe:
    """The preprocessing of a model at evaluation: ``(key, image [H, W, C] in [0, 1]) -> image [size, size, C]``; the key may be None.

    The shorter side is resized to ``floor(size / crop_fraction)`` pixels, as in timm; the central [size, size] is cropped and normalized to
    ``(image - mean) / std``. The recipe is stored with pretrained weights as JSON: ``EvalRecipe(**dataclasses.asdict(recipe))`` equals it.

    Raises ValueError for a size, fraction or method out of range.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> recipe = jv.augment.EvalRecipe(size=8, crop_fraction=0.5, mean=(0.5,), std=(0.5,))
    >>> jax.eval_shape(recipe, None, jnp.ones((16, 24, 3))).shape
    (8, 8, 3)
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
                raise ValueError(f"{name}: found {values}, expected one number for each channel")
            object.__setattr__(self, name, tuple(values))  # JSON gives lists, which cannot be hashed
        checks.one_of("method", self.method, METHODS)
        checks.integer("size", self.size)
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction: found {self.crop_fraction}, expected a fraction of the shorter side, above 0 and at most 1")

    def __call__(self, key: Key | None, image: Array) -> Array:
        """The preprocessed image [size, size, C] of an image [H, W, C]."""
        side = math.floor(self.size / self.crop_fraction + 1e-6)  # 224 / (224 / 256) is 256 in spite of rounding
        return normalize(self.mean, self.std)(None, resized_center_crop(image, side, self.size, method=self.method))


def cifar_train(size: int = 32, *, padding: int = 4) -> Augmentation:
    """Random crop of the image with ``padding`` black pixels on each side, horizontal flip, normalization.

    ``(key, image [H, W, 3]) -> image [size, size, 3]``.
    Source: He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.cifar_train(), jax.random.key(0), jnp.zeros((32, 32, 3))).shape
    (32, 32, 3)
    """
    return chain(random_crop(size, padding=padding), random_horizontal_flip(), normalize(*CIFAR10))


def cifar_eval() -> Augmentation:
    """Normalization by the mean and standard deviation of CIFAR-10 only: ``(key, image [H, W, 3]) -> image [H, W, 3]``.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jv.augment.cifar_eval()(None, jnp.full((32, 32, 3), 0.5))
    >>> round(float(image[0, 0, 0]), 2)
    0.03
    """
    return normalize(*CIFAR10)


def imagenet_train(size: int = 224, *, crop: bool = True) -> Augmentation:
    """Random resized crop, horizontal flip, normalization: ``(key, image [H, W, 3]) -> image [size, size, 3]``.

    ``crop=False``: without the crop, for a source that crops already (``jv.data.random_crops``).

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.imagenet_train(16), jax.random.key(0), jnp.zeros((24, 32, 3))).shape
    (16, 16, 3)
    """
    crops = (random_resized_crop(size),) if crop else ()
    return chain(*crops, random_horizontal_flip(), normalize(*IMAGENET))


def imagenet_eval(size: int = 224, *, resize_to: int = 256, crop: bool = True) -> Augmentation:
    """Resize the shorter side to ``resize_to``, crop the centre, normalize: ``(key, image [H, W, 3]) -> image [size, size, 3]``.

    The result is an ``EvalRecipe``. ``crop=False``: the normalization only, for a source that crops already (``jv.data.center_crops``).

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.imagenet_eval(16, resize_to=20), None, jnp.zeros((24, 32, 3))).shape
    (16, 16, 3)
    """
    return EvalRecipe(size, size / resize_to) if crop else normalize(*IMAGENET)


def mae(size: int = 224, *, moments: Moments = IMAGENET) -> Augmentation:
    """MAE's recipe, crop of at least a fifth of the area, flip, normalization: ``(key, image [H, W, C]) -> image [size, size, C]``.

    ``moments``: (mean, standard deviation) of each channel; the default is ImageNet's and needs three channels.
    Source: He et al., Masked Autoencoders Are Scalable Vision Learners, 2021, appendix A.1.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.mae(16), jax.random.key(0), jnp.zeros((24, 32, 3))).shape
    (16, 16, 3)
    """
    return chain(random_resized_crop(size, scale=(0.2, 1.0), method="bicubic"), random_horizontal_flip(), normalize(*moments))


def three_augment(size: int = 224, *, simple_crop: bool = False) -> Augmentation:
    """3-Augment of DeiT III: ``(key, image [H, W, 3]) -> image [size, size, 3]``.

    Random resized crop, flip, one of grayscale, solarize and blur, colour jitter, normalization. ``simple_crop``: instead of the random
    resized crop, resize the whole image and shift it by up to 4 pixels, as for ImageNet-21k. Source: Touvron et al., DeiT III: Revenge of
    the ViT, 2022, section 3.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.three_augment(16), jax.random.key(0), jnp.zeros((24, 32, 3))).shape
    (16, 16, 3)
    """
    if simple_crop:
        crops = (resize(size, method="bicubic"), random_crop(size, padding=4, mode="reflect"))
    else:
        crops = (random_resized_crop(size, method="bicubic"),)
    one = one_of(grayscale(), solarize(), gaussian_blur())
    return chain(*crops, random_horizontal_flip(), one, color_jitter(0.3, 0.3, 0.3), normalize(*IMAGENET))


def _view(crop: Augmentation, jitter: Augmentation, *rest: Augmentation) -> Augmentation:
    """The common part of all contrastive views: crop, flip, colour jitter with probability 0.8, grayscale with 0.2; then ``rest``."""
    return chain(crop, random_horizontal_flip(), random_apply(jitter, 0.8), grayscale(probability=0.2), *rest)


def simclr(size: int = 224, *, strength: float = 1.0, blur: bool = True) -> BatchAugmentation:
    """SimCLR's two views: ``(key, batch) -> batch`` with ``views`` [B, 2, size, size, C] in [0, 1].

    Random resized crop, flip, colour jitter (0.8, 0.8, 0.8, 0.2) times ``strength`` with probability 0.8, grayscale with probability 0.2,
    and with ``blur`` a Gaussian blur of size / 10 taps with probability 0.5. The paper uses strength 0.5 and no blur for CIFAR-10, and does
    not normalize. Source: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, appendix A.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 24, 24, 3))}
    >>> jax.eval_shape(jv.augment.simclr(16), jax.random.key(0), batch)["views"].shape
    (2, 2, 16, 16, 3)
    """
    crop = random_resized_crop(size)
    blurs = (gaussian_blur(kernel_size=size // 20 * 2 + 1, probability=0.5),) if blur else ()
    jitter = color_jitter(*(strength * base for base in (0.8, 0.8, 0.8, 0.2)))
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
) -> BatchAugmentation:
    """DINO's multi-crop: ``(key, batch) -> batch`` with ``views`` [B, 2, size, size, C] and ``crops`` [B, crops, crop_size, crop_size, C].

    The first view is always blurred; the second is blurred with probability 0.1 and solarized with 0.2; a crop is blurred with 0.5. All are
    normalized by ``moments``, as in ``mae``. ``global_scale``, ``local_scale``: ranges of the area of views and crops, as fractions of the
    image's. Source: Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021, after BYOL.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> augment, batch = jv.augment.dino(16, crop_size=8, crops=2), {"image": jnp.zeros((2, 24, 24, 3))}
    >>> batch = jax.eval_shape(augment, jax.random.key(0), batch)
    >>> batch["views"].shape, batch["crops"].shape
    ((2, 2, 16, 16, 3), (2, 2, 8, 8, 3))
    """

    def view(size: int, scale: tuple[float, float], *rest: Augmentation) -> Augmentation:
        crop = random_resized_crop(size, scale=scale, method="bicubic")
        return _view(crop, color_jitter(0.4, 0.4, 0.2, 0.1), *rest, normalize(*moments))

    first = view(size, global_scale, gaussian_blur())
    second = view(size, global_scale, gaussian_blur(probability=0.1), solarize(probability=0.2))
    local = view(crop_size, local_scale, gaussian_blur(probability=0.5))
    return views(first, second, crops=(local,) * crops)
