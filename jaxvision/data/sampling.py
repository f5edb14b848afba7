"""Which examples are drawn, and how often: every class equally often, a few of every class, or all of them without their labels."""

import functools

import numpy as np

from jaxvision.data._order import hashes
from jaxvision.data.source import Wrapped, plain_number, subset


def _members(source, reason: str) -> dict[int, np.ndarray]:
    """{class: the indices of its examples, ascending} of the classes that have any; raises ValueError unless each has one label."""
    labels = np.asarray(source.labels)
    if labels.ndim != 1:
        raise ValueError(f"source: found labels of shape {labels.shape}, several an example, expected one class each: {reason} needs it")
    if not len(labels):
        raise ValueError("source: it is empty, expected at least one example")
    if labels.min() < 0:
        found = f"{(labels < 0).sum()} examples without a label (below 0)"
        raise ValueError(f"source: found {found}, expected one class each: {reason} needs it")
    return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}


class _Balanced(Wrapped):
    """An endless stream in which the classes take turns; each goes through its own examples, in a new order each time round."""

    def __init__(self, source, seed: int):
        super().__init__(source)
        members = _members(source, "class_balanced")
        self._order = np.array(list(members), np.int64)  # the classes that have examples, in the order of their turns
        self._round = functools.lru_cache(maxsize=2 * len(members))(
            lambda label, number: members[label][np.argsort(hashes(len(members[label]), seed, label, number), kind="stable")]
        )
        self._counts = {label: len(indices) for label, indices in members.items()}

    @property
    def labels(self) -> np.ndarray:
        """The labels of epoch 0."""
        return self._order[np.arange(len(self)) % len(self._order)]

    def _found(self, i: int, epoch: int) -> tuple[int, int]:
        """(index in the source, how often its class has been gone through before) of example i of an epoch."""
        turn, place = divmod(epoch * len(self) + range(len(self))[i], len(self._order))
        label = int(self._order[place])
        number, slot = divmod(turn, self._counts[label])
        return int(self._round(label, number)[slot]), number

    def draw(self, i: int, *, seed: int, epoch: int) -> dict:
        """Example i of an epoch. A source that draws is asked for a new draw each time an example comes round."""
        index, number = self._found(i, epoch)
        return self.source.draw(index, seed=seed, epoch=number) if hasattr(self.source, "draw") else self.source[index]

    def __getitem__(self, i: int) -> dict:
        return self.source[self._found(i, 0)[0]]


class _Unlabelled(Wrapped):
    """The examples of a source with the label -1."""

    def __init__(self, source):
        super().__init__(source)
        self.labels_fit_classes = False
        for name in ("draw", "take", "view"):
            if hasattr(source, name):
                setattr(self, name, functools.partial(self._hidden, getattr(source, name)))

    @property
    def labels(self) -> np.ndarray:
        """-1 for every example."""
        return np.full(len(self), -1, np.int64)

    def _hidden(self, read, where, *arguments, **options) -> dict:
        label = -1 if np.ndim(where) == 0 else np.full(len(where), -1, np.int64)
        return {**read(where, *arguments, **options), "label": label}

    def __getitem__(self, i: int) -> dict:
        return self._hidden(self.source.__getitem__, i)


def class_balanced(source, *, seed: int = 0):
    """A source of the same length in which every class occurs equally often, to within one example an epoch.

    Rare classes repeat, frequent ones go on through all their examples from epoch to epoch: an example is drawn again when all others of
    its class have been. Which example stands at i in an epoch of training is a pure function of (seed, epoch, i); ``source[i]`` and
    ``labels`` are those of epoch 0. Classes without examples are left out. Crops and other draws belong inside: ``class_balanced(
    random_crops(source, 224))``. Raises ValueError for a source of several labels an example.
    """
    return _Balanced(source, seed)


def few_labels(source, amount: float | int, *, seed: int = 0):
    """A part of ``source`` with the same share of every class (``amount`` a float: 0.01, 0.1) or as many of each (an int: 4, 25).

    At least one example of every class, which classes that are rarer than 1 / share then have too much of. With one seed a larger amount
    holds all examples of a smaller one. Raises ValueError for a share outside (0, 1], or a class with fewer examples than asked for;
    TypeError for what is no number.
    """
    if (found := plain_number(amount)) is None:
        raise TypeError(f"amount: found {type(amount).__name__}, expected a float (a share of every class) or an int (as many of each)")
    amount, share = found, isinstance(found, float)
    if not (0 < amount <= 1 if share else amount >= 1):
        raise ValueError(f"amount: found {amount}, expected a share of every class in (0, 1], or a whole number of examples of each")
    chosen = []
    for label, indices in _members(source, "few_labels").items():
        count = max(1, round(amount * len(indices))) if share else amount
        if count > len(indices):
            raise ValueError(f"amount: found {amount}, but class {source.classes[label]!r} has {len(indices)} examples")
        chosen.append(indices[np.argsort(hashes(len(indices), seed, label), kind="stable")[:count]])
    return subset(source, np.sort(np.concatenate(chosen)))


def unlabelled(source):
    """The examples of ``source`` with the label -1, so that nothing can learn from their labels.

    For ``together``, beside labelled ones, and for methods that need none; a run that trains a classifier on them alone is refused.
    """
    return _Unlabelled(source)
