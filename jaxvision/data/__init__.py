"""Image sources with random access, on the host, and batches whose order is a pure function of seed and step."""

from jaxvision._public import set_public_names
from jaxvision.data._check import check
from jaxvision.data._labelled import labelled
from jaxvision.data._order import order, positions
from jaxvision.data.batching import batches, padded_batches
from jaxvision.data.broken_images import Breakage, TooManyBroken
from jaxvision.data.cropping import center_crops, fit_image, random_crops
from jaxvision.data.decoding import BrokenImage, read_image
from jaxvision.data.detect import describe, survey
from jaxvision.data.readers.cifar import cifar
from jaxvision.data.readers.coco import coco
from jaxvision.data.readers.digits import digits
from jaxvision.data.readers.drawn import rendered_digits, shapes
from jaxvision.data.readers.idx import idx
from jaxvision.data.readers.image_folder import image_folder
from jaxvision.data.readers.image_list import image_list
from jaxvision.data.readers.imagenet import imagenet
from jaxvision.data.readers.mask_pairs import mask_pairs
from jaxvision.data.readers.npz import npz
from jaxvision.data.readers.synthetic import synthetic
from jaxvision.data.readers.tfds import tfds
from jaxvision.data.readers.voc import voc
from jaxvision.data.sampling import class_balanced, few_labels, unlabelled
from jaxvision.data.source import Source, arrays, split, subset, together, without_images

__all__ = [
    # the type of sources, and sources in memory
    "Source",
    "arrays",
    # readers of files
    "cifar",
    "coco",
    "idx",
    "image_folder",
    "image_list",
    "imagenet",
    "labelled",
    "mask_pairs",
    "npz",
    "tfds",
    "voc",
    # sources without a download
    "digits",
    "rendered_digits",
    "shapes",
    "synthetic",
    # parts and combinations of sources
    "class_balanced",
    "few_labels",
    "split",
    "subset",
    "together",
    "unlabelled",
    "without_images",
    # images of one size
    "center_crops",
    "fit_image",
    "random_crops",
    "read_image",
    # batches and their order
    "batches",
    "order",
    "padded_batches",
    "positions",
    # checks and broken files
    "Breakage",
    "BrokenImage",
    "TooManyBroken",
    "check",
    "describe",
    "survey",
]
set_public_names(__name__, __all__)
