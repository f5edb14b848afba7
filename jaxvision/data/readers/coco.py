"""Reader for annotations in the form of COCO: one JSON file of pictures, categories and boxes, and the outlines of what is in them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.boxes import polygon_mask
from jaxvision.data.decoding import MAX_PIXELS, WHITE, BrokenImage, check_decoding
from jaxvision.data.paths import existing_file, listed, printable, unreadable
from jaxvision.data.readers.annotated import WRONG, Boxed, check_classes, found_for, of_size
from jaxvision.data.storage import Files, open_files

EXPECTED = "a JSON file of images, categories and annotations with boxes (instances_*.json)"


def _is_id(value) -> bool:
    return isinstance(value, int | str)


def _is_number(value) -> bool:
    return isinstance(value, int)


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_box(value) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(side, int | float) and math.isfinite(side) for side in value)


_TABLES = {  # what every row must have
    "images": {"id": _is_id, "file_name": _is_text},
    "categories": {"id": _is_number, "name": _is_text},
    "annotations": {"image_id": _is_id, "category_id": _is_number, "bbox": _is_box},
}


def run_lengths(text: str) -> np.ndarray:
    """COCO's compressed run lengths as numbers [n].

    Each number is a row of characters that hold five bits each, the lowest first, and in the sixth whether more follow; the fifth bit of
    the last is the sign. From the fourth number on, the difference to the last but one is written.
    """
    numbers, value, shift = [], 0, 0
    for code in (ord(character) - 48 for character in text):
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value, shift = 0, 0
    return np.array(numbers, np.int64)


def run_length_mask(lengths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The runs of 0, 1, 0, ... down the columns of a picture of ``size`` (height, width) as [H, W] bool."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T


def _polygons_mask(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    return np.any([polygon_mask(polygon, size) for polygon in polygons], axis=0)


def _runs(found: dict) -> tuple[np.ndarray, tuple[int, int]]:
    counts, size = found["counts"], tuple(map(int, found["size"]))
    lengths = run_lengths(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if (lengths < 0).any() or lengths.sum() != math.prod(size):
        raise ValueError(f"run lengths of {lengths.sum()} pixels for {of_size(size)}")
    return lengths, size


def _polygons(found: list | None) -> list[np.ndarray]:
    polygons = [np.array(polygon, np.float32) for polygon in found or ()]
    if not polygons or any(polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("expected polygons of x and y, or run lengths")
    return [polygon.reshape(-1, 2) for polygon in polygons]


def _outline(annotation: dict, path: Path) -> tuple:
    """(function that draws it, what it draws, (height, width) where it says so); raises ValueError where it has none."""
    found = annotation.get("segmentation")
    try:
        return (run_length_mask, *_runs(found)) if isinstance(found, dict) else (_polygons_mask, _polygons(found), None)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"annotations: {path}: annotation {annotation.get('id')} has no usable segmentation ({error})") from error


class _Outlines:
    """The masks of pictures from the outlines of their objects, drawn in the order of the classes."""

    def __init__(self, files: Files, names: list[str], outlines: list[list[tuple[int, tuple]]]):
        self.files, self.names, self.outlines = files, names, outlines

    def __call__(self, i: int, size: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(size, np.uint8)
        for label, (draw, drawn, own_size) in sorted(self.outlines[i], key=lambda pair: pair[0]):
            if own_size not in (None, size):
                found = f"a mask of {of_size(own_size)}, the picture is of {of_size(size)}"
                raise BrokenImage(self.files.path(self.names[i]), WRONG, found)
            mask[draw(drawn, size)] = label + 1
        return mask


def _read(path: Path) -> dict[str, list[dict]]:
    """The three tables of an annotation file; raises ValueError for one that lacks a table or a field, OSError where it may not be read."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable("annotations", path, error) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotations: {path} cannot be read as JSON ({error}), expected {EXPECTED}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(table), list) for table in _TABLES):
        holds = listed(sorted(found)) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"annotations: {path} holds {holds}, expected {EXPECTED}")
    for table, fields in _TABLES.items():
        for number, row in enumerate(found[table]):
            if wrong := [field for field, fits in fields.items() if not (isinstance(row, dict) and fits(row.get(field)))]:
                raise ValueError(f"annotations: {path}: {table}[{number}] has no usable {wrong[0]}: {printable(str(row)[:80])}")
    return {table: found[table] for table in _TABLES}


def _by(field: str, rows: list[dict], table: str, path: Path) -> dict:
    found = {row[field]: row for row in rows}
    if not found or len(found) < len(rows):
        raise ValueError(f"annotations: {path} has {len(rows)} {table} and {len(found)} values of {field}, expected one each")
    return found


def _grouped(rows: list[dict], images: dict, categories: dict, path: Path) -> dict[int | str, list[dict]]:
    """{image: its annotations}; raises ValueError, saying how many, for annotations of images or categories that are not there."""
    for field, there in (("image_id", images), ("category_id", categories)):
        if wrong := [row for row in rows if row[field] not in there]:
            found = f"{len(wrong)} of {len(rows)} annotations have a {field} that is not there (first: {wrong[0][field]!r})"
            raise ValueError(f"annotations: {path}: {found}")
    grouped = {number: [] for number in images}
    for row in rows:
        grouped[row["image_id"]].append(row)
    return grouped


def _size(image: dict) -> tuple[int, int] | None:
    """(height, width) of a picture where its entry says it."""
    size = image.get("height"), image.get("width")
    return size if all(isinstance(side, int) and side > 0 for side in size) else None


def _row(annotations: list[dict], labels: dict[int, int]) -> dict:
    """The boxes of a picture, as corners."""
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float32).reshape(len(annotations), 4)
    boxes[:, 2:] += boxes[:, :2]
    return {
        "boxes": boxes,
        "box_label": np.array([labels[annotation["category_id"]] for annotation in annotations], np.int32),
        "is_crowd": np.array([bool(annotation.get("iscrowd", 0)) for annotation in annotations], bool),
    }


def _pictures(folder: Path, names: list[str]) -> tuple[Files, list[str]]:
    """The files of a folder or archive, and those of them that ``names`` says, perhaps within its only folder."""
    files = open_files(folder, "folder", "a folder or .zip of the pictures that the annotations name")
    if names[0] not in files.names and len(files.folders) == 1:
        files = files.within(files.folders[0])
    return files, found_for(names, dict(zip(files.names, files.names, strict=True)), "picture; folder=... says where they are", files)


def coco(
    annotations: str | Path,
    folder: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    max_boxes: int | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
):
    """Pictures with boxes from a JSON file in the form of COCO (instances_*.json); ``folder``, or a .zip, holds the pictures that it names.

    Without ``folder``: the one that the JSON file is in. ``classes``: the categories to keep, in the order of their labels; all, in the
    order of their ids, without. Fields: "image" [H, W, 3] uint8, "label" [K] float32, 1 for every class that is present, "boxes" [M, 4]
    float32 and "box_label" [M] int32 as in ``jaxvision.data.boxes``, "is_crowd" [M] bool. M is ``max_boxes``, or the most of any picture.
    ``source.category_ids`` are the ids of the classes, ``source.dropped_boxes`` counts boxes without area, which are left out.

    ``masks``: "mask" [H, W] uint8 as well, 0 background and 1 + label where an object is, of overlapping ones the higher label; a
    polygon is the pixels whose middles it holds, which may differ at its edges from COCO's own drawing.

    Raises FileNotFoundError or ValueError, in one line, for pictures that are not there, annotations of pictures or categories that are not
    there, and what is not of this form. Source: T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014.
    """
    options = check_decoding("jv.data.coco", background, max_pixels)
    path = existing_file(annotations, "annotations", EXPECTED)
    tables = _read(path)
    images, categories = (_by("id", tables[table], table, path) for table in ("images", "categories"))
    known = [row["name"] for row in sorted(_by("name", tables["categories"], "categories", path).values(), key=lambda row: row["id"])]
    classes = check_classes(known if classes is None else classes, known, str(path))
    if masks and len(classes) > 254:
        raise ValueError(f"masks: found {len(classes)} classes, expected at most 254, which fit into uint8: choose some by classes=[...]")
    labels = {number: classes.index(row["name"]) for number, row in categories.items() if row["name"] in classes}
    grouped = _grouped(tables["annotations"], images, categories, path)
    files, names = _pictures(path.parent if folder is None else folder, [image["file_name"] for image in images.values()])
    kept = [[one for one in grouped[number] if one["category_id"] in labels] for number in images]
    rows, sizes = [_row(found, labels) for found in kept], [_size(image) for image in images.values()]
    mask = None
    if masks:
        mask = _Outlines(files, names, [[(labels[one["category_id"]], _outline(one, path)) for one in found] for found in kept])
    source = Boxed(files, names, classes, options, rows=rows, sizes=sizes, max_boxes=max_boxes, mask=mask)
    source.category_ids = sorted(labels, key=labels.get)
    return source
