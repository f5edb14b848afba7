"""Reader of data sets prepared by tensorflow-datasets; those in ArrayRecord files need no TensorFlow."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxvision.data.decoding import Choose, decode, decode_part
from jaxvision.data.paths import need
from jaxvision.data.source import Source

_WITHOUT_TENSORFLOW = ("array_record", "parquet")  # formats with random access
_FRACTION_OF_MEMORY = 0.5
_TOOLS = "pip install tensorflow-cpu apache-beam mlcroissant"  # which the command tfds needs


class _Prepared:
    """Random access to one split; an image is decoded when it is read."""

    labels_fit_classes = True  # tensorflow-datasets checks this when it prepares them

    def __init__(self, examples, name: str, classes: list[str], channels: int):
        self.examples, self.name, self.classes, self.channels = examples, name, classes, channels

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """[N] int64; the first use reads every record, without decoding the images."""
        return np.array([self.examples[i]["label"] for i in range(len(self))], np.int64)

    def __len__(self) -> int:
        return len(self.examples)

    def _read(self, i: int, decoder: Callable, *options) -> dict:
        i = range(len(self))[i]
        example = self.examples[i]
        image = decoder(example["image"], f"{self.name}[{i}]", *options)  # [H, W, 3]
        return {**example, "image": image[..., : self.channels], "label": int(example["label"])}

    def __getitem__(self, i: int) -> dict:
        return self._read(i, decode)

    def view(self, i: int, choose: Choose) -> dict:
        """Example i with a resized part of its image, see ``jaxvision.data.source``."""
        return self._read(i, decode_part, choose)


def _tensorflow(reason: str, conversion: str):
    """Import TensorFlow with all accelerators hidden from it, because it would allocate their memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow = need("tensorflow", install=f"tensorflow-cpu, or make it ArrayRecord elsewhere: {conversion}", reason=reason)
    for kind in ("GPU", "TPU"):
        tensorflow.config.set_visible_devices([], kind)
    return tensorflow


def _in_memory(library, builder, split: str, name: str) -> list[dict]:
    """The records of a split with encoded images, read by TensorFlow. Raises ValueError if they do not fit into memory."""
    info, kind = builder.info, builder.info.file_format.value
    conversion = f"{_TOOLS} && tfds convert_format --dataset_version_dir={builder.data_path} --out_file_format=array_record"
    _tensorflow(f"{name}, prepared as {kind},", conversion)
    fraction = info.splits[split].num_examples / sum(part.num_examples for part in info.splits.values())
    size = fraction * sum(part.num_bytes for part in info.splits.values())
    free = need("psutil", install="psutil", reason="jv.data.tfds").virtual_memory().available
    if size > _FRACTION_OF_MEMORY * free:
        found = f"{size / 2**30:.1f} GiB as {kind}, which has no random access, and {free / 2**30:.1f} GiB of free memory"
        raise ValueError(f"{name}: found {found}, expected at most half of that: convert it with {conversion}")
    options = library.ReadConfig(interleave_cycle_length=1, try_autocache=False)  # in the order of the files; no second copy in memory
    dataset = builder.as_dataset(split=split, decoders={"image": library.decode.SkipDecoding()}, read_config=options)
    return list(library.as_numpy(dataset))


def _find(library, name: str, where: Path):
    """The builder of a prepared data set."""
    try:
        builder = library.builder(name, data_dir=where)
        ready = builder.data_path.exists() and bool(builder.info.splits)
    except Exception as error:  # the library raises its own kinds for unknown names, versions and configurations
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(f"name: tensorflow-datasets knows no {name!r} and {where} holds none ({reason})") from error
    if not ready:
        raise FileNotFoundError(
            f"{name}: not prepared in {where}; once, where it may need TensorFlow: "
            f"{_TOOLS} && tfds build {name} --file_format=array_record --data_dir={where}"
        )
    if builder.info.file_format.value in _WITHOUT_TENSORFLOW:
        return builder
    return library.builder_from_directory(builder.data_path)  # only this builder knows the converted formats


def _examples(library, builder, split: str, name: str):
    """The records of a split with random access and encoded images."""
    kinds = [kind.value for kind in (builder.info.file_format, *builder.info.alternative_file_formats)]
    ready = next((kind for kind in kinds if kind in _WITHOUT_TENSORFLOW), None)
    try:
        if ready:
            return builder.as_data_source(split=split, decoders={"image": library.decode.SkipDecoding()}, file_format=ready)
        count = builder.info.splits[split].num_examples
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        names = ", ".join(builder.info.splits)
        raise ValueError(f"split: cannot read {split!r} of {name} in {builder.data_path} ({reason}), expected one of {names}") from error
    return _in_memory(library, builder, split, name) if count else []


def tfds(name: str, split: str, *, data_dir: str | Path | None = None) -> Source:
    """A data set that tensorflow-datasets has prepared, with an "image" and a class "label".

    ``split``: in the notation of that library, such as "train" or "train[:80%]". ``data_dir``: by default $TFDS_DATA_DIR or
    ~/tensorflow_datasets. Nothing is downloaded. Images are RGB, or [H, W, 1] if the data set declares them gray; a broken one raises
    BrokenImage. ArrayRecord and Parquet files have random access and need no TensorFlow. Other formats (TFRecord) need TensorFlow, from
    which accelerators are hidden; their encoded images are read into memory once.

    Raises FileNotFoundError, with the command that prepares the data set, if it is missing. Raises ValueError if it has no such split or no
    class labels, or, with the command that converts it, if a TFRecord data set needs more than half of the free memory.

    >>> import jaxvision as jv
    >>> try: jv.data.tfds("cifar10", "train", data_dir="missing")
    ... except FileNotFoundError as error: print(str(error).partition(";")[0])
    cifar10: not prepared in missing
    """
    need("importlib_resources", install="importlib_resources", reason="jv.data.tfds")  # an undeclared dependency of the library
    library = need("tensorflow_datasets", install="tensorflow-datasets", reason="jv.data.tfds")
    where = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    builder = _find(library, name, where)
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise ValueError(f"{name}: found the features {', '.join(features)}, expected an image and a label with class names")
    examples = _examples(library, builder, split, name)
    if not len(examples):
        raise ValueError(f"split: {split!r} of {name} is empty")
    channels = 1 if features["image"].shape[-1] == 1 else 3
    return _Prepared(examples, f"{name}/{split}", list(features["label"].names), channels)
