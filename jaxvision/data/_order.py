"""The order of training: a pure function of seed, epoch and place, the same with every numpy, thread count and process."""

import functools

import numpy as np

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: splitmix64's increment


def _mix(words: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea, Flood 2014), elementwise on uint64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashes(count: int, *name: int) -> np.ndarray:
    """``count`` random 64-bit words [count] uint64 that belong to the integers ``name``, such as seed, epoch, index."""
    state = np.zeros(1, np.uint64)
    for part in name:
        state = _mix(state + np.array([(int(part) + 1) * _GOLDEN & _WORD], np.uint64))
    return _mix(state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


def uniforms(count: int, *name: int) -> np.ndarray:
    """``count`` random numbers in [0, 1), [count] float64, that belong to the integers ``name``."""
    return (hashes(count, *name) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=4)  # a batch that runs over the end of an epoch needs two, evaluation beside it one more
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    permutation = np.argsort(hashes(length, seed, epoch), kind="stable")
    permutation.flags.writeable = False
    return permutation


def order(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of 0..length-1, [length] int64 (read-only), in which an epoch visits the examples."""
    return _order(int(length), int(seed), int(epoch))


def positions(length: int, first: int, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What stands at places first..first+count of the endless stream of epochs.

    Returns (index [count], epoch [count]), int64. Batch s of size b is the places s*b..(s+1)*b: batches run across the end of an epoch and
    may be larger than the data set; every epoch has each example once. Raises ValueError for an empty data set.
    """
    if length < 1:
        raise ValueError(f"length: found {length}, expected a data set of at least one example")
    epoch, slot = np.divmod(np.arange(first, first + count, dtype=np.int64), length)
    index = np.empty_like(slot)
    for number in np.unique(epoch):
        here = epoch == number
        index[here] = order(length, seed=seed, epoch=number)[slot[here]]
    return index, epoch
