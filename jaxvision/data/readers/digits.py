"""The real data set that needs no download: 1,797 handwritten digits that ship with scikit-learn."""

import numpy as np

from jaxvision.data.checking import one_of
from jaxvision.data.requirement import need
from jaxvision.data.source import arrays, stratified

_TEST_FRACTION = 0.2


def digits(split: str, *, size: int = 32):
    """Handwritten digits [size, size, 1] uint8 with labels 0..9; ``split`` is "train" (1,438 images) or "test" (359).

    The 8 x 8 values 0..16 become 0..255 and are resized bilinearly. The split is fixed, a fifth of every digit for the test. Needs
    scikit-learn and pillow. Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (its test half), UCI, 1998.
    """
    one_of("split", split, ("train", "test"))
    if size < 1:
        raise ValueError(f"size: found {size}, expected at least 1")
    table = need("sklearn.datasets", install="scikit-learn", reason="jv.data.digits").load_digits()
    image_module = need("PIL.Image", install="pillow", reason="jv.data.digits")
    labels = table.target.astype(np.int64)
    chosen = stratified(labels, _TEST_FRACTION, seed=0) == (split == "test")
    small = np.rint(table.images[chosen] * (255 / 16)).astype(np.uint8)  # [N, 8, 8]
    bilinear = image_module.Resampling.BILINEAR
    images = np.stack([np.asarray(image_module.fromarray(image).resize((size, size), bilinear)) for image in small])
    return arrays(images, labels[chosen], classes=[str(digit) for digit in range(10)])
