"""A real data set without a download: 1,797 handwritten digits from scikit-learn."""

import numpy as np

from jaxvision import checks
from jaxvision.data.paths import need
from jaxvision.data.source import Source, arrays, stratified

_TEST_FRACTION = 0.2


def digits(split: str, *, size: int = 32) -> Source:
    """Handwritten digits [size, size, 1] uint8 with labels 0..9, which need no download.

    ``split``: "train" (1,438 images) or "test" (359), a fixed split with a fifth of each digit in the test set. The 8 x 8 values 0..16 are
    scaled to 0..255 and resized bilinearly. Needs scikit-learn and pillow.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (the test half), UCI, 1998.

    Raises ValueError for another split or a size below 1.

    >>> import jaxvision as jv
    >>> source = jv.data.digits("test", size=16)
    >>> len(source), source[0]["image"].shape
    (359, (16, 16, 1))
    """
    checks.one_of("split", split, ("train", "test"))
    checks.integer("size", size)
    table = need("sklearn.datasets", install="scikit-learn", reason="jv.data.digits").load_digits()
    image_module = need("PIL.Image", install="pillow", reason="jv.data.digits")
    labels = table.target.astype(np.int64)
    chosen = stratified(labels, _TEST_FRACTION, seed=0) == (split == "test")
    small = np.rint(table.images[chosen] * (255 / 16)).astype(np.uint8)  # [N, 8, 8]
    bilinear = image_module.Resampling.BILINEAR
    images = np.stack([np.asarray(image_module.fromarray(image).resize((size, size), bilinear)) for image in small])
    return arrays(images, labels[chosen], classes=[str(digit) for digit in range(10)])
