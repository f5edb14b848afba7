"""What lies in a folder or archive: which of the known layouts of image data, for people who wonder what to type."""

import json
from pathlib import Path

from jaxvision.data import cifar_files, coco_files, compressed, folders, imagenet_files, lists, mask_files, mnist, voc_files
from jaxvision.data.paths import contents, existing, existing_folder, listed
from jaxvision.data.storage import Files, open_files

_TFDS = "NAME/VERSION/dataset_info.json beside array_record files"
_ANY = "a folder or archive of image data"
_TABULAR = (".csv", ".tsv")
_NO_CLASSES = {"images", "labels", "JPEGImages", "SegmentationClass", "SegmentationObject"}  # what masks and annotations go with


def _find_idx(folder: Path) -> str:
    splits = [split for split in ("train", "test") if all(mnist.find_idx(folder, split, kind) for kind in ("images", "labels"))]
    return " and ".join(splits)


def _find_cifar(folder: Path) -> str:
    found = cifar_files.find_cifar(folder)
    return found.name if found else ""


def _find_npz(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*.npz")))


def _holds_images(files: Files) -> bool:
    return any(map(folders.is_image, files.top()))


def _find_imagenet(files: Files) -> str:
    found = {split: imagenet_files.split_folder(files, split) for split in ("train", "val")}
    classes = {split: len(imagenet_files.wnid_folders(inside)) for split, inside in found.items() if inside}
    if not any(classes.values()):
        return ""
    return " and ".join(f"{split} {f'with {count} classes' if count else 'flat'}" for split, count in classes.items())


def _class_names(files: Files) -> list[str]:
    return [name for name in folders.class_folders(files) if name not in _NO_CLASSES and _holds_images(files.within(name))]


def _find_classes(files: Files) -> str:
    files = folders.entered(files)
    if found := _class_names(files):
        return f"{len(found)} classes: {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}"
    splits = sorted(name for name in folders.split_folders(files).values() if _class_names(files.within(name)))
    return f"one each in {', '.join(splits)}" if splits else ""


def _find_beside(files: Files, *names: str) -> str:
    """Where folders of the given names lie side by side: at the top or in one of its folders."""
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
    if _find_classes(open_files(folder, "folder", _ANY)):
        return ""  # spares a long walk through a million images
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


_IN_BOTH = (  # (called, read by, what is expected, what finds it in a folder or an archive)
    ("ImageNet", "jv.data.imagenet", imagenet_files.EXPECTED, _find_imagenet),
    ("image folder", "jv.data.image_folder", folders.EXPECTED, _find_classes),
    ("VOC", "jv.data.voc", voc_files.EXPECTED, _find_voc),
    ("mask pairs", "jv.data.mask_pairs", mask_files.EXPECTED, _find_pairs),
)
_IN_FOLDERS = (  # the same, in a folder alone
    ("idx files", "jv.data.idx", mnist.EXPECTED, _find_idx),
    ("CIFAR", "jv.data.cifar", cifar_files.EXPECTED, _find_cifar),
    ("npz", "jv.data.npz", compressed.EXPECTED, _find_npz),
    ("COCO", "jv.data.coco", coco_files.EXPECTED, _find_coco),
    ("image list", "jv.data.image_list", lists.EXPECTED, _find_lists),
    ("tfds", "jv.data.tfds", _TFDS, _find_tfds),
)


def _found(files: Files, folder: Path | None = None) -> list[str]:
    places = [(row, files) for row in _IN_BOTH] + [(row, folder) for row in _IN_FOLDERS if folder]
    return [f"{called} ({what}; {reader})" for (called, reader, _, find), place in places if (what := find(place))]


def describe(folder: str | Path) -> str:
    """One paragraph: which known layouts a folder or .zip holds and what reads them, or, when it holds none, what each would be like.

    So are the archives in a folder; any other file is described by the folder that it lies in. Raises FileNotFoundError, PermissionError
    or, for a damaged archive, ValueError, in one line.
    """
    path = existing(folder, "folder", _ANY)
    if path.is_file() and path.suffix.lower() == ".zip":
        files = open_files(path, "folder", _ANY)
        found, holds, rows = _found(files), folders.held(files), _IN_BOTH
    else:
        path = existing_folder(path if path.is_dir() else path.absolute().parent, "folder", _ANY)
        found, holds, rows = _found(open_files(path, "folder", _ANY), path), contents(path), (*_IN_BOTH, *_IN_FOLDERS)
        for archive in sorted(path.glob("*.zip")):
            inside = _found(open_files(archive, "folder", _ANY))
            found += [f"{archive.name} with {'; '.join(inside)}"] if inside else []
    if found:
        return f"{path}: found {'; '.join(found)}."
    expected = "; ".join(f"{called} ({reader}): {form}" for called, reader, form, _ in rows)
    return f"{path}: holds {holds}, none of the known layouts. Expected one of {expected}."
