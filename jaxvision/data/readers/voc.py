"""Reader for annotations in the form of PASCAL VOC: an XML file a picture, with the boxes of its objects."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.paths import listed
from jaxvision.data.readers.annotated import Boxed, beneath, by_stem, check_classes, found_for, read_mask
from jaxvision.data.storage import Files, open_files

EXPECTED = "Annotations/*.xml, JPEGImages/* and ImageSets/Main/SPLIT.txt, in a folder or a .zip"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_VOID = 255


class _PlainTree(ElementTree.TreeBuilder):
    """No annotation needs a document type, and its entities can be made to fill the memory."""

    def doctype(self, *_) -> None:
        raise ValueError("it declares a DOCTYPE")


def _text(node, name: str) -> str:
    found = node.find(name)
    if found is None or not (found.text or "").strip():
        raise ValueError(f"<{node.tag}> without <{name}>")
    return found.text.strip()


def _number(node, name: str) -> float:
    value = float(_text(node, name))
    if not np.isfinite(value):
        raise ValueError(f"<{name}> is {value}")
    return value


def _objects(content: bytes, origin: int) -> tuple[tuple[int, int] | None, list[tuple[str, list[float], bool]]]:
    """((height, width) where it is given, [(class, box, difficult)]) of an annotation file."""
    root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_PlainTree()))
    found = []
    for node in root.findall("object"):
        box = node.find("bndbox")
        if box is None:
            raise ValueError("<object> without <bndbox>")
        x_min, y_min, x_max, y_max = (_number(box, edge) for edge in _EDGES)
        difficult = (node.findtext("difficult") or "0").strip() == "1"
        found.append((_text(node, "name"), [x_min - origin, y_min - origin, x_max, y_max], difficult))
    size = root.find("size")
    height, width = (int(_number(size, side)) for side in ("height", "width")) if size is not None else (0, 0)
    return ((height, width) if height > 0 and width > 0 else None), found


def _read(files: Files, name: str, origin: int) -> tuple:
    try:
        return _objects(files.read(name), origin)
    except (ValueError, ElementTree.ParseError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"no XML: {error}"
        raise ValueError(f"{files.path(name)}: cannot be read as a VOC annotation ({reason})") from error


def _split_names(files: Files, kind: str, split: str | None) -> list[str] | None:
    """The names that ImageSets/``kind``/``split``.txt lists; None, for all, where there are no such lists and none is asked for."""
    there = {stem: name for stem, name in by_stem(files, f"ImageSets/{kind}").items() if name.endswith(".txt")}
    if split is None and not there:
        return None
    if split not in there:
        what = listed(sorted(there)) if there else f"no ImageSets/{kind}"
        raise FileNotFoundError(f"split: found {split!r}, {files.where} has {what}")
    lines = files.read(there[split]).decode("utf-8", "replace").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]  # lists of one class have 1 or -1 behind the name
    if not names:
        raise ValueError(f"split: {files.path(there[split])} is empty")
    return names


def _row(objects: list, classes: dict[str, int]) -> dict:
    kept = [(box, classes[name], difficult) for name, box, difficult in objects if name in classes]
    boxes, labels, difficult = zip(*kept, strict=True) if kept else ((), (), ())
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "box_label": np.array(labels, np.int32),
        "difficult": np.array(difficult, bool),
    }


def voc(
    folder: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    origin: int = 0,
    max_boxes: int | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
):
    """Pictures with boxes as in PASCAL VOC, in a folder or a .zip: JPEGImages/NAME.*, Annotations/NAME.xml, ImageSets/Main/SPLIT.txt.

    ``split``: one of the lists; may be left out where there are none. ``classes``: those to keep, in the order of their labels; all that
    any annotation has, by name, without. Fields: "image" [H, W, 3] uint8, "label" [K] float32, 1 for every class that is present, "boxes"
    [M, 4] float32 and "box_label" [M] int32 as in ``jaxvision.data.boxes``, "difficult" [M] bool. M is ``max_boxes``, or the most of any
    picture of the split. Boxes without area are left out and counted in ``source.dropped_boxes``.

    Edges are taken as written. ``origin=1`` is for the original devkit, which counts pixels from 1 and both ends in: 1 is then subtracted
    from x_min and y_min. ``masks``: the lists are those in ImageSets/Segmentation and "mask" [H, W] uint8 comes from
    SegmentationClass/NAME.png as it is: 0 background, classes from 1 by name, 255 void.

    Raises FileNotFoundError or ValueError, in one line, for missing lists, annotations and pictures, and annotations that cannot be read.
    Source: M. Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.
    """
    options = check_decoding("jv.data.voc", background, max_pixels)
    files = beneath(open_files(folder, "folder", EXPECTED), "Annotations/", "folder", EXPECTED)
    annotations = {stem: name for stem, name in by_stem(files, "Annotations").items() if name.endswith(".xml")}
    names = _split_names(files, "Segmentation" if masks else "Main", split) or sorted(annotations)
    found_for(names, annotations, "annotation in Annotations/", files)
    pictures = found_for(names, by_stem(files, "JPEGImages"), "picture in JPEGImages/", files)
    read = {stem: _read(files, name, origin) for stem, name in annotations.items()}
    known = sorted({name for _, objects in read.values() for name, *_ in objects})
    classes = known if classes is None else check_classes(classes, known, str(files.where))
    numbers = {name: number for number, name in enumerate(classes)}
    rows = [_row(read[name][1], numbers) for name in names]
    mask_names = found_for(names, by_stem(files, "SegmentationClass"), "mask in SegmentationClass/", files) if masks else []
    mask = (lambda i, size: read_mask(files, mask_names[i], size, len(known) + 1, _VOID, max_pixels)) if masks else None
    sizes = [read[name][0] for name in names]
    return Boxed(files, pictures, classes, options, rows=rows, sizes=sizes, max_boxes=max_boxes, mask=mask)
