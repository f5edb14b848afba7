"""What a data source is, the in-memory source that most readers end in, and parts of a source.

A source is any object with

    len(source)
    source[i]         -> {"image": [H, W, C] uint8, or float in [0, 1]; "label": int, or [K] float32 for several labels at once; ...}
    source.classes    list[str]
    source.labels     [N] int64, or [N, K] float32, known without decoding an image

and, where it helps,

    source.take(indices)              -> {"image": [n, H, W, C], "label": [n]}: many examples at once, with the fields of source[i]
    source.draw(i, *, seed, epoch)    -> an example that differs from epoch to epoch, a pure function of its arguments; training asks for it
    source.view(i, choose)            -> as source[i], with a resized part of its image: ``choose(height, width)`` says which,
                                         ((top, left, height, width), (h, w)); a file may then be decoded at reduced scale
    source.labels_fit_classes = True  where labels are slow to read: all classes occur and nothing else, so that checks need not look
    source.streams                    {name: (source, ratio)}: further streams that travel beside this one, see ``together``

An example that cannot be read raises BrokenImage.

Further fields of an example pass through to the batch where they are numbers. Examples may be read from several threads at once.
"""

from collections.abc import Sequence

import numpy as np

from jaxvision.data._order import hashes


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
    """A source in front of another: its length, its classes, its labels, and, beside it, the same further streams."""

    def __init__(self, source):
        self.source, self.classes = source, source.classes
        self.labels_fit_classes = getattr(source, "labels_fit_classes", False)
        self.streams = dict(getattr(source, "streams", {}))

    @property
    def labels(self) -> np.ndarray:
        """The labels of the source behind it."""
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        return self.source[i]


class _Subset(Wrapped):
    """Some examples of a source, in a given order; as fast as the source, and as random."""

    def __init__(self, source, indices: np.ndarray):
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
        """The labels of the chosen examples."""
        return self.source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict:
        return self.source[int(self.indices[i])]


class _Together(Wrapped):
    """A source beside which others travel."""

    def __init__(self, source, streams: dict[str, tuple]):
        super().__init__(source)
        self.streams |= streams
        for name in ("take", "draw", "view"):
            if hasattr(source, name):
                setattr(self, name, getattr(source, name))


class _WithoutImages(Wrapped):
    """Everything of a source in memory but its images."""

    def __getitem__(self, i: int) -> dict:
        return {name: value for name, value in self.source[i].items() if name != "image"}

    def take(self, indices: np.ndarray) -> dict:
        """The examples at ``indices`` [n], stacked."""
        return {name: value for name, value in self.source.take(indices).items() if name != "image"}


def plain_number(value) -> int | float | None:
    """A number of Python's or numpy's as Python's, float32(0.1) as 0.1; None for anything else."""
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
        raise ValueError(f"images: found shape {images.shape}, channels first, expected [N, H, W, C]: images.transpose(0, 2, 3, 1)")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"images: found dtype {images.dtype}, expected uint8 in 0..255 or a float in [0, 1]: images.astype('uint8')")
    if images.size and not 0 <= images.min() <= images.max() <= 1:  # false for NaN as well
        found = f"floats from {images.min():g} to {images.max():g}"
        raise ValueError(f"images: found {found}, expected [0, 1]: divide by 255 here and normalize in the recipe")
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
    """Which examples are held out, [N] bool: ``fraction`` of every class (to within one example) and of the whole.

    Every 1/fraction-th example is held out of a list that is sorted by class and, within a class, by hash.
    """
    strata = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)  # [N]
    ranked = np.lexsort((hashes(len(labels), seed), strata))
    marks = np.floor(np.arange(len(labels) + 1) * fraction + 0.5)
    held = np.empty(len(labels), bool)
    held[ranked] = np.diff(marks) > 0
    return held


def arrays(images, labels, *, classes: Sequence[str] | None = None):
    """A source of images [N, H, W, C] or [N, H, W] (uint8, or floats in [0, 1]) and labels [N], [N, 1] or several at once [N, K].

    ``classes``: their names; "0", "1", ... without. Raises ValueError or TypeError for other shapes, types and counts.
    """
    images, labels = _read_images(images), _read_labels(labels)
    if len(images) != len(labels):
        raise ValueError(f"images and labels: found {len(images)} images and {len(labels)} labels, expected as many of one as of the other")
    if classes is None:
        count = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1
        classes = [str(number) for number in range(count)]
    return _Arrays(images, labels, list(classes))


def _stream_of(name: str, pair) -> tuple:
    """(source, ratio) of a further stream; raises TypeError for anything else."""
    parts = pair if isinstance(pair, tuple | list) else (pair,)
    if len(parts) != 2 or not hasattr(parts[0], "__len__") or plain_number(parts[1]) is None:
        found = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"{name}: found ({found}), expected a source and a ratio, such as {name}=(source, 7)")
    return parts[0], plain_number(parts[1])


def together(source, **streams: tuple):
    """``source`` with further streams beside it: ``together(labelled, unlabelled=(pictures, 7))``.

    Each is (source, ratio): a batch of b examples then holds, under the stream's name, a batch of ratio x b of its examples (``image``,
    ``label``, ``index``, ``epoch``, ...) in an order of its own. An epoch is one of ``source``; a stream's own epochs go on regardless.
    Raises TypeError for what is no such pair; ValueError for an empty stream, a ratio that is not positive, or the name of a field that a
    batch has anyway.
    """
    found = {name: _stream_of(name, pair) for name, pair in streams.items()}
    for name, (other, ratio) in found.items():
        if name in ("image", "label", "index", "epoch"):
            raise ValueError(f"{name}: a batch has a field of that name, expected another, such as unlabelled=(source, 7)")
        if not len(other) or not 0 < ratio < np.inf:
            raise ValueError(f"{name}: found {len(other)} examples and ratio {ratio}, expected at least one example and a ratio above 0")
    return _Together(source, found)


def without_images(source):
    """A source in memory (with ``take``) whose examples leave their images behind, for steps that find those on the device."""
    return _WithoutImages(source)


def subset(source, indices):
    """The examples of ``source`` at ``indices`` [n] int, in that order, or where a mask [N] bool is true.

    Raises IndexError for one that does not exist, ValueError for a mask of another length and for numbers that are not whole.
    """
    indices = np.asarray(indices).reshape(-1)  # [n]
    if indices.dtype == bool:
        if len(indices) != len(source):
            raise ValueError(f"indices: found a mask of {len(indices)} values, expected one for each of {len(source)} examples")
        indices = np.flatnonzero(indices)
    if len(indices) and indices.dtype.kind not in "iu":
        raise ValueError(f"indices: found {indices.dtype}, expected whole numbers or a mask of booleans")
    indices = indices.astype(np.int64)
    wrong = indices[(indices < 0) | (indices >= len(source))]
    if len(wrong):
        raise IndexError(f"indices: found {wrong[0]}, expected 0..{len(source) - 1}")
    return _Subset(source, indices)


def split(source, fraction: float, *, seed: int = 0):
    """(rest, held_out): two sources that share no example; ``held_out`` has ``fraction`` of every class, to within one example.

    A pure function of the labels and ``seed``. Raises ValueError when one of the two would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: found {fraction}, expected a number between 0 and 1")
    held = stratified(np.asarray(source.labels), fraction, seed=seed)
    if held.all() or not held.any():
        raise ValueError(f"fraction: {fraction} of {len(held)} examples leaves one part empty, expected examples in both")
    return subset(source, np.flatnonzero(~held)), subset(source, np.flatnonzero(held))
