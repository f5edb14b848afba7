"""Reader of images and masks with the same names, as in CamVid: images/NAME.jpg and labels/NAME.png."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.annotated import Annotated, by_stem, files_of, folder_with, read_mask
from jaxvision.data.decoding import MAX_PIXELS, WHITE, BrokenImage, check_decoding
from jaxvision.data.source import Source
from jaxvision.data.storage import Files, open_files

EXPECTED = "images/NAME.* and labels/NAME.png, or the same in one folder for each split, in a folder or .zip"


def _occurring(files: Files, names: Sequence[str], *allowed: int) -> np.ndarray:
    """Which values occur in each mask, [N, 256] bool, none if it is broken; ``allowed``: the last arguments of ``read_mask``.

    Raises the first BrokenImage if all masks are broken.
    """
    found, broken = np.zeros((len(names), 256), bool), []
    for row, name in zip(found, names, strict=True):
        try:
            row[:] = np.bincount(read_mask(files, name, None, *allowed).ravel(), minlength=256) > 0
        except BrokenImage as error:
            broken.append(error)
    if len(broken) == len(names):
        raise broken[0]
    return found


class _MaskPairs(Annotated):
    labels_fit_classes = True  # so that no check reads all masks

    def __init__(self, files: Files, names, masks: Sequence[str], classes: Sequence[str], void: int, options: dict):
        super().__init__(files, names, classes, options)
        self._masks, self._allowed = masks, (len(classes), void, options["max_pixels"])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """[N, K] float32, 1 for each class in the mask; the first use reads all masks, and broken ones count as empty."""
        return _occurring(self.files, self._masks, *self._allowed)[:, : len(self.classes)].astype(np.float32)

    def fields(self, i: int, size: tuple[int, int]) -> dict:
        """ "mask" [H, W] uint8 and "label" [K] float32."""
        mask = read_mask(self.files, self._masks[i], size, *self._allowed)
        present = np.bincount(mask.ravel(), minlength=256)[: len(self.classes)] > 0
        return {"mask": mask, "label": present.astype(np.float32)}


def mask_pairs(
    folder: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    void: int = 255,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Images and masks of class numbers: {split}/images/NAME.* and {split}/labels/NAME.png in a folder or .zip.

    Fields: "image" [H, W, 3] uint8, "mask" [H, W] uint8 as stored, "label" [K] float32, 1 for each class in the mask. ``split``: None if
    images/ and labels/ are at the top. ``classes``: the names of the values 0, 1, ...; by default their numbers, for which all masks are
    read once. ``void``: the value of pixels without a class (11 in CamVid, 255 in most data sets). ``background``, ``max_pixels``: as in
    ``read_image``.

    Raises FileNotFoundError or ValueError, in one line, for missing folders and images without a mask. A broken mask, or one of another
    size than its image or with other values, raises BrokenImage at ``source[i]``.

    >>> import pathlib, tempfile, PIL.Image, jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for kind, mode in (("images", "RGB"), ("labels", "L")):
    ...         pathlib.Path(folder, kind).mkdir()
    ...         PIL.Image.new(mode, (8, 8)).save(f"{folder}/{kind}/0.png")
    ...     print(jv.data.mask_pairs(folder, classes=["sky", "road"])[0]["label"])
    [1. 0.]
    """
    options = check_decoding("jv.data.mask_pairs", background, max_pixels)
    if not 0 <= void <= 255 or classes is not None and not 0 < len(classes) <= 256:
        raise ValueError(f"void, classes: found {void} and {len(classes or ())} names, expected 0..255 and 1..256 names")
    marker = f"{split}/images/" if split else "images/"
    files = folder_with(open_files(folder, "folder", EXPECTED), marker, "split" if split else "folder", EXPECTED)
    files = files.within(split) if split else files
    images, masks = by_stem(files, "images"), by_stem(files, "labels")
    names = sorted(images)
    masks = files_of(names, masks, "mask in labels/", files)
    if classes is None:
        values = np.flatnonzero(_occurring(files, masks, 256, void, max_pixels).any(0))
        classes = [str(value) for value in range(int(values[values != void].max(initial=0)) + 1)]
    return _MaskPairs(files, [images[name] for name in names], masks, classes, void, options)
