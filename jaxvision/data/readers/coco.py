"""Reader of annotations in the format of COCO: one JSON file of images, categories, boxes and segmentations."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.annotated import WRONG, Boxed, check_classes, files_of, of_size
from jaxvision.data.boxes import polygon_mask
from jaxvision.data.decoding import MAX_PIXELS, WHITE, BrokenImage, check_decoding
from jaxvision.data.paths import existing_file, listed, printable, unreadable
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


_TABLES = {  # the fields of each row
    "images": {"id": _is_id, "file_name": _is_text},
    "categories": {"id": _is_number, "name": _is_text},
    "annotations": {"image_id": _is_id, "category_id": _is_number, "bbox": _is_box},
}


def run_lengths(text: str) -> np.ndarray:
    """Decode COCO's compressed run lengths to numbers [n].

    A number is a sequence of characters. Each holds five bits, the lowest first, and in its sixth bit whether another character follows;
    the fifth bit of the last character is the sign. From the fourth number on, the difference to the number two before it is stored.
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
    """The mask [H, W] bool of runs of 0, 1, 0, ... in column-major order; ``size``: (height, width)."""
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
    """(function that rasterises it, its argument, (height, width) or None). Raises ValueError without a usable segmentation."""
    found = annotation.get("segmentation")
    try:
        return (run_length_mask, *_runs(found)) if isinstance(found, dict) else (_polygons_mask, _polygons(found), None)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"annotations: {path}: annotation {annotation.get('id')} has no usable segmentation ({error})") from error


class _Outlines:
    """Rasterises the segmentations of an image to one mask, in the order of the classes."""

    def __init__(self, files: Files, names: list[str], outlines: list[list[tuple[int, tuple]]]):
        self.files, self.names, self.outlines = files, names, outlines

    def __call__(self, i: int, size: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(size, np.uint8)
        for label, (rasterise, outline, own_size) in sorted(self.outlines[i], key=lambda pair: pair[0]):
            if own_size not in (None, size):
                found = f"a mask of {of_size(own_size)}, the image has {of_size(size)}"
                raise BrokenImage(self.files.path(self.names[i]), WRONG, found)
            mask[rasterise(outline, size)] = label + 1
        return mask


def _read(path: Path) -> dict[str, list[dict]]:
    """The three tables of an annotation file. Raises ValueError if a table or field is missing, OSError if it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable("annotations", path, error) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotations: {path} cannot be read as JSON ({error}), expected {EXPECTED}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(table), list) for table in _TABLES):
        contents = listed(sorted(found)) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"annotations: {path} contains {contents}, expected {EXPECTED}")
    for table, fields in _TABLES.items():
        for number, row in enumerate(found[table]):
            if wrong := [field for field, fits in fields.items() if not (isinstance(row, dict) and fits(row.get(field)))]:
                raise ValueError(f"annotations: {path}: {table}[{number}] has no usable {wrong[0]}: {printable(str(row)[:80])}")
    return {table: found[table] for table in _TABLES}


def _by(field: str, rows: list[dict], table: str, path: Path) -> dict:
    found = {row[field]: row for row in rows}
    if not found or len(found) < len(rows):
        raise ValueError(f"annotations: {path} has {len(rows)} {table} with {len(found)} values of {field}, expected different ones")
    return found


def _grouped(rows: list[dict], images: dict, categories: dict, path: Path) -> dict[int | str, list[dict]]:
    """{image id: its annotations}. Raises ValueError, with their number, for annotations of unknown images or categories."""
    for field, known in (("image_id", images), ("category_id", categories)):
        if wrong := [row for row in rows if row[field] not in known]:
            found = f"{len(wrong)} of {len(rows)} annotations have an unknown {field} (first: {wrong[0][field]!r})"
            raise ValueError(f"annotations: {path}: {found}")
    grouped = {number: [] for number in images}
    for row in rows:
        grouped[row["image_id"]].append(row)
    return grouped


def _size(image: dict) -> tuple[int, int] | None:
    """The (height, width) in an image's entry, or None."""
    size = image.get("height"), image.get("width")
    return size if all(isinstance(side, int) and side > 0 for side in size) else None


def _row(annotations: list[dict], labels: dict[int, int]) -> dict:
    """The boxes of an image, as corners."""
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float32).reshape(len(annotations), 4)
    boxes[:, 2:] += boxes[:, :2]
    return {
        "boxes": boxes,
        "box_label": np.array([labels[annotation["category_id"]] for annotation in annotations], np.int32),
        "is_crowd": np.array([bool(annotation.get("iscrowd", 0)) for annotation in annotations], bool),
    }


def _image_paths(folder: Path, names: list[str]) -> tuple[Files, list[str]]:
    """The files of a folder or archive, or of its only sub-folder, and the paths of ``names`` in it."""
    files = open_files(folder, "folder", "a folder or .zip of the images that the annotations name")
    if names[0] not in files.names and len(files.folders) == 1:
        files = files.within(files.folders[0])
    return files, files_of(names, dict(zip(files.names, files.names, strict=True)), "image; pass their folder as folder=", files)


class _Coco(Boxed):
    category_ids: list[int]  # the id of each class


def coco(
    annotations: str | Path,
    folder: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    max_boxes: int | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> _Coco:
    """Images with boxes from a JSON file in the format of COCO (instances_*.json).

    Fields: "image" [H, W, 3] uint8; "label" [K] float32, 1 for each class in the image; "boxes" [M, 4] float32 (x_min, y_min, x_max, y_max
    in pixels), "box_label" [M] int32 (-1 for padding) and "is_crowd" [M] bool. M is ``max_boxes``, by default the most boxes of any image.
    ``source.category_ids`` are the ids of the classes; ``source.dropped_boxes`` counts the boxes without area, which are dropped.

    ``folder``: the folder or .zip of the images; by default the folder of the JSON file. ``classes``: the categories to keep, in the order
    of their labels; by default all, in the order of their ids. ``masks``: add "mask" [H, W] uint8, 0 for background and 1 + label for an
    object; where objects overlap, the higher label wins. A polygon covers the pixels whose centres it contains, which may differ from
    COCO's own masks at its edges. ``background``, ``max_pixels``: as in ``read_image``. Source: T.-Y. Lin et al., Microsoft COCO: Common
    Objects in Context, ECCV 2014.

    Raises FileNotFoundError or ValueError, in one line, for missing images, annotations of unknown images or categories, and other formats.

    >>> import json, pathlib, tempfile, PIL.Image, jaxvision as jv
    >>> box = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}
    >>> table = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 7, "name": "cat"}], "annotations": [box]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = PIL.Image.new("RGB", (8, 8)).save(f"{folder}/a.png"), pathlib.Path(folder, "a.json").write_text(json.dumps(table))
    ...     print(jv.data.coco(f"{folder}/a.json")[0]["boxes"])
    [[1. 2. 4. 6.]]
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
    files, names = _image_paths(path.parent if folder is None else folder, [image["file_name"] for image in images.values()])
    kept = [[one for one in grouped[number] if one["category_id"] in labels] for number in images]
    rows, sizes = [_row(found, labels) for found in kept], [_size(image) for image in images.values()]
    mask = None
    if masks:
        mask = _Outlines(files, names, [[(labels[one["category_id"]], _outline(one, path)) for one in found] for found in kept])
    source = _Coco(files, names, classes, options, rows=rows, sizes=sizes, max_boxes=max_boxes, mask=mask)
    source.category_ids = sorted(labels, key=labels.get)
    return source
