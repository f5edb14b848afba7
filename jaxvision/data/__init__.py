"""Host-side image sources with random access, and their batches in an order that is a pure function of seed and step."""

from jaxvision.data.checking import check
from jaxvision.data.cifar_files import cifar
from jaxvision.data.compressed import npz
from jaxvision.data.cropping import center_crops, fit_image, random_crops
from jaxvision.data.embedded import digits
from jaxvision.data.folders import BrokenImage, image_folder, read_image
from jaxvision.data.generated import synthetic
from jaxvision.data.layouts import describe
from jaxvision.data.mnist import idx
from jaxvision.data.prepared import tfds
from jaxvision.data.sequence import order, positions
from jaxvision.data.source import arrays, split, subset
from jaxvision.data.stream import batches, padded_batches

__all__ = [
    "BrokenImage",
    "arrays",
    "batches",
    "center_crops",
    "check",
    "cifar",
    "describe",
    "digits",
    "fit_image",
    "idx",
    "image_folder",
    "npz",
    "order",
    "padded_batches",
    "positions",
    "random_crops",
    "read_image",
    "split",
    "subset",
    "synthetic",
    "tfds",
]
