"""Reader of lists of images: a CSV file with paths and labels."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.image_files import ImageFiles
from jaxvision.data.paths import existing_file, listed, printable, unreadable
from jaxvision.data.source import Source
from jaxvision.data.storage import Files, open_files

EXPECTED = "a CSV file with a header and the columns of images and labels"
_MAX_UNNAMED_CLASSES = 1000  # without class names, labels must be below this or below the number of rows


def _rows(file: Path, columns: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """(position, image, label) of each row; the position is the beginning of an error message."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            delimiter = "\t" if "\t" in lines.readline() else ","
            lines.seek(0)
            reader = csv.reader(lines, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in columns if name not in header]:
                raise ValueError(
                    f"file: {file} has the columns {listed(header)}, expected {', '.join(missing)}: image=, label= name the columns"
                )
            places = [header.index(name) for name in columns]
            for row in reader:
                where = f"file: {file}, line {reader.line_num}"
                if len(row) != len(header):
                    raise ValueError(f"{where}: found {len(row)} fields, expected {len(header)}")
                image, label = (row[place].strip() for place in places)
                if not image or not label:
                    raise ValueError(f"{where}: found no {columns[bool(image)]}, expected one in each row")
                yield where, image, label
    except OSError as error:
        raise unreadable("file", file, error) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"file: {file} cannot be read as CSV ({error}), expected {EXPECTED}, in UTF-8") from error


def _inside(name: str, where: str, files: Files) -> str:
    """The path of a listed image, relative to the folder. Raises an error if there is no such file."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise ValueError(f"{where}: {printable(name)} is not inside {files.where}, expected a path relative to it: pass another folder=")
    name = path.as_posix()
    if not files.holds(name):
        raise FileNotFoundError(f"{where}: {printable(files.path(name))} does not exist, expected an image: folder= is their folder")
    return name


def _numbered(rows: list[tuple], classes: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """(labels as numbers, classes). Labels are numbers if all of them are decimal, else names."""
    if not all(label.isdecimal() for *_, label in rows):
        classes = sorted({label for *_, label in rows}) if classes is None else list(classes)
        numbers = {name: number for number, name in enumerate(classes)}
        for where, _, label in rows:
            if label not in numbers:
                raise ValueError(f"{where}: label {printable(label)} is not one of the classes {listed(classes)}")
        return [numbers[label] for *_, label in rows], classes
    where, _, highest = max(rows, key=lambda row: int(row[2]))
    limit = max(len(rows), _MAX_UNNAMED_CLASSES) if classes is None else len(classes)
    if int(highest) >= limit:
        raise ValueError(f"{where}: label {highest}, expected 0..{limit - 1}: pass the names of all classes as classes=[...]")
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
) -> Source:
    """The images listed in a CSV file with a header, separated by commas or tabs; RGB [H, W, 3] uint8, upright.

    ``image``, ``label``: the names of the two columns. Images are paths relative to ``folder``, a folder or .zip, by default the folder of
    the list. Labels are numbers 0..K-1, or names of ``classes`` (by default all names that occur, sorted). ``background``, ``max_pixels``:
    as in ``read_image``.

    Raises ValueError or FileNotFoundError, with the number of the line, for a row that does not fit; PermissionError.

    >>> import pathlib, tempfile, PIL.Image
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (8, 8)).save(f"{folder}/a.png")
    ...     _ = pathlib.Path(folder, "list.csv").write_text("path,label\\na.png,cat")
    ...     print(jv.data.image_list(f"{folder}/list.csv").classes)
    ['cat']
    """
    decoding = check_decoding("jv.data.image_list", background, max_pixels)
    file = existing_file(file, "file", EXPECTED)
    files = open_files(file.absolute().parent if folder is None else folder, "folder", "a folder or .zip of the listed images")
    rows = list(_rows(file, (image, label)))
    if not rows:
        raise ValueError(f"file: {file} has a header and no rows, expected one for each image")
    names = [_inside(name, where, files) for where, name, _ in rows]
    labels, classes = _numbered(rows, classes)
    return ImageFiles(files, names, np.array(labels, np.int64), classes, decoding)
