"""Crops on the host: images of different sizes become examples of one shape, [size, size, 3] uint8."""

import math

import numpy as np

from jaxvision import checks
from jaxvision.data._order import uniforms
from jaxvision.data.boxes import cropped_fields
from jaxvision.data.decoding import MAX_PIXELS, BrokenImage, Choose
from jaxvision.data.paths import need
from jaxvision.data.source import Source, Wrapped

_ATTEMPTS = 10


def rectangle(height: int, width: int, scale: tuple, ratio: tuple, numbers: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random crop, computed from ``numbers`` [attempts, 4], uniform in [0, 1).

    The area is uniform in ``scale`` times the image's, width / height is log-uniform in ``ratio``; the first attempt that fits into the
    image is taken, or else the largest central crop within ``ratio``.
    """
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * numbers[:, 0])
    aspects = np.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * numbers[:, 1])
    heights, widths = np.rint(np.sqrt(areas / aspects)).astype(int), np.rint(np.sqrt(areas * aspects)).astype(int)
    fits = np.flatnonzero((0 < widths) & (widths <= width) & (0 < heights) & (heights <= height))
    if len(fits):
        first = fits[0]
        tall, wide = int(heights[first]), int(widths[first])
        return int(numbers[first, 2] * (height - tall + 1)), int(numbers[first, 3] * (width - wide + 1)), tall, wide
    wide, tall = (max(1, min(pair)) for pair in ((width, round(height * ratio[1])), (height, round(width / ratio[0]))))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """[H, W, 3] or [H, W, 1] uint8 as [height, width, 3]: bilinear, with antialiasing if it shrinks."""
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"image: found {image.dtype} of shape {image.shape}, expected uint8 [H, W, 3] or [H, W, 1]")
    rgb = Image.fromarray(image) if image.shape[2] == 3 else Image.fromarray(image[..., 0]).convert("RGB")
    return np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))


def _part(example: dict, choose: Choose) -> dict:
    """An example with the resized part of its image that ``choose`` returns; boxes and mask are cropped too."""
    image = example["image"]
    (top, left, tall, wide), (height, width) = choose(*image.shape[:2])
    part = _resize(image[top : top + tall, left : left + wide], width, height)
    return {**cropped_fields(example, (top, left, tall, wide), (height, width)), "image": part}


class _Cropped(Wrapped):
    """A source whose images are cropped to [size, size, 3]."""

    def __init__(self, source: Source, size: int):
        need("PIL", install="pillow", reason="cropping on the host")
        checks.integer("size", size)
        super().__init__(source)
        self.size = size


class _RandomCrops(_Cropped):
    def __init__(self, source: Source, size: int, scale: tuple[float, float], ratio: tuple[float, float]):
        super().__init__(source, size)
        self.scale, self.ratio = scale, ratio

    def draw(self, i: int, *, seed: int, epoch: int) -> dict:
        """Example i with the crop of (seed, epoch, i)."""
        i = range(len(self))[i]
        numbers = uniforms(4 * _ATTEMPTS, seed, epoch, i).reshape(_ATTEMPTS, 4)

        def choose(height: int, width: int) -> tuple:
            return rectangle(height, width, self.scale, self.ratio, numbers), (self.size, self.size)

        if hasattr(self.source, "draw"):
            return _part(self.source.draw(i, seed=seed, epoch=epoch), choose)
        return self.source.view(i, choose) if hasattr(self.source, "view") else _part(self.source[i], choose)

    def __getitem__(self, i: int) -> dict:
        return self.draw(i, seed=0, epoch=0)


class _CenterCrops(_Cropped):
    def __init__(self, source: Source, size: int, resize: int):
        super().__init__(source, size)
        self.resize = resize
        if hasattr(source, "draw"):
            self.draw = lambda i, *, seed, epoch: self._cropped(source.draw(i, seed=seed, epoch=epoch))

    def _whole(self, height: int, width: int) -> tuple:
        tall, wide = (int(self.resize * side / min(height, width)) for side in (height, width))
        if tall * wide > MAX_PIXELS:
            resized = f"{width} x {height} pixels, {wide} x {tall} if the shorter side is {self.resize}, expected at most {MAX_PIXELS:,}"
            raise BrokenImage("center_crops", "too large", resized)
        return (0, 0, height, width), (tall, wide)

    def _cropped(self, example: dict) -> dict:
        """The centre of an example, in whole pixels, from an image decoded at full size, so that evaluation is exact."""
        example, size = _part(example, self._whole), self.size
        image = example["image"]
        top, left = (round((side - size) / 2) for side in image.shape[:2])
        fields = cropped_fields(example, (top, left, size, size), (size, size))
        return {**fields, "image": image[top : top + size, left : left + size]}

    def crop(self, image: np.ndarray) -> np.ndarray:
        """An image [H, W, C] uint8 cropped as the images of this source."""
        return self._cropped({"image": image})["image"]

    def __getitem__(self, i: int) -> dict:
        return self._cropped(self.source[i])


def fit_image(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The largest central part of an image [H, W, C] uint8 with the proportions of ``shape``, resized to ``shape`` [h, w, c].

    If c is 1, the result is gray: 0.299 R + 0.587 G + 0.114 B. Raises ValueError unless the image is uint8 with one or three channels.

    >>> import numpy as np
    >>> import jaxvision as jv
    >>> jv.data.fit_image(np.zeros((480, 640, 3), np.uint8), (28, 28, 1)).shape
    (28, 28, 1)
    """
    height, width, channels = shape
    rows, columns = image.shape[:2]
    scale = max(height / rows, width / columns)
    tall, wide = round(height / scale), round(width / scale)
    top, left = (rows - tall) // 2, (columns - wide) // 2
    fitted = _resize(image[top : top + tall, left : left + wide], width, height)
    luma = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as in Pillow
    return fitted if channels == 3 else np.rint(fitted @ luma).astype(np.uint8)[..., None]


def random_crops(
    source: Source, size: int, *, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Source:
    """A source of random crops, [size, size, 3] uint8, of a source whose images may differ in size; gray becomes RGB.

    ``scale``: range of the crop's area, as a fraction of the image's; ``ratio``: range of width / height, drawn log-uniformly. Bilinear
    with antialiasing; boxes and masks are cropped too. The crop of example i is a pure function of the seed of ``batches``, the epoch and
    i; ``source[i]`` is that of seed 0, epoch 0. A JPEG whose crop is at least twice ``size`` is decoded at 1/2, 1/4 or 1/8 of its size.
    Source: Szegedy et al., Going Deeper with Convolutions, 2014, section 6.

    Raises ValueError for ranges that are not positive and in order.

    >>> import jaxvision as jv
    >>> source = jv.data.random_crops(jv.data.shapes(4, size=64), 32)
    >>> source[0]["image"].shape
    (32, 32, 3)
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale: found {scale}, expected (low, high) with 0 < low <= high <= 1")
    checks.interval("ratio", ratio)
    return _RandomCrops(source, size, scale, ratio)


def center_crops(source: Source, size: int, *, resize: int = 256) -> _CenterCrops:
    """A source of central crops, [size, size, 3] uint8, of images whose shorter side is first resized to ``resize``; gray becomes RGB.

    Bilinear with antialiasing, from images decoded at full size; boxes and masks are cropped too. ``center_crops(...).crop(image)`` crops
    any image [H, W, C] uint8 in the same way. An image with more than 64 million pixels after the resize is a BrokenImage.

    Raises ValueError if ``resize`` is smaller than ``size``.

    >>> import jaxvision as jv
    >>> source = jv.data.center_crops(jv.data.shapes(4, size=64), 32, resize=40)
    >>> source[0]["image"].shape, source[0]["mask"].shape
    ((32, 32, 3), (32, 32))
    """
    if resize < size:
        raise ValueError(f"resize: found {resize}, expected at least the size of the crop, {size}")
    return _CenterCrops(source, size, resize)
