"""Host-side image sources with random access, and their batches in an order that is a pure function of seed and step."""

from jaxvision.data.breakage import Breakage, TooManyBroken
from jaxvision.data.checking import check
from jaxvision.data.cifar_files import cifar
from jaxvision.data.coco_files import coco
from jaxvision.data.compressed import npz
from jaxvision.data.cropping import center_crops, fit_image, random_crops
from jaxvision.data.decoding import BrokenImage, read_image
from jaxvision.data.embedded import digits
from jaxvision.data.folders import image_folder
from jaxvision.data.generated import synthetic
from jaxvision.data.imagenet_files import imagenet
from jaxvision.data.layouts import describe, survey
from jaxvision.data.lists import image_list
from jaxvision.data.mask_files import mask_pairs
from jaxvision.data.mnist import idx
from jaxvision.data.prepared import tfds
from jaxvision.data.rendered import rendered_digits, shapes
from jaxvision.data.sampling import class_balanced, few_labels, unlabelled
from jaxvision.data.sequence import order, positions
from jaxvision.data.source import arrays, split, subset, together, without_images
from jaxvision.data.stream import batches, padded_batches
from jaxvision.data.voc_files import voc

__all__ = [
    "arrays",
    "batches",
    "Breakage",
    "BrokenImage",
    "center_crops",
    "check",
    "cifar",
    "class_balanced",
    "coco",
    "describe",
    "digits",
    "few_labels",
    "fit_image",
    "idx",
    "image_folder",
    "image_list",
    "imagenet",
    "mask_pairs",
    "npz",
    "order",
    "padded_batches",
    "positions",
    "random_crops",
    "read_image",
    "rendered_digits",
    "shapes",
    "split",
    "subset",
    "survey",
    "synthetic",
    "tfds",
    "together",
    "TooManyBroken",
    "unlabelled",
    "voc",
    "without_images",
]
