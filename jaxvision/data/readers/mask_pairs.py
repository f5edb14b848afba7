"""Reader for pictures beside masks of the same name, as CamVid is kept: images/NAME.jpg and labels/NAME.png."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, BrokenImage, check_decoding
from jaxvision.data.readers.annotated import Annotated, beneath, by_stem, found_for, read_mask
from jaxvision.data.storage import Files, open_files

EXPECTED = "images/NAME.* and labels/NAME.png, or the same in a folder a split, in a folder or a .zip"


def _occurring(files: Files, names: Sequence[str], *allowed: int) -> np.ndarray:
    """Which values each of the masks has, [N, 256] bool, none where it is broken; ``allowed`` as the last of ``read_mask``.

    Raises the first BrokenImage where all are.
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
    labels_fit_classes = True  # spares a look into every mask

    def __init__(self, files: Files, names, masks: Sequence[str], classes: Sequence[str], void: int, options: dict):
        super().__init__(files, names, classes, options)
        self._masks, self._allowed = masks, (len(classes), void, options["max_pixels"])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """[N, K] float32, 1 for every class that the mask has; the first use reads all masks, broken ones as empty."""
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
):
    """Pictures and their masks of class numbers: {split}/images/NAME.* beside {split}/labels/NAME.png, in a folder or a .zip.

    Fields: "image" [H, W, 3] uint8, "mask" [H, W] uint8 as the file has it, "label" [K] float32, 1 for every class in the mask.
    ``classes``: the names of the values 0, 1, ...; without, they are called by their numbers, for which all masks are read once.
    ``void``: the value of pixels that are of no class (11 in CamVid, 255 in most). ``split``: left out where images/ and labels/ lie at
    the top.

    Raises FileNotFoundError or ValueError, in one line, for folders that are not there and pictures without a mask; BrokenImage, at
    ``source[i]``, for a broken mask, or one of another size than its picture or with values that are no class. ``labels`` skips those.
    """
    options = check_decoding("jv.data.mask_pairs", background, max_pixels)
    if not 0 <= void <= 255 or classes is not None and not 0 < len(classes) <= 256:
        raise ValueError(f"void, classes: found {void} and {len(classes or ())} names, expected 0..255 and 1..256 names")
    marker = f"{split}/images/" if split else "images/"
    files = beneath(open_files(folder, "folder", EXPECTED), marker, "split" if split else "folder", EXPECTED)
    files = files.within(split) if split else files
    pictures, masks = by_stem(files, "images"), by_stem(files, "labels")
    names = sorted(pictures)
    masks = found_for(names, masks, "mask in labels/", files)
    if classes is None:
        values = np.flatnonzero(_occurring(files, masks, 256, void, max_pixels).any(0))
        classes = [str(value) for value in range(int(values[values != void].max(initial=0)) + 1)]
    return _MaskPairs(files, [pictures[name] for name in names], masks, classes, void, options)
