"""Reader for lists of images: a CSV file that names them and their labels."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.paths import existing_file, listed, printable, unreadable
from jaxvision.data.readers.image_folder import ImageFiles
from jaxvision.data.storage import Files, open_files

EXPECTED = "a CSV file with a header and the columns of images and labels"
_DENSE = 1000  # labels below this need no class names, however few rows there are


def _rows(file: Path, columns: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """(where, image, label) of every row; ``where`` begins a message about it."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            delimiter = "\t" if "\t" in lines.readline() else ","
            lines.seek(0)
            reader = csv.reader(lines, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in columns if name not in header]:
                raise ValueError(f"file: {file} has the columns {listed(header)}, expected {', '.join(missing)}: image= and label= tell")
            places = [header.index(name) for name in columns]
            for row in reader:
                where = f"file: {file}, line {reader.line_num}"
                if len(row) != len(header):
                    raise ValueError(f"{where}: found {len(row)} fields, expected {len(header)}")
                image, label = (row[place].strip() for place in places)
                if not image or not label:
                    raise ValueError(f"{where}: found no {columns[bool(image)]}, expected one in every row")
                yield where, image, label
    except OSError as error:
        raise unreadable("file", file, error) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"file: {file} cannot be read as CSV ({error}), expected {EXPECTED}, in UTF-8") from error


def _inside(name: str, where: str, files: Files) -> str:
    """A listed name as the storage knows it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise ValueError(f"{where}: {printable(name)} leads out of {files.where}, expected a path relative to it: folder= says to what")
    name = path.as_posix()
    if not files.holds(name):
        raise FileNotFoundError(f"{where}: {printable(files.path(name))} is no file, expected an image: folder= says where it lies")
    return name


def _numbered(rows: list[tuple], classes: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """The labels as numbers, and the classes: labels are numbers when all of them are, else names."""
    if not all(label.isdecimal() for *_, label in rows):
        classes = sorted({label for *_, label in rows}) if classes is None else list(classes)
        numbers = {name: number for number, name in enumerate(classes)}
        for where, _, label in rows:
            if label not in numbers:
                raise ValueError(f"{where}: label {printable(label)} is none of the classes {listed(classes)}")
        return [numbers[label] for *_, label in rows], classes
    where, _, highest = max(rows, key=lambda row: int(row[2]))
    limit = max(len(rows), _DENSE) if classes is None else len(classes)
    if int(highest) >= limit:
        raise ValueError(f"{where}: label {highest}, expected 0..{limit - 1}: classes=[...] names them all")
    return [int(label) for *_, label in rows], [str(number) for number in range(int(highest) + 1)] if classes is None else list(classes)


def image_list(
    file: str | Path,
    folder: str | Path | None = None,
    *,
    image: str = "path",
    label: str = "label",
    classes: Sequence[str] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
):
    """The images that a CSV file lists, with a header, commas or tabs; RGB [H, W, 3] uint8, upright.

    ``image``, ``label``: the names of its columns. Images are paths relative to ``folder`` (a folder or .zip; by default the list's own).
    Labels are numbers 0..K-1, or names of ``classes`` (all that occur, sorted, without). The rest as in ``image_folder``. Raises
    ValueError or FileNotFoundError, with the line, for a row that is not so, PermissionError for a list that may not be read.
    """
    decoding = check_decoding("jv.data.image_list", background, max_pixels)
    file = existing_file(file, "file", EXPECTED)
    files = open_files(file.absolute().parent if folder is None else folder, "folder", "a folder or .zip of the listed images")
    rows = list(_rows(file, (image, label)))
    if not rows:
        raise ValueError(f"file: {file} has a header and no rows, expected one for every image")
    names = [_inside(name, where, files) for where, name, _ in rows]
    labels, classes = _numbered(rows, classes)
    return ImageFiles(files, names, np.array(labels, np.int64), classes, decoding)
