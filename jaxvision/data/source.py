"""What a data source is, the in-memory source that most readers return, and sources that are parts of others.

A source is any object with the four members of ``Source``. It may also have

    source.take(indices)              -> {"image": [n, H, W, C], "label": [n]}: many examples at once, with the fields of source[i]
    source.draw(i, *, seed, epoch)    -> an example that differs between epochs, a pure function of its arguments; training uses it
    source.view(i, choose)            -> as source[i], with a resized part of its image: ``choose(height, width)`` returns the part and its
                                         size, ((top, left, height, width), (h, w)); a file may then be decoded at reduced scale
    source.labels_fit_classes = True  if labels are slow to read and known to fit the classes; ``check`` then does not read them
    source.streams                    {name: (source, ratio)}: additional streams, see ``together``

Examples may be read from several threads at once.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from jaxvision.data._order import hashes


class Source(Protocol):
    """The type of data sources: random access to examples, with labels and class names.

    ``source[i]`` is {"image": [H, W, C] uint8, or float in [0, 1]; "label": int, or [K] float32 for several labels at once; ...}. Other
    numeric fields of an example go into the batch as they are. An example that cannot be read raises BrokenImage. Any object with these
    four members is a source, no base class is needed.

    >>> import jaxvision as jv
    >>> source: jv.data.Source = jv.data.digits("train")
    >>> len(source), source.classes[:3], source[0]["image"].shape
    (1438, ['0', '1', '2'], (32, 32, 1))
    """

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their labels."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """[N] int64, or [N, K] float32 for several labels at once; known without decoding an image."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> dict[str, Any]: ...


class _Arrays:
    """Images and labels in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: list[str]):
        self.images, self.labels, self.classes = images, labels, classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict:
        label = self.labels[i]
        return {"image": self.images[i], "label": int(label) if self.labels.ndim == 1 else label}

    def take(self, indices: np.ndarray) -> dict:
        """The examples at ``indices`` [n], stacked."""
        return {"image": self.images[indices], "label": self.labels[indices]}


class Wrapped:
    """A source that wraps another: it has the same length, classes, labels and additional streams."""

    def __init__(self, source: Source):
        self.source, self.classes = source, source.classes
        self.labels_fit_classes = getattr(source, "labels_fit_classes", False)
        self.streams = dict(getattr(source, "streams", {}))

    @property
    def labels(self) -> np.ndarray:
        """The labels of the wrapped source."""
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        return self.source[i]


class _Subset(Wrapped):
    """Some examples of a source, in a given order; it has ``take``, ``draw`` and ``view`` if the source has them."""

    def __init__(self, source: Source, indices: np.ndarray):
        super().__init__(source)
        self.indices = indices
        if hasattr(source, "take"):
            self.take = lambda rows: source.take(indices[rows])
        if hasattr(source, "draw"):
            self.draw = lambda i, *, seed, epoch: source.draw(int(indices[i]), seed=seed, epoch=epoch)
        if hasattr(source, "view"):
            self.view = lambda i, choose: source.view(int(indices[i]), choose)

    @property
    def labels(self) -> np.ndarray:
        """The labels of these examples."""
        return self.source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict:
        return self.source[int(self.indices[i])]


class _WithStreams(Wrapped):
    """A source with additional streams."""

    def __init__(self, source: Source, streams: dict[str, tuple]):
        super().__init__(source)
        self.streams |= streams
        for name in ("take", "draw", "view"):
            if hasattr(source, name):
                setattr(self, name, getattr(source, name))


class _WithoutImages(Wrapped):
    """A source in memory without its images."""

    def __getitem__(self, i: int) -> dict:
        return {name: value for name, value in self.source[i].items() if name != "image"}

    def take(self, indices: np.ndarray) -> dict:
        """The examples at ``indices`` [n], stacked."""
        return {name: value for name, value in self.source.take(indices).items() if name != "image"}


def plain_number(value: object) -> int | float | None:
    """A Python or numpy number as a Python number, float32(0.1) as 0.1; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return int(value) if isinstance(value, int | np.integer) else float(str(value))


def _read_images(images) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]  # [N, H, W, 1]
    if images.ndim != 4:
        raise ValueError(f"images: found shape {images.shape}, expected [N, H, W, C] or [N, H, W]")
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise ValueError(f"images: found shape {images.shape}, channels first, expected [N, H, W, C]: pass images.transpose(0, 2, 3, 1)")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"images: found dtype {images.dtype}, expected uint8 in 0..255 or a float in [0, 1]: pass images.astype('uint8')")
    if images.size and not 0 <= images.min() <= images.max() <= 1:  # False for NaN too
        found = f"floats from {images.min():g} to {images.max():g}"
        raise ValueError(f"images: found {found}, expected [0, 1]: divide by 255 and normalize in the augmentation")
    return images.astype(np.float32, copy=False)


def _read_labels(labels) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and (np.issubdtype(labels.dtype, np.number) or labels.dtype == bool):
        return labels.astype(np.float32)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: found {labels.dtype} of shape {labels.shape}, expected integers [N] or [N, 1], or vectors [N, K]")
    return labels.astype(np.int64)


def stratified(labels: np.ndarray, fraction: float, *, seed: int) -> np.ndarray:
    """Which examples are held out, [N] bool: ``fraction`` of each class and of the whole, to within one example.

    Examples are sorted by class and, within a class, by hash; every 1/fraction-th of them is held out.
    """
    strata = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)  # [N]
    ranked = np.lexsort((hashes(len(labels), seed), strata))
    marks = np.floor(np.arange(len(labels) + 1) * fraction + 0.5)
    held_out = np.empty(len(labels), bool)
    held_out[ranked] = np.diff(marks) > 0
    return held_out


def arrays(images: ArrayLike, labels: ArrayLike, *, classes: Sequence[str] | None = None) -> Source:
    """A source of arrays in memory.

    ``images``: [N, H, W, C] or [N, H, W], uint8 or floats in [0, 1]; ``labels``: integers [N] or [N, 1], or several at once [N, K];
    ``classes``: their names, by default "0", "1", ...

    Raises ValueError or TypeError for other shapes, types and counts.

    >>> import numpy as np
    >>> import jaxvision as jv
    >>> source = jv.data.arrays(np.zeros((2, 8, 8), np.uint8), [0, 1], classes=["cat", "dog"])
    >>> source[1]["image"].shape, source[1]["label"]
    ((8, 8, 1), 1)
    """
    images, labels = _read_images(images), _read_labels(labels)
    if len(images) != len(labels):
        raise ValueError(f"images, labels: found {len(images)} images and {len(labels)} labels, expected the same number of both")
    if classes is None:
        count = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1
        classes = [str(number) for number in range(count)]
    return _Arrays(images, labels, list(classes))


def _stream_of(name: str, pair: object) -> tuple:
    """(source, ratio) of an additional stream; raises TypeError for anything else."""
    parts = pair if isinstance(pair, tuple | list) else (pair,)
    if len(parts) != 2 or not hasattr(parts[0], "__len__") or plain_number(parts[1]) is None:
        found = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"{name}: found ({found}), expected a source and a ratio, such as {name}=(source, 7)")
    return parts[0], plain_number(parts[1])


def together(source: Source, **streams: tuple[Source, float]) -> Source:
    """A source with additional streams of examples: ``together(labelled, unlabelled=(photos, 7))``.

    Each stream is (source, ratio). A batch of b examples then contains, under the stream's name, a batch of ratio * b of its examples, with
    fields of its own (``image``, ``label``, ``index``, ``epoch``, ...) and an order of its own. The length of an epoch is that of
    ``source``; a stream counts its own epochs.

    Raises TypeError for a stream that is not such a pair. Raises ValueError for an empty stream, a ratio that is not positive, or a name
    that is already a field of a batch.

    >>> import jaxvision as jv
    >>> labelled, rest = jv.data.split(jv.data.digits("train"), 0.9)
    >>> source = jv.data.together(labelled, unlabelled=(jv.data.unlabelled(rest), 7))
    >>> batch = next(jv.data.batches(source, 4))
    >>> batch["image"].shape, batch["unlabelled"]["image"].shape
    ((4, 32, 32, 1), (28, 32, 32, 1))
    """
    checked = {name: _stream_of(name, pair) for name, pair in streams.items()}
    for name, (other, ratio) in checked.items():
        if name in ("image", "label", "index", "epoch"):
            raise ValueError(f"{name}: a batch has a field of that name already, expected another name, such as unlabelled=(source, 7)")
        if not len(other) or not 0 < ratio < np.inf:
            raise ValueError(f"{name}: found {len(other)} examples and ratio {ratio}, expected at least one example and a ratio above 0")
    return _WithStreams(source, checked)


def without_images(source: Source) -> Source:
    """A source in memory (one with ``take``) whose examples have no image, for a step whose images are already on the device.

    >>> import jaxvision as jv
    >>> source = jv.data.without_images(jv.data.digits("test"))
    >>> sorted(next(jv.data.batches(source, 4)))
    ['epoch', 'index', 'label']
    """
    return _WithoutImages(source)


def subset(source: Source, indices: ArrayLike) -> Source:
    """The examples of ``source`` at ``indices`` [n] int, in that order, or where a mask [N] bool is true.

    Raises IndexError for an index out of range, ValueError for a mask of another length and for indices that are not integers.

    >>> import jaxvision as jv
    >>> source = jv.data.digits("test")
    >>> threes = jv.data.subset(source, source.labels == 3)
    >>> set(threes.labels.tolist())
    {3}
    """
    indices = np.asarray(indices).reshape(-1)  # [n]
    if indices.dtype == bool:
        if len(indices) != len(source):
            raise ValueError(f"indices: found a mask of {len(indices)} values, expected one for each of {len(source)} examples")
        indices = np.flatnonzero(indices)
    if len(indices) and indices.dtype.kind not in "iu":
        raise ValueError(f"indices: found {indices.dtype}, expected integers or a mask of booleans")
    indices = indices.astype(np.int64)
    wrong = indices[(indices < 0) | (indices >= len(source))]
    if len(wrong):
        raise IndexError(f"indices: found {wrong[0]}, expected 0..{len(source) - 1}")
    return _Subset(source, indices)


def split(source: Source, fraction: float, *, seed: int = 0) -> tuple[Source, Source]:
    """(rest, held_out): two sources without common examples; ``held_out`` has ``fraction`` of each class, to within one example.

    A pure function of the labels and ``seed``. Raises ValueError if ``fraction`` is not between 0 and 1 or one of the two would be empty.

    >>> import jaxvision as jv
    >>> train, validation = jv.data.split(jv.data.digits("train"), 0.1)
    >>> len(train), len(validation)
    (1294, 144)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: found {fraction}, expected a number between 0 and 1")
    held_out = stratified(np.asarray(source.labels), fraction, seed=seed)
    if held_out.all() or not held_out.any():
        raise ValueError(f"fraction: found {fraction} of {len(held_out)} examples, which leaves one part empty, expected examples in both")
    return subset(source, np.flatnonzero(~held_out)), subset(source, np.flatnonzero(held_out))
