"""Batches: threads (grain's, where it is installed) read ahead, in an order that no thread can change."""

import itertools
import math
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jaxvision.data._order import hashes, order, positions
from jaxvision.data.broken_images import Breakage
from jaxvision.data.decoding import BrokenImage

_OWN = ("index", "epoch", "valid")  # what the stream says about an example; its own fields of that name give way
_NARROW = {np.dtype(np.int64): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.float32)}  # the widths that JAX computes in
_ENDLESS = sys.maxsize
_TOGETHER = 8  # examples that a thread reads before it hands them over: threads that alternate less lose less time


class _Found(NamedTuple):
    """What was read for one row of a batch: an example, or none, and those that were broken on the way to it."""

    index: int
    epoch: int
    fields: dict[str, np.ndarray] | None
    broken: list[tuple[int, BrokenImage]]


class _Reader:
    """Reads the examples of a source; any thread may."""

    def __init__(self, source, seed: int, breakage: Breakage):
        self.source, self.seed, self.breakage, self.length = source, seed, breakage, len(source)
        self.draws = hasattr(source, "draw")

    def fields(self, index: int, epoch: int | None) -> dict[str, np.ndarray]:
        """The numeric fields of an example, as it is in an epoch of training or (None) in evaluation."""
        drawn = self.draws and epoch is not None
        found = self.source.draw(index, seed=self.seed, epoch=epoch) if drawn else self.source[index]
        fields = {name: np.asarray(value) for name, value in found.items() if name not in _OWN}
        return {name: value for name, value in fields.items() if value.dtype.kind in "biuf"}

    def train(self, place: int) -> _Found:
        """The example at a place of the endless stream of epochs; a broken one gives way to the next readable one of its epoch's order."""
        epoch, slot = divmod(place, self.length)
        broken: list[tuple[int, BrokenImage]] = []
        while True:
            index = int(order(self.length, seed=self.seed, epoch=epoch)[slot])
            try:
                return _Found(index, epoch, self.fields(index, epoch), broken)
            except BrokenImage as error:
                broken.append((index, error))
            if self.breakage.beyond(len(broken)):
                return _Found(index, epoch, None, broken)
            slot = (slot + 1) % self.length

    def evaluate(self, place: int) -> _Found:
        """Example number ``place``, or none where it is broken."""
        try:
            return _Found(place, 0, self.fields(place, None), [])
        except BrokenImage as error:
            return _Found(place, 0, None, [(place, error)])


def _form(fields: dict[str, np.ndarray]) -> dict[str, tuple]:
    return {name: (value.shape, value.dtype) for name, value in fields.items()}


class _Shape:
    """The shape and type that every field has in the first example read, and that all others must have."""

    def __init__(self, first: _Found):
        self.index, self.form = first.index, _form(first.fields)

    def batch(self, found: list[_Found]) -> dict[str, np.ndarray]:
        """Rows for the examples found; zeros where there is none. Raises ValueError for one that does not fit beside the first."""
        batch = {name: np.empty((len(found), *shape), _NARROW.get(dtype, dtype)) for name, (shape, dtype) in self.form.items()}
        for row, one in enumerate(found):
            if one.fields is not None:
                self.check(one)
            for name, rows in batch.items():
                rows[row] = 0 if one.fields is None else one.fields[name]
        return batch

    def check(self, one: _Found) -> None:
        """Raises ValueError for an example that does not fit beside the first."""
        found = _form(one.fields)
        if found == self.form:
            return
        name = next(name for name in {**self.form, **found} if found.get(name) != self.form.get(name))
        there, here = (" ".join(map(str, form)) if form else "nothing" for form in (self.form.get(name), found.get(name)))
        fix = ": jv.data.random_crops(source, size) or center_crops(source, size) makes one of them" if name == "image" else ""
        examples = f"example {self.index} has {there}, example {one.index} has {here}"
        raise ValueError(f"{name}: {examples}, expected one shape and type in a batch{fix}")


def _ahead(read: Callable, count: int, threads: int, buffered: int) -> Iterator:
    """``read(0)``, ``read(1)``, ... of ``count``: threads read at most ``buffered`` of them before they are asked for."""
    if not (threads and buffered):
        yield from map(read, range(count))
        return
    try:
        import grain
    except ModuleNotFoundError:
        grain = None
    buffered = max(buffered, threads)
    if grain is None:
        yield from _by_pool(read, count, threads, buffered)
        return
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    iterator = iter(grain.MapDataset.range(count).map(read).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()  # threads end after what they have in hand


def _by_pool(read: Callable, count: int, threads: int, buffered: int) -> Iterator:
    """What ``_ahead`` yields, by the standard library's threads: where grain is not installed."""
    numbers, pool = iter(range(count)), ThreadPoolExecutor(threads)
    try:
        waiting = deque(pool.submit(read, number) for number in itertools.islice(numbers, buffered))
        while waiting:
            first = waiting.popleft()
            waiting.extend(pool.submit(read, number) for number in itertools.islice(numbers, 1))
            yield first.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(read: Callable, batches: int, size: int, threads: int, prefetch: int) -> Iterator[list[_Found]]:
    """What ``read`` finds at the places 0, 1, ..., in lists of ``size``."""
    few = math.gcd(size, _TOGETHER) if size >= _TOGETHER * threads else 1

    def several(number: int) -> list[_Found]:
        return [read(place) for place in range(number * few, (number + 1) * few)]

    found = _ahead(several, min(batches * size, _ENDLESS) // few, threads, max(prefetch, 1) * size // few if threads else 0)
    try:
        while parts := list(itertools.islice(found, size // few)):
            yield list(itertools.chain.from_iterable(parts))
    finally:
        found.close()


def _examples(reader: _Reader, steps: int, rows: tuple[int, int], place: Callable, threads: int, prefetch: int) -> Iterator[dict]:
    """Training batches of a source that is read example by example; ``place(step)`` is where the global batch begins."""
    size, shape = rows[1] - rows[0], None

    def read(number: int) -> _Found:
        step, row = divmod(number, size)
        return reader.train(place(step) + rows[0] + row)

    for found in _rows(read, steps, size, threads, prefetch):
        reader.breakage.add(itertools.chain.from_iterable(one.broken for one in found))
        if any(one.fields is None for one in found):
            reader.breakage.check()  # too many in a row for one place: there is nothing to wait for
        shape = shape or _Shape(found[0])
        own = {name: np.array([getattr(one, name) for one in found], np.int32) for name in ("index", "epoch")}
        yield shape.batch(found) | own


def _first(reader: _Reader, found: list[_Found]) -> _Found:
    """The first readable example: of those found, else of the source; raises TooManyBroken where there is none."""
    for one in itertools.chain(found, map(reader.evaluate, range(reader.length))):
        if one.fields is not None:
            return one
        reader.breakage.add(one.broken)
    reader.breakage.check()
    raise AssertionError("unreachable: a source without a readable example has too many broken ones")


def _judged(reader: _Reader, batch_size: int, rows: tuple[int, int], threads: int) -> Iterator[dict]:
    """Evaluation batches of a source that is read example by example."""
    size, shape, length = rows[1] - rows[0], None, reader.length

    def read(number: int) -> _Found:
        step, row = divmod(number, size)
        place = step * batch_size + rows[0] + row
        return reader.evaluate(place if place < length else 0)

    for step, found in enumerate(_rows(read, -(-length // batch_size), size, threads, 2)):
        reader.breakage.add(itertools.chain.from_iterable(one.broken for one in found))
        shape = shape or _Shape(_first(reader, found))
        whole = np.array([one.fields is not None for one in found])
        own = _evaluated(length, step * batch_size, rows)
        yield shape.batch(found) | own | {"valid": own["valid"] & whole}


def _evaluated(length: int, begin: int, rows: tuple[int, int]) -> dict[str, np.ndarray]:
    """Which examples stand in the rows of an evaluation batch, and which of them count."""
    place = np.arange(begin + rows[0], begin + rows[1], dtype=np.int32)
    return {"index": np.where(place < length, place, 0), "valid": place < length}


def _taken(source, steps: int, places: Callable, threads: int, prefetch: int) -> Iterator[dict]:
    """Batches of a source that gives many examples at once; ``places(step)`` says which, among them ``index``."""

    def read(step: int) -> dict:
        own = places(step)
        found = {name: np.asarray(value) for name, value in source.take(own["index"]).items() if name not in _OWN}
        fields = {name: value for name, value in found.items() if value.dtype.kind in "biuf"}
        return {name: value.astype(_NARROW.get(value.dtype, value.dtype), copy=False) for name, value in fields.items()} | own

    return _ahead(read, steps, threads, prefetch)


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


def _stream(
    source,
    batch_size: int,
    *,
    seed: int,
    start: int,
    steps: int | None,
    rows: tuple[int, int],
    threads: int,
    prefetch: int,
    breakage: Breakage,
) -> Iterator[dict]:
    """The training batches of one source."""
    length, steps = len(source), _ENDLESS // batch_size if steps is None else steps

    def places(step: int) -> dict:
        index, epoch = positions(length, (start + step) * batch_size + rows[0], rows[1] - rows[0], seed=seed)
        return {"index": index.astype(np.int32), "epoch": epoch.astype(np.int32)}

    if hasattr(source, "take") and not hasattr(source, "draw"):
        return _taken(source, steps, places, threads, prefetch)
    reader = _Reader(source, seed, breakage)
    return _examples(reader, steps, rows, lambda step: (start + step) * batch_size, threads, prefetch)


def _share(name: str, ratio: float, count: int) -> int:
    """``ratio`` times ``count`` examples, which must be whole."""
    size = round(ratio * count)
    if size < 1 or abs(size - ratio * count) > 1e-6:
        raise ValueError(f"{name}: {ratio:g} times {count} rows is no whole number of examples, expected a ratio that makes one")
    return size


def _seed_of(seed: int, name: str) -> int:
    """A stream's own seed, so that it does not visit its examples in the order of another."""
    return int(hashes(1, seed, zlib.crc32(name.encode()))[0] >> np.uint64(1))


def _joined(main: Iterator[dict], others: dict[str, Iterator[dict]]) -> Iterator[dict]:
    try:
        for batch in main:
            yield batch | {name: next(other) for name, other in others.items()}
    finally:
        for stream in (main, *others.values()):
            stream.close()


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
    breakage: Breakage | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Training batches from step ``start`` on, ``steps`` of them or without end: dicts of numpy arrays, a row an example.

    ``image`` [b, H, W, C], ``label`` [b] int32 or [b, K] float32, ``index`` [b] int32 (position in the source), ``epoch`` [b] int32, and
    the further numeric fields of the examples; of sources that go ``together``, each further one as a batch of its own under its name.
    A pure function of (source, batch_size, seed, step): each epoch has every example once, batches run across its end.
    ``rows=(first, stop)``: this process's rows of each batch, b = stop - first. ``threads``: that read (0: the caller's).
    ``prefetch``: batches read ahead. Closing or dropping the iterator ends the threads; what goes wrong in one is raised here.

    An example that raises BrokenImage gives way to the next readable one of its epoch's order; ``breakage`` counts them (those of a further
    stream apart, by the same share), says so, and raises TooManyBroken above its share. Raises ValueError for examples of several shapes.
    """
    rows = _check(source, batch_size, rows, threads)
    for name, value in (("start", start), ("steps", steps or 0), ("prefetch", prefetch)):
        if value < 0:
            raise ValueError(f"{name}: found {value}, expected at least 0")
    options = {"start": start, "steps": steps, "threads": threads, "prefetch": prefetch}
    breakage = breakage or Breakage(len(source))
    main = _stream(source, batch_size, seed=seed, rows=rows, breakage=breakage, **options)
    others = {}
    for name, (other, ratio) in getattr(source, "streams", {}).items():
        here = tuple(_share(name, ratio, row) if row else 0 for row in rows)
        size = _share(name, ratio, batch_size)
        others[name] = _stream(other, size, seed=_seed_of(seed, name), rows=here, breakage=breakage.of(name, len(other)), **options)
    return _joined(main, others) if others else main


def padded_batches(
    source, batch_size: int, *, rows: tuple[int, int] | None = None, threads: int = 2, breakage: Breakage | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Evaluation batches: examples 0..N-1 in order, the last batch filled up with example 0.

    As ``batches``, without ``epoch`` and with ``valid`` [b] bool, false where the row only fills up, or where its example is broken.
    """
    rows = _check(source, batch_size, rows, threads)
    length = len(source)
    if hasattr(source, "take"):
        return _taken(source, -(-length // batch_size), lambda step: _evaluated(length, step * batch_size, rows), threads, 2)
    return _judged(_Reader(source, 0, breakage or Breakage(length)), batch_size, rows, threads)
