"""Pictures in files and what is known about them: boxes, masks, and which classes are present.

Annotations are taken to be of the upright picture, as most labelling tools show it. Where they say how large the picture is and the upright
one is not, the example is refused: BrokenImage with the reason "wrong annotation".
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.data.boxes import cropped_fields, have_area, padded
from jaxvision.data.decoding import BrokenImage, decode, decode_mask, decode_part
from jaxvision.data.paths import listed
from jaxvision.data.storage import Files

WRONG = "wrong annotation"  # the reason of a BrokenImage
Mask = Callable[[int, tuple[int, int]], np.ndarray]


class Annotated:
    """Pictures in files; a subclass says in ``fields`` what is known about them, and in ``labels`` what is known without decoding."""

    def __init__(self, files: Files, names: Sequence[str], classes: Sequence[str], options: dict):
        self.files, self.names, self.classes, self._options = files, list(names), list(classes), options

    def fields(self, i: int, size: tuple[int, int]) -> dict:
        """All fields of example i but its image, which is ``size`` (height, width)."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> dict:
        i = range(len(self))[i]
        image = decode(self.files.read(self.names[i]), self.files.path(self.names[i]), **self._options)
        return {"image": image, **self.fields(i, image.shape[:2])}

    def view(self, i: int, choose: Callable) -> dict:
        """Example i with a resized part of its image, boxes and mask; ``choose`` as in ``jaxvision.data.source``."""
        i = range(len(self))[i]
        chosen = {}

        def noted(height: int, width: int) -> tuple:
            chosen["size"] = height, width
            chosen["part"] = choose(height, width)
            return chosen["part"]

        image = decode_part(self.files.read(self.names[i]), self.files.path(self.names[i]), noted, **self._options)
        return {"image": image, **cropped_fields(self.fields(i, chosen["size"]), *chosen["part"])}


class Boxed(Annotated):
    """Pictures with boxes; those without area are left out and counted in ``dropped_boxes``.

    ``rows``: for every picture {"boxes": [n, 4], "box_label": [n], further fields a box}; ``sizes``: (height, width) as annotated, or None;
    ``mask(i, size)``: its mask, where there are masks. Raises ValueError when a picture has more boxes than ``max_boxes``.
    """

    def __init__(self, files, names, classes, options: dict, *, rows: list[dict], sizes: list, max_boxes: int | None, mask: Mask | None):
        super().__init__(files, names, classes, options)
        self._mask, self._sizes = mask, sizes
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        picture = np.repeat(np.arange(len(rows)), [len(row["boxes"]) for row in rows])  # that each box is in
        kept = have_area(joined["boxes"])
        self.dropped_boxes = int((~kept).sum())
        self._rows, picture = {name: values[kept] for name, values in joined.items()}, picture[kept]
        counts = np.bincount(picture, minlength=len(rows))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.labels = np.zeros((len(rows), len(self.classes)), np.float32)
        self.labels[picture, self._rows["box_label"]] = 1
        self.max_boxes = int(counts.max()) if max_boxes is None else max_boxes
        if counts.max() > self.max_boxes:
            found = f"{files.path(self.names[int(counts.argmax())])} has {counts.max()}"
            raise ValueError(f"max_boxes: found {max_boxes}, but {found}, expected at least as many")

    def fields(self, i: int, size: tuple[int, int]) -> dict:
        """ "label" [K], "boxes" [M, 4], "box_label" [M], further fields a box [M] and, where there are masks, "mask" [H, W]."""
        if self._sizes[i] not in (None, size):
            found = f"it is of {of_size(self._sizes[i])}, the upright picture of {of_size(size)}"
            raise BrokenImage(self.files.path(self.names[i]), WRONG, found)
        here = slice(self._starts[i], self._starts[i + 1])
        found = {name: padded(rows[here], self.max_boxes, -1 if name == "box_label" else 0) for name, rows in self._rows.items()}
        return {"label": self.labels[i], **found} | ({"mask": self._mask(i, size)} if self._mask else {})


def of_size(size: tuple[int, int]) -> str:
    """(height, width) in words."""
    return f"{size[1]} x {size[0]} pixels"


def read_mask(files: Files, name: str, size: tuple[int, int] | None, num_values: int, void: int, max_pixels: int) -> np.ndarray:
    """A mask file as [H, W] uint8; raises BrokenImage where it is not of ``size`` or has values but 0..``num_values`` - 1 and ``void``."""
    mask = decode_mask(files.read(name), files.path(name), max_pixels=max_pixels)
    if size is not None and mask.shape != tuple(size):
        raise BrokenImage(files.path(name), WRONG, f"the mask is of {of_size(mask.shape)}, its picture of {of_size(size)}")
    beyond = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[num_values:]) + num_values
    if beyond.size and beyond.tolist() != [void]:
        values = listed([str(value) for value in beyond if value != void])
        raise BrokenImage(files.path(name), WRONG, f"the mask has the values {values}, expected 0..{num_values - 1}, or {void} for none")
    return mask


def beneath(files: Files, marker: str, argument: str, expected: str) -> Files:
    """The part of ``files`` in which ``marker`` lies, such as "Annotations/": all, or what is in a folder.

    Raises FileNotFoundError, naming what is there, where it is nowhere; ValueError where it is in several folders.
    """
    places = ((name, f"/{name}".find(f"/{marker}")) for name in files.names)
    tops = sorted({name[:at] for name, at in places if at >= 0}, key=len)
    if not tops:
        holds = listed(sorted({name.partition("/")[0] + "/" * ("/" in name) for name in files.names}))
        raise FileNotFoundError(f"{argument}: {files.where} has no {marker}, only {holds}, expected {expected}")
    if tops[0] and len(tops) > 1:
        raise ValueError(f"{argument}: {files.where} has {marker} in {listed(sorted(tops))}, expected {expected}: give one of them")
    return files.within(tops[0].rstrip("/")) if tops[0] else files


def by_stem(files: Files, folder: str) -> dict[str, str]:
    """{name without its suffix: name} of the files in a folder."""
    inside = (name for name in files.names if name.startswith(f"{folder}/"))
    return {name[len(folder) + 1 :].rpartition(".")[0]: name for name in inside}


def found_for(wanted: Sequence[str], there: dict[str, str], what: str, files: Files) -> list[str]:
    """``there[name]`` for all ``wanted`` names; raises FileNotFoundError that says how many have none, and which."""
    if not wanted:
        raise FileNotFoundError(f"{files.where}: no {what}")
    if missing := [name for name in wanted if name not in there]:
        raise FileNotFoundError(f"{files.where}: {len(missing)} of {len(wanted)} have no {what}: {listed(missing)}")
    return [there[name] for name in wanted]


def check_classes(classes: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """``classes`` as a list; raises ValueError for one that is not among those ``known``, or that is there twice."""
    unknown = [name for name in classes if name not in known]
    if unknown or len(set(classes)) < len(classes):
        found = f"{listed(unknown)}, unknown in {where}" if unknown else "a name twice"
        raise ValueError(f"classes: found {found}, expected some of {listed(list(known))}")
    return list(classes)
