"""Detection of data set layouts: which reader reads a folder or archive."""

import json
from pathlib import Path

from jaxvision.data.image_files import class_folders, is_image, top_level
from jaxvision.data.paths import contents, existing, existing_folder, listed, unreadable
from jaxvision.data.readers import cifar, coco, idx, image_folder, image_list, imagenet, mask_pairs, npz, voc
from jaxvision.data.storage import Files, open_files

_TFDS = "NAME/VERSION/dataset_info.json next to array_record files"
_ANY = "a folder or archive of image data"
_TABULAR = (".csv", ".tsv")
_NO_CLASSES = {"images", "labels", "JPEGImages", "SegmentationClass", "SegmentationObject"}  # folders of data sets with masks and boxes


def _find_idx(folder: Path) -> str:
    splits = [split for split in ("train", "test") if all(idx.find_idx(folder, split, kind) for kind in ("images", "labels"))]
    return " and ".join(splits)


def _find_cifar(folder: Path) -> str:
    found = cifar.find_cifar(folder)
    return found.name if found else ""


def _find_npz(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*.npz")))


def _holds_images(files: Files) -> bool:
    try:
        return any(map(is_image, files.top()))
    except OSError:  # ``_find_skipped`` lists all files and reports the error
        return False


def _find_imagenet(files: Files) -> str:
    found = {split: imagenet.split_folder(files, split) for split in ("train", "val")}
    classes = {split: len(imagenet.wnid_folders(inside)) for split, inside in found.items() if inside}
    if not any(classes.values()):
        return ""
    return " and ".join(f"{split} {f'with {count} classes' if count else 'flat'}" for split, count in classes.items())


def _class_names(files: Files) -> list[str]:
    return [name for name in class_folders(files) if name not in _NO_CLASSES and _holds_images(files.within(name))]


def _image_folders(files: Files) -> dict[str, tuple[Files, list[str]]]:
    """{split: (files, classes)} of the image folders: "" for those at the top, else one entry for each folder with the name of a split."""
    files = image_folder.entered(files)
    if found := _class_names(files):
        return {"": (files, found)}
    splits = {name: files.within(name) for name in sorted(image_folder.split_folders(files).values())}
    return {name: (inside, classes) for name, inside in splits.items() if (classes := _class_names(inside))}


def _find_classes(files: Files) -> str:
    found = _image_folders(files)
    if "" in found:
        classes = found[""][1]
        return f"{len(classes)} classes: {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}"
    return f"one each in {', '.join(found)}" if found else ""


def _find_skipped(files: Files) -> str:
    skipped = (image_folder.skipped_files(*place) for place in _image_folders(files).values())
    return "; ".join(text for text in skipped if text)


def _find_beside(files: Files, *names: str) -> str:
    """Where folders of the given names lie next to each other: at the top or in one of the top-level folders."""
    places = {"the top": files} | {f"{name}/": files.within(name) for name in files.folders}
    found = [place for place, inside in places.items() if set(names) <= set(inside.folders)]
    return listed(found) if found else ""


def _find_voc(files: Files) -> str:
    return _find_beside(files, "Annotations", "JPEGImages")


def _find_pairs(files: Files) -> str:
    return _find_beside(files, "images", "labels")


def _find_coco(folder: Path) -> str:
    names = sorted(path.relative_to(folder).as_posix() for path in (*folder.glob("annotations/*.json"), *folder.glob("*coco*.json")))
    return listed(names) if names else ""


def _find_lists(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _TABULAR)
    return listed(names) if names else ""


def _find_tfds(folder: Path) -> str:
    if _image_folders(open_files(folder, "folder", _ANY)):
        return ""  # avoids listing a million images
    found = []
    for path in sorted([*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]):
        name = path.parent.relative_to(folder).as_posix()
        try:
            kind = json.loads(path.read_text(encoding="utf-8")).get("fileFormat", "tfrecord")
        except (ValueError, OSError, AttributeError) as error:
            found.append(f"{name}, its dataset_info.json cannot be read ({type(error).__name__})")
        else:
            found.append(name if kind == "array_record" else f"{name} as {kind}, which needs TensorFlow")
    return ", ".join(found)


_IN_BOTH = (  # (name, reader, expected layout, function that finds it in a folder or archive)
    ("ImageNet", "jv.data.imagenet", imagenet.EXPECTED, _find_imagenet),
    ("image folder", "jv.data.image_folder", image_folder.EXPECTED, _find_classes),
    ("VOC", "jv.data.voc", voc.EXPECTED, _find_voc),
    ("mask pairs", "jv.data.mask_pairs", mask_pairs.EXPECTED, _find_pairs),
)
_IN_FOLDERS = (  # the same, in folders only
    ("idx files", "jv.data.idx", idx.EXPECTED, _find_idx),
    ("CIFAR", "jv.data.cifar", cifar.EXPECTED, _find_cifar),
    ("npz", "jv.data.npz", npz.EXPECTED, _find_npz),
    ("COCO", "jv.data.coco", coco.EXPECTED, _find_coco),
    ("image list", "jv.data.image_list", image_list.EXPECTED, _find_lists),
    ("tfds", "jv.data.tfds", _TFDS, _find_tfds),
)


def _found(files: Files, folder: Path | None = None) -> tuple[list[str], list[str]]:
    """(layouts, problems): the layouts found, and what could not be read. A problem does not stop the search."""
    found, problems = [], []
    places = [(row, files) for row in _IN_BOTH] + [(row, folder) for row in _IN_FOLDERS if folder]
    searches = [(f"{name} ({{}}; {reader})", find, place) for (name, reader, _, find), place in places]
    for form, find, place in [*searches, ("{}", _find_skipped, files)]:
        try:
            if what := find(place):
                found.append(form.format(what))
        except (OSError, ValueError) as error:
            from_system = isinstance(error, OSError) and error.errno  # an error of the operating system, without the argument's name
            problems.append(str(unreadable("folder", error.filename, error) if from_system else error))
    return found, problems


def _found_archives(folder: Path) -> tuple[list[str], list[str]]:
    """As ``_found``, for the archives in a folder."""
    found, problems = [], []
    for archive in sorted(folder.glob("*.zip")):
        try:
            inside, wrong = _found(open_files(archive, "folder", _ANY))
        except (OSError, ValueError) as error:
            inside, wrong = [], [str(error)]
        found += [f"{archive.name} with {'; '.join(inside)}"] if inside else []
        problems += wrong
    return found, problems


def survey(folder: str | Path) -> tuple[list[str], list[str]]:
    """(facts, problems): the known layouts in a folder or .zip, and what is wrong there; one line each.

    A problem is anything that cannot be read (the search continues), or a folder without a known layout. Raises as ``describe``.

    >>> import tempfile, pathlib
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "labels.csv").write_text("path,label")
    ...     facts, problems = jv.data.survey(folder)
    >>> len(facts), len(problems)
    (1, 0)
    """
    path = existing(folder, "folder", _ANY)
    if path.is_file() and path.suffix.lower() == ".zip":
        files = open_files(path, "folder", _ANY)
        found, problems = _found(files)
        holds, rows = top_level(files), _IN_BOTH
    else:
        path = existing_folder(path if path.is_dir() else path.absolute().parent, "folder", _ANY)
        kinds = (_found(open_files(path, "folder", _ANY), path), _found_archives(path))
        found, problems = (sum(lists, []) for lists in zip(*kinds, strict=True))
        holds, rows = contents(path), (*_IN_BOTH, *_IN_FOLDERS)
    if not found:
        expected = "; ".join(f"{name} ({reader}): {form}" for name, reader, form, _ in rows)
        problems.append(f"{path}: contains {holds}, which is no known layout. Expected one of {expected}.")
    return [f"{path}: found {'; '.join(found)}."] if found else [], list(dict.fromkeys(problems))


def describe(folder: str | Path) -> str:
    """One paragraph: the known layouts in a folder or .zip and their readers, or the layouts that were expected if there is none.

    Archives in the folder are included, and what cannot be read is named. A path to another file describes the folder that contains it.

    Raises FileNotFoundError, PermissionError or, for a damaged archive, ValueError, in one line.

    >>> import tempfile, pathlib
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "labels.csv").write_text("path,label")
    ...     print(jv.data.describe(folder).partition(": ")[2])
    found image list (labels.csv; jv.data.image_list).
    """
    facts, problems = survey(folder)
    return " ".join([*facts, *problems])
