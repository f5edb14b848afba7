"""The named recipes: ``(key, image [H, W, C] in [0, 1]) -> image``, lifted to batches by ``each``. Evaluation recipes need no key."""

from collections.abc import Callable

from jaxvision.augment.batching import chain
from jaxvision.augment.crops import center_crop, random_crop, random_resized_crop
from jaxvision.augment.pixels import normalize, random_horizontal_flip
from jaxvision.augment.scaling import resize

# Mean and standard deviation of each channel over the training images, for pixels in [0, 1].
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


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
    """Shorter side to ``resize_to``, middle ``size``, normalisation; ``crop=False`` where the source crops (``jv.data.center_crops``)."""
    cropped = (resize(resize_to), center_crop(size)) if crop else ()
    return chain(*cropped, normalize(*IMAGENET))
