"""Sources of image files with boxes, masks and several labels: the base of the readers of annotations.

Annotations refer to the upright image, as most labelling tools show it. If they give a size that the upright image does not have, the
example raises BrokenImage with the reason "wrong annotation".
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.data.boxes import cropped_fields, have_area, padded
from jaxvision.data.decoding import BrokenImage, Choose, decode, decode_mask, decode_part
from jaxvision.data.paths import listed
from jaxvision.data.storage import Files

WRONG = "wrong annotation"  # the reason of a BrokenImage
Mask = Callable[[int, tuple[int, int]], np.ndarray]


class Annotated:
    """Image files with annotations. A subclass defines ``fields`` (the annotations of an example) and ``labels``."""

    def __init__(self, files: Files, names: Sequence[str], classes: Sequence[str], options: dict):
        self.files, self.names, self.classes, self._options = files, list(names), list(classes), options

    def fields(self, i: int, size: tuple[int, int]) -> dict:
        """All fields of example i except its image, which has the ``size`` (height, width)."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> dict:
        i = range(len(self))[i]
        image = decode(self.files.read(self.names[i]), self.files.path(self.names[i]), **self._options)
        return {"image": image, **self.fields(i, image.shape[:2])}

    def view(self, i: int, choose: Choose) -> dict:
        """Example i with a resized part of its image, boxes and mask; ``choose`` as in ``jaxvision.data.source``."""
        i = range(len(self))[i]
        chosen = {}

        def choose_and_keep(height: int, width: int) -> tuple:
            chosen["size"] = height, width
            chosen["part"] = choose(height, width)
            return chosen["part"]

        image = decode_part(self.files.read(self.names[i]), self.files.path(self.names[i]), choose_and_keep, **self._options)
        return {"image": image, **cropped_fields(self.fields(i, chosen["size"]), *chosen["part"])}


class Boxed(Annotated):
    """Image files with boxes. Boxes without area are dropped and counted in ``dropped_boxes``.

    ``rows``: for each image {"boxes": [n, 4], "box_label": [n], other fields [n] of the boxes}; ``sizes``: the annotated (height, width),
    or None; ``mask(i, size)``: reads a mask, or None. Raises ValueError if an image has more boxes than ``max_boxes``.
    """

    def __init__(self, files, names, classes, options: dict, *, rows: list[dict], sizes: list, max_boxes: int | None, mask: Mask | None):
        super().__init__(files, names, classes, options)
        self._mask, self._sizes = mask, sizes
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        owner = np.repeat(np.arange(len(rows)), [len(row["boxes"]) for row in rows])  # the image of each box
        kept = have_area(joined["boxes"])
        self.dropped_boxes = int((~kept).sum())
        self._rows, owner = {name: values[kept] for name, values in joined.items()}, owner[kept]
        counts = np.bincount(owner, minlength=len(rows))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.labels = np.zeros((len(rows), len(self.classes)), np.float32)
        self.labels[owner, self._rows["box_label"]] = 1
        self.max_boxes = int(counts.max()) if max_boxes is None else max_boxes
        if counts.max() > self.max_boxes:
            found = f"{files.path(self.names[int(counts.argmax())])} has {counts.max()}"
            raise ValueError(f"max_boxes: found {max_boxes}, but {found} boxes, expected at least as many")

    def fields(self, i: int, size: tuple[int, int]) -> dict:
        """ "label" [K], "boxes" [M, 4], "box_label" [M], other fields [M] of the boxes, and "mask" [H, W] if there are masks."""
        if self._sizes[i] not in (None, size):
            found = f"it is for {of_size(self._sizes[i])}, the upright image has {of_size(size)}"
            raise BrokenImage(self.files.path(self.names[i]), WRONG, found)
        here = slice(self._starts[i], self._starts[i + 1])
        boxes = {name: padded(rows[here], self.max_boxes, -1 if name == "box_label" else 0) for name, rows in self._rows.items()}
        return {"label": self.labels[i], **boxes} | ({"mask": self._mask(i, size)} if self._mask else {})


def of_size(size: tuple[int, int]) -> str:
    """(height, width) as text."""
    return f"{size[1]} x {size[0]} pixels"


def read_mask(files: Files, name: str, size: tuple[int, int] | None, num_values: int, void: int, max_pixels: int) -> np.ndarray:
    """A mask file as [H, W] uint8. Raises BrokenImage for another ``size`` or for values other than 0..num_values-1 and ``void``."""
    mask = decode_mask(files.read(name), files.path(name), max_pixels=max_pixels)
    if size is not None and mask.shape != tuple(size):
        raise BrokenImage(files.path(name), WRONG, f"the mask has {of_size(mask.shape)}, its image has {of_size(size)}")
    beyond = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[num_values:]) + num_values
    if beyond.size and beyond.tolist() != [void]:
        values = listed([str(value) for value in beyond if value != void])
        raise BrokenImage(files.path(name), WRONG, f"the mask has the values {values}, expected 0..{num_values - 1}, or {void} for void")
    return mask


def folder_with(files: Files, marker: str, argument: str, expected: str) -> Files:
    """The folder of ``files`` that contains ``marker``, such as "Annotations/".

    Raises FileNotFoundError, with the contents, if there is none; ValueError if several folders contain it.
    """
    places = ((name, f"/{name}".find(f"/{marker}")) for name in files.names)
    tops = sorted({name[:at] for name, at in places if at >= 0}, key=len)
    if not tops:
        holds = listed(sorted({name.partition("/")[0] + "/" * ("/" in name) for name in files.names}))
        raise FileNotFoundError(f"{argument}: {files.where} has no {marker}, only {holds}, expected {expected}")
    if tops[0] and len(tops) > 1:
        raise ValueError(f"{argument}: {files.where} has {marker} in {listed(sorted(tops))}, expected {expected}: pass one of them")
    return files.within(tops[0].rstrip("/")) if tops[0] else files


def by_stem(files: Files, folder: str) -> dict[str, str]:
    """{name without suffix: path} of the files in a folder."""
    inside = (name for name in files.names if name.startswith(f"{folder}/"))
    return {name[len(folder) + 1 :].rpartition(".")[0]: name for name in inside}


def files_of(wanted: Sequence[str], available: dict[str, str], what: str, files: Files) -> list[str]:
    """``available[name]`` for all ``wanted`` names. Raises FileNotFoundError, with their number and names, if some are missing."""
    if not wanted:
        raise FileNotFoundError(f"{files.where}: no {what}")
    if missing := [name for name in wanted if name not in available]:
        raise FileNotFoundError(f"{files.where}: {len(missing)} of {len(wanted)} have no {what}: {listed(missing)}")
    return [available[name] for name in wanted]


def check_classes(classes: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """``classes`` as a list. Raises ValueError for a class that is not one of ``known``, or that occurs twice."""
    unknown = [name for name in classes if name not in known]
    if unknown or len(set(classes)) < len(classes):
        found = f"{listed(unknown)}, unknown in {where}" if unknown else "a name twice"
        raise ValueError(f"classes: found {found}, expected some of {listed(list(known))}")
    return list(classes)
