"""The order of training examples: a pure function of seed, epoch and position, independent of numpy's version, threads and processes."""

import functools

import numpy as np

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: splitmix64's increment


def _mix(words: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea, Flood 2014), elementwise on uint64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashes(count: int, *name: int) -> np.ndarray:
    """``count`` pseudorandom 64-bit words [count] uint64, a pure function of the integers ``name``, such as seed, epoch and index."""
    state = np.zeros(1, np.uint64)
    for part in name:
        state = _mix(state + np.array([(int(part) + 1) * _GOLDEN & _MASK], np.uint64))
    return _mix(state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


def uniforms(count: int, *name: int) -> np.ndarray:
    """``count`` pseudorandom numbers in [0, 1), [count] float64, a pure function of the integers ``name``."""
    return (hashes(count, *name) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=4)  # a batch that crosses the end of an epoch needs two, a second stream two more
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    permutation = np.argsort(hashes(length, seed, epoch), kind="stable")
    permutation.flags.writeable = False
    return permutation


def order(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the examples: a permutation of 0..length-1, [length] int64, read-only.

    The permutation sorts the splitmix64 hashes of (seed, epoch, index): Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators,
    2014.

    >>> import jaxvision as jv
    >>> sorted(jv.data.order(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    return _order(int(length), int(seed), int(epoch))


def positions(length: int, first: int, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples at the positions first..first+count-1 of the endless sequence of epochs: (index [count], epoch [count]), int64.

    Batch s of size b has the positions s*b..(s+1)*b-1. Batches continue across the end of an epoch and may be larger than the data set;
    each epoch contains each example once. Raises ValueError if ``length`` is below 1.

    >>> import jaxvision as jv
    >>> index, epoch = jv.data.positions(3, 0, 5, seed=0)
    >>> epoch.tolist(), sorted(index[:3].tolist())
    ([0, 0, 0, 1, 1], [0, 1, 2])
    """
    if length < 1:
        raise ValueError(f"length: found {length}, expected at least 1")
    epoch, slot = np.divmod(np.arange(first, first + count, dtype=np.int64), length)
    index = np.empty_like(slot)
    for number in np.unique(epoch):
        here = epoch == number
        index[here] = order(length, seed=seed, epoch=number)[slot[here]]
    return index, epoch
