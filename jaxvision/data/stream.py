"""Batches: a few threads read ahead, in an order that no thread can change."""

import collections
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxvision.data.sequence import positions

_OWN = ("index", "epoch", "valid")  # what the stream says about an example; its own fields of that name give way
_NARROW = {np.dtype(np.int64): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.float32)}  # the widths that JAX computes in


class _Reader:
    """Reads examples into the rows of a batch; every field has the shape and type that it has in the first example read."""

    def __init__(self, source, seed: int):
        self.source, self.seed, self.stop = source, seed, threading.Event()
        self.draws, self.takes = hasattr(source, "draw"), hasattr(source, "take")

    def example(self, batch: dict, row: int) -> dict[str, np.ndarray]:
        """The numeric fields of the example that belongs in a row."""
        index = int(batch["index"][row])
        drawn = self.draws and "epoch" in batch
        found = self.source.draw(index, seed=self.seed, epoch=int(batch["epoch"][row])) if drawn else self.source[index]
        fields = {name: np.asarray(value) for name, value in found.items() if name not in _OWN}
        return {name: value for name, value in fields.items() if value.dtype.kind in "biuf"}

    def look(self, places: dict[str, np.ndarray]) -> None:
        """Learn from the first example what the fields are."""
        self.first = int(places["index"][0])
        self.fields = {name: (value.shape, value.dtype) for name, value in self.example(places, 0).items()}

    def room(self, places: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch for the examples at ``places``, not yet filled."""
        count = len(places["index"])
        return {name: np.empty((count, *shape), _NARROW.get(dtype, dtype)) for name, (shape, dtype) in self.fields.items()} | places

    def fill(self, batch: dict, rows: range) -> None:
        """Read the examples of some rows of a batch."""
        if self.takes and not (self.draws and "epoch" in batch):
            found = self.source.take(batch["index"][rows.start : rows.stop])
            for name in self.fields:
                batch[name][rows.start : rows.stop] = found[name]
            return
        for row in rows:
            if self.stop.is_set():
                return
            example = self.example(batch, row)
            self.check(example, int(batch["index"][row]))
            for name, value in example.items():
                batch[name][row] = value

    def check(self, example: dict, index: int) -> None:
        """Raises ValueError for an example that does not fit beside the first."""
        found = {name: (value.shape, value.dtype) for name, value in example.items()}
        if found == self.fields:
            return
        name = next(name for name in {**self.fields, **found} if found.get(name) != self.fields.get(name))
        there, here = (" ".join(map(str, form)) if form else "nothing" for form in (self.fields.get(name), found.get(name)))
        fix = ": jv.data.random_crops(source, size) or center_crops(source, size) makes one of them" if name == "image" else ""
        examples = f"example {self.first} has {there}, example {index} has {here}"
        raise ValueError(f"{name}: {examples}, expected one shape and type in a batch{fix}")


def _begin(reader: _Reader, places: dict, pool: ThreadPoolExecutor | None, threads: int) -> tuple[dict, list[Callable]]:
    """A batch that is being read, and functions: it is complete when each has returned."""
    batch, count = reader.room(places), len(places["index"])
    share = -(-count // max(threads, 1))
    parts = [functools.partial(reader.fill, batch, range(first, min(first + share, count))) for first in range(0, count, share)]
    return batch, [pool.submit(part).result for part in parts] if pool else parts


def _stream(reader: _Reader, places: Iterator[dict], threads: int, prefetch: int) -> Iterator[dict]:
    """The batches at ``places``; at most ``prefetch`` of them are read, or half read, before they are asked for."""
    pool = ThreadPoolExecutor(threads, "jaxvision-data") if threads else None
    pending = collections.deque()
    try:
        first = next(places, None)
        if first is None:
            return
        reader.look(first)
        places = itertools.chain([first], places)
        while True:
            while len(pending) <= (prefetch if pool else 0) and (here := next(places, None)) is not None:
                pending.append(_begin(reader, here, pool, threads))
            if not pending:
                return
            batch, parts = pending.popleft()
            for finish in parts:
                finish()
            yield batch
    finally:
        reader.stop.set()
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)  # threads end after the example in hand; this may run inside one of them


def _training_places(length: int, batch_size: int, seed: int, numbers: Iterator[int], rows: tuple[int, int]) -> Iterator[dict]:
    for step in numbers:
        index, epoch = positions(length, step * batch_size + rows[0], rows[1] - rows[0], seed=seed)
        yield {"index": index.astype(np.int32), "epoch": epoch.astype(np.int32)}


def _evaluation_places(length: int, batch_size: int, rows: tuple[int, int]) -> Iterator[dict]:
    for begin in range(0, length, batch_size):
        place = np.arange(begin + rows[0], begin + rows[1], dtype=np.int32)
        yield {"index": np.where(place < length, place, 0), "valid": place < length}


def _check(source, batch_size: int, rows: tuple[int, int] | None, threads: int) -> tuple[int, int]:
    """The rows of each batch to read; raises ValueError for arguments that make no sense."""
    if not len(source):
        raise ValueError("source: it is empty, expected at least one example")
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected at least 1")
    if threads < 0:
        raise ValueError(f"threads: found {threads}, expected 0 (the caller's thread) or more")
    first, stop = (0, batch_size) if rows is None else rows
    if not 0 <= first < stop <= batch_size:
        raise ValueError(f"rows: found ({first}, {stop}), expected 0 <= first < stop <= batch_size, which is {batch_size}")
    return first, stop


def batches(
    source,
    batch_size: int,
    *,
    seed: int = 0,
    start: int = 0,
    steps: int | None = None,
    rows: tuple[int, int] | None = None,
    threads: int = 2,
    prefetch: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
    """Training batches from step ``start`` on, ``steps`` of them or without end: dicts of numpy arrays, a row an example.

    ``image`` [b, H, W, C], ``label`` [b] int32 or [b, K] float32, ``index`` [b] int32 (position in the source), ``epoch`` [b] int32, and
    the further numeric fields of the examples. A pure function of (source, batch_size, seed, step): each epoch has every example once,
    batches run across its end. ``rows=(first, stop)``: this process's rows of each batch, b = stop - first. ``threads``: that read (0: the
    caller's). ``prefetch``: batches read ahead. Closing or dropping the iterator ends the threads; what goes wrong in one is raised here.
    Raises ValueError for examples that differ in shape.
    """
    rows = _check(source, batch_size, rows, threads)
    for name, value in (("start", start), ("steps", steps or 0), ("prefetch", prefetch)):
        if value < 0:
            raise ValueError(f"{name}: found {value}, expected at least 0")
    numbers = itertools.count(start) if steps is None else iter(range(start, start + steps))
    return _stream(_Reader(source, seed), _training_places(len(source), batch_size, seed, numbers, rows), threads, prefetch)


def padded_batches(source, batch_size: int, *, rows: tuple[int, int] | None = None, threads: int = 2) -> Iterator[dict[str, np.ndarray]]:
    """Evaluation batches: examples 0..N-1 in order, the last batch filled up with example 0.

    As ``batches``, without ``epoch`` and with ``valid`` [b] bool, false where the row only fills up.
    """
    rows = _check(source, batch_size, rows, threads)
    return _stream(_Reader(source, 0), _evaluation_places(len(source), batch_size, rows), threads, 2)
