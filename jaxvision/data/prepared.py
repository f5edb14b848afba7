"""Reader for data sets that tensorflow-datasets has prepared as ArrayRecord files, which need no TensorFlow."""

import functools
import os
from pathlib import Path

import numpy as np

from jaxvision.data.requirement import need


class _Prepared:
    """Random access to one split; images are decoded when they are asked for."""

    labels_fit_classes = True  # tensorflow-datasets saw to it when it prepared them

    def __init__(self, examples, undecoded, classes: list[str]):
        self.examples, self.undecoded, self.classes = examples, undecoded, classes

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """[N] int64; the first use reads every record, without decoding the images."""
        return np.array([self.undecoded[i]["label"] for i in range(len(self))], np.int64)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict:
        example = self.examples[range(len(self))[i]]
        return {**example, "label": int(example["label"])}


def tfds(name: str, split: str, *, data_dir: str | Path | None = None):
    """A prepared tensorflow-datasets data set with an "image" and a class "label"; ``split`` as there: "train", "train[:80%]", ...

    ``data_dir``: $TFDS_DATA_DIR or ~/tensorflow_datasets by default. Reads ArrayRecord files only, nothing is downloaded, TensorFlow is not
    needed. Raises FileNotFoundError, with the command that prepares the data set, when it is not there; ValueError when it has no such
    split or is no image classification.
    """
    need("importlib_resources", install="importlib_resources", reason="jv.data.tfds")  # which the library uses without asking for it
    library = need("tensorflow_datasets", install="tensorflow-datasets", reason="jv.data.tfds")
    where = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    try:
        builder = library.builder(name, data_dir=where, file_format="array_record")
        ready = builder.data_path.exists() and bool(builder.info.splits)
    except Exception as error:  # the library raises its own kinds for unknown names, versions and configurations
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(f"name: tensorflow-datasets knows no {name!r} and {where} holds none ({reason})") from error
    if not ready:
        raise FileNotFoundError(
            f"{name}: not prepared as ArrayRecord in {where}; once, where TensorFlow is installed: "
            f"tfds build {name} --file_format=array_record --data_dir={where}"
        )
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise ValueError(f"{name}: found the features {', '.join(features)}, expected an image and a label with class names")
    try:
        examples = builder.as_data_source(split=split)
        undecoded = builder.as_data_source(split=split, decoders={"image": library.decode.SkipDecoding()})
        length = len(examples)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        held = ", ".join(builder.info.splits)
        raise ValueError(f"split: cannot read {split!r} of {name} in {builder.data_path} ({reason}), it has {held}") from error
    if not length:
        raise ValueError(f"split: {split!r} of {name} is empty")
    return _Prepared(examples, undecoded, list(features["label"].names))
