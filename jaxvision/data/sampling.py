"""Selection of examples: all classes equally often, a few examples of each class, or all examples without their labels."""

import functools

import numpy as np

from jaxvision.data._order import hashes
from jaxvision.data.source import Source, Wrapped, plain_number, subset


def _members(source: Source, reason: str) -> dict[int, np.ndarray]:
    """{class: sorted indices of its examples} of classes with examples. Raises ValueError unless each example has one label."""
    labels = np.asarray(source.labels)
    if labels.ndim != 1:
        raise ValueError(f"source: found labels of shape {labels.shape}, expected one class for each example: {reason} needs it")
    if not len(labels):
        raise ValueError("source: it is empty, expected at least one example")
    if labels.min() < 0:
        found = f"{(labels < 0).sum()} examples without a label (below 0)"
        raise ValueError(f"source: found {found}, expected one class for each example: {reason} needs it")
    return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}


class _Balanced(Wrapped):
    """An endless sequence that cycles through the classes; each class cycles through its examples, in a new order each time."""

    def __init__(self, source: Source, seed: int):
        super().__init__(source)
        members = _members(source, "class_balanced")
        self._order = np.array(list(members), np.int64)  # the classes that have examples
        self._permutation = functools.lru_cache(maxsize=2 * len(members))(
            lambda label, number: members[label][np.argsort(hashes(len(members[label]), seed, label, number), kind="stable")]
        )
        self._counts = {label: len(indices) for label, indices in members.items()}

    @property
    def labels(self) -> np.ndarray:
        """The labels of epoch 0."""
        return self._order[np.arange(len(self)) % len(self._order)]

    def _locate(self, i: int, epoch: int) -> tuple[int, int]:
        """(index in the source, number of completed passes through its class) of example i of an epoch."""
        turn, place = divmod(epoch * len(self) + range(len(self))[i], len(self._order))
        label = int(self._order[place])
        number, slot = divmod(turn, self._counts[label])
        return int(self._permutation(label, number)[slot]), number

    def draw(self, i: int, *, seed: int, epoch: int) -> dict:
        """Example i of an epoch. ``draw`` of the wrapped source gets the number of passes as its epoch."""
        index, number = self._locate(i, epoch)
        return self.source.draw(index, seed=seed, epoch=number) if hasattr(self.source, "draw") else self.source[index]

    def __getitem__(self, i: int) -> dict:
        return self.source[self._locate(i, 0)[0]]


class _Unlabelled(Wrapped):
    """The examples of a source with the label -1."""

    def __init__(self, source: Source):
        super().__init__(source)
        self.labels_fit_classes = False
        for name in ("draw", "take", "view"):
            if hasattr(source, name):
                setattr(self, name, functools.partial(self._without_label, getattr(source, name)))

    @property
    def labels(self) -> np.ndarray:
        """-1 for every example."""
        return np.full(len(self), -1, np.int64)

    def _without_label(self, read, where, *arguments, **options) -> dict:
        label = -1 if np.ndim(where) == 0 else np.full(len(where), -1, np.int64)
        return {**read(where, *arguments, **options), "label": label}

    def __getitem__(self, i: int) -> dict:
        return self._without_label(self.source.__getitem__, i)


def class_balanced(source: Source, *, seed: int = 0) -> Source:
    """A source of the same length in which all classes occur equally often, to within one example per epoch.

    Rare classes repeat their examples; frequent ones continue with their remaining examples in the next epoch. An example occurs again only
    after all others of its class. Example i of an epoch of training is a pure function of (seed, epoch, i); ``source[i]`` and ``labels``
    are those of epoch 0. Classes without examples are left out. Apply random crops first: ``class_balanced(random_crops(source, 224))``.

    Raises ValueError if examples have several labels or none.

    >>> import jaxvision as jv
    >>> source = jv.data.arrays([[[0.0]]] * 4, [0, 0, 0, 1])
    >>> jv.data.class_balanced(source).labels.tolist()
    [0, 1, 0, 1]
    """
    return _Balanced(source, seed)


def few_labels(source: Source, amount: float, *, seed: int = 0) -> Source:
    """A part of ``source`` with the same fraction of each class (``amount`` a float, such as 0.01) or count (an int, such as 25).

    A fraction keeps at least one example of each class, so that classes with fewer than 1 / fraction examples are over-represented. With
    the same seed, a larger amount contains all examples of a smaller one.

    Raises ValueError for a fraction outside (0, 1], or a class with fewer examples than the count; TypeError if ``amount`` is not a number.

    >>> import jaxvision as jv
    >>> train = jv.data.digits("train")
    >>> len(jv.data.few_labels(train, 4)), len(jv.data.few_labels(train, 0.1))
    (40, 142)
    """
    number = plain_number(amount)
    if number is None:
        raise TypeError(f"amount: found {type(amount).__name__}, expected a float (fraction of each class) or an int (count of each class)")
    is_fraction = isinstance(number, float)
    if not (0 < number <= 1 if is_fraction else number >= 1):
        raise ValueError(f"amount: found {number}, expected a fraction of each class in (0, 1], or a count of each class, at least 1")
    chosen = []
    for label, indices in _members(source, "few_labels").items():
        count = max(1, round(number * len(indices))) if is_fraction else number
        if count > len(indices):
            raise ValueError(f"amount: found {number}, but class {source.classes[label]!r} has {len(indices)} examples")
        chosen.append(indices[np.argsort(hashes(len(indices), seed, label), kind="stable")[:count]])
    return subset(source, np.sort(np.concatenate(chosen)))


def unlabelled(source: Source) -> Source:
    """The examples of ``source`` with the label -1, so that no method can use their labels.

    For an additional stream of ``together``, and for methods that need no labels. A supervised run refuses such a source.

    >>> import jaxvision as jv
    >>> jv.data.unlabelled(jv.data.digits("train"))[0]["label"]
    -1
    """
    return _Unlabelled(source)
