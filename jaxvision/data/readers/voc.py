"""Reader of annotations in the format of PASCAL VOC: one XML file with the boxes of each image."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jaxvision.data.annotated import Boxed, by_stem, check_classes, files_of, folder_with, read_mask
from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.paths import listed
from jaxvision.data.storage import Files, open_files

EXPECTED = "Annotations/*.xml, JPEGImages/* and ImageSets/Main/SPLIT.txt, in a folder or a .zip"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_VOID = 255


class _PlainTree(ElementTree.TreeBuilder):
    """Refuses document types: no annotation needs one, and their entities can expand without limit."""

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
    """((height, width) or None, [(class, box, difficult)]) of an annotation file."""
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
    """The names in ImageSets/``kind``/``split``.txt; None (all images) if ``split`` is None and there are no lists."""
    lists = {stem: name for stem, name in by_stem(files, f"ImageSets/{kind}").items() if name.endswith(".txt")}
    if split is None and not lists:
        return None
    if split not in lists:
        expected = f"one of {listed(sorted(lists))}" if lists else f"None, because there is no ImageSets/{kind}"
        raise FileNotFoundError(f"split: found {split!r} for {files.where}, expected {expected}")
    lines = files.read(lists[split]).decode("utf-8", "replace").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]  # lists of one class have 1 or -1 after the name
    if not names:
        raise ValueError(f"split: {files.path(lists[split])} is empty")
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
) -> Boxed:
    """Images with boxes in the layout of PASCAL VOC, a folder or .zip of JPEGImages/NAME.*, Annotations/NAME.xml, ImageSets/Main/SPLIT.txt.

    Fields: "image" [H, W, 3] uint8; "label" [K] float32, 1 for each class in the image; "boxes" [M, 4] float32 (x_min, y_min, x_max, y_max
    in pixels), "box_label" [M] int32 (-1 for padding) and "difficult" [M] bool. M is ``max_boxes``, by default the most boxes of any image.
    Boxes without area are dropped and counted in ``source.dropped_boxes``.

    ``split``: the name of a list; None if there are no lists. ``classes``: the classes to keep, in the order of their labels; by default
    all, sorted. ``origin``: 1 for the original devkit, whose pixels are numbered from 1 with both ends included; it is subtracted from
    x_min and y_min. ``masks``: use the lists in ImageSets/Segmentation and add "mask" [H, W] uint8 from SegmentationClass/NAME.png, as
    stored: 0 is background, 1... the sorted classes, 255 void. ``background``, ``max_pixels``: as in ``read_image``. Source: M. Everingham
    et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.

    Raises FileNotFoundError or ValueError, in one line, for missing lists, annotations and images, and for unreadable annotations.

    >>> import pathlib, tempfile, PIL.Image, jaxvision as jv
    >>> text = "<a><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>6</ymax></bndbox></object></a>"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("Annotations", "JPEGImages"): pathlib.Path(folder, name).mkdir()
    ...     _ = PIL.Image.new("RGB", (8, 8)).save(f"{folder}/JPEGImages/a.jpg"), pathlib.Path(folder, "Annotations/a.xml").write_text(text)
    ...     print(jv.data.voc(folder)[0]["boxes"])
    [[1. 2. 4. 6.]]
    """
    options = check_decoding("jv.data.voc", background, max_pixels)
    files = folder_with(open_files(folder, "folder", EXPECTED), "Annotations/", "folder", EXPECTED)
    annotations = {stem: name for stem, name in by_stem(files, "Annotations").items() if name.endswith(".xml")}
    names = _split_names(files, "Segmentation" if masks else "Main", split) or sorted(annotations)
    files_of(names, annotations, "annotation in Annotations/", files)
    images = files_of(names, by_stem(files, "JPEGImages"), "image in JPEGImages/", files)
    read = {stem: _read(files, name, origin) for stem, name in annotations.items()}
    known = sorted({name for _, objects in read.values() for name, *_ in objects})
    classes = known if classes is None else check_classes(classes, known, str(files.where))
    numbers = {name: number for number, name in enumerate(classes)}
    rows = [_row(read[name][1], numbers) for name in names]
    mask_names = files_of(names, by_stem(files, "SegmentationClass"), "mask in SegmentationClass/", files) if masks else []
    mask = (lambda i, size: read_mask(files, mask_names[i], size, len(known) + 1, _VOID, max_pixels)) if masks else None
    sizes = [read[name][0] for name in names]
    return Boxed(files, images, classes, options, rows=rows, sizes=sizes, max_boxes=max_boxes, mask=mask)
