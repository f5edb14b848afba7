"""Batches of a source: threads (of grain, if it is installed) read ahead, and the order does not depend on them."""

import itertools
import math
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jaxvision import checks
from jaxvision.data._order import hashes, order, positions
from jaxvision.data.broken_images import Breakage
from jaxvision.data.decoding import BrokenImage
from jaxvision.data.source import Source

_BATCH_FIELDS = ("index", "epoch", "valid")  # written by this file; fields of a source with these names are dropped
_NARROW = {np.dtype(np.int64): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.float32)}  # the widths that JAX computes in
_ENDLESS = sys.maxsize
_EXAMPLES_PER_TASK = 8  # that a thread reads before it hands them over; larger tasks mean less switching between threads


class _Read(NamedTuple):
    """The result for one row of a batch: an example, or none, and the broken examples that were skipped."""

    index: int
    epoch: int
    fields: dict[str, np.ndarray] | None
    broken: list[tuple[int, BrokenImage]]


class _Reader:
    """Reads the examples of a source, from any thread."""

    def __init__(self, source: Source, seed: int, breakage: Breakage):
        self.source, self.seed, self.breakage, self.length = source, seed, breakage, len(source)
        self.draw = getattr(source, "draw", None)

    def fields(self, index: int, epoch: int | None) -> dict[str, np.ndarray]:
        """The numeric fields of an example in an epoch of training, or in evaluation (None)."""
        drawn = self.draw is not None and epoch is not None
        example = self.draw(index, seed=self.seed, epoch=epoch) if drawn else self.source[index]
        return _numeric(example)

    def train(self, position: int) -> _Read:
        """The example at a position of the endless sequence of epochs, or, if it is broken, the next readable one in its epoch's order."""
        epoch, slot = divmod(position, self.length)
        broken: list[tuple[int, BrokenImage]] = []
        while True:
            index = int(order(self.length, seed=self.seed, epoch=epoch)[slot])
            try:
                return _Read(index, epoch, self.fields(index, epoch), broken)
            except BrokenImage as error:
                broken.append((index, error))
            if self.breakage.too_many(len(broken)):
                return _Read(index, epoch, None, broken)
            slot = (slot + 1) % self.length

    def evaluate(self, index: int) -> _Read:
        """Example ``index``, or none if it is broken."""
        try:
            return _Read(index, 0, self.fields(index, None), [])
        except BrokenImage as error:
            return _Read(index, 0, None, [(index, error)])


def _numeric(example: dict) -> dict[str, np.ndarray]:
    """The fields of an example, or of several stacked ones, that go into a batch."""
    fields = {name: np.asarray(value) for name, value in example.items() if name not in _BATCH_FIELDS}
    return {name: value for name, value in fields.items() if value.dtype.kind in "biuf"}


def _form(fields: dict[str, np.ndarray]) -> dict[str, tuple]:
    return {name: (value.shape, value.dtype) for name, value in fields.items()}


class _Collator:
    """Stacks examples to batches. The first example sets the shape and dtype of each field, which all others must have."""

    def __init__(self, first: _Read):
        self.index, self.form = first.index, _form(first.fields)

    def batch(self, examples: list[_Read]) -> dict[str, np.ndarray]:
        """The examples as rows of a batch; zeros if there is none. Raises ValueError for an example of another shape."""
        batch = {name: np.empty((len(examples), *shape), _NARROW.get(dtype, dtype)) for name, (shape, dtype) in self.form.items()}
        for row, one in enumerate(examples):
            if one.fields is not None:
                self.check(one)
            for name, rows in batch.items():
                rows[row] = 0 if one.fields is None else one.fields[name]
        return batch

    def check(self, one: _Read) -> None:
        """Raise ValueError for an example with other fields, shapes or dtypes than the first."""
        form = _form(one.fields)
        if form == self.form:
            return
        name = next(name for name in {**self.form, **form} if form.get(name) != self.form.get(name))
        first, other = (" ".join(map(str, kind)) if kind else "nothing" for kind in (self.form.get(name), form.get(name)))
        fix = ": jv.data.random_crops(source, size) or center_crops(source, size) gives images one shape" if name == "image" else ""
        found = f"{first} in example {self.index} and {other} in example {one.index}"
        raise ValueError(f"{name}: found {found}, expected one shape and dtype in all examples{fix}")


def _prefetched(read: Callable, count: int, threads: int, buffered: int) -> Iterator:
    """``read(0)``, ..., ``read(count - 1)`` in this order; threads compute up to ``buffered`` of them in advance."""
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
        iterator.close()  # threads end after their current task


def _by_pool(read: Callable, count: int, threads: int, buffered: int) -> Iterator:
    """As ``_prefetched``, with the threads of the standard library, if grain is not installed."""
    numbers, pool = iter(range(count)), ThreadPoolExecutor(threads)
    try:
        waiting = deque(pool.submit(read, number) for number in itertools.islice(numbers, buffered))
        while waiting:
            first = waiting.popleft()
            waiting.extend(pool.submit(read, number) for number in itertools.islice(numbers, 1))
            yield first.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(read: Callable, batches: int, size: int, threads: int, prefetch: int) -> Iterator[list[_Read]]:
    """``read(0)``, ``read(1)``, ... in ``batches`` lists of ``size``."""
    per_task = math.gcd(size, _EXAMPLES_PER_TASK) if size >= _EXAMPLES_PER_TASK * threads else 1

    def read_task(number: int) -> list[_Read]:
        return [read(row) for row in range(number * per_task, (number + 1) * per_task)]

    count, buffered = min(batches * size, _ENDLESS) // per_task, max(prefetch, 1) * size // per_task if threads else 0
    tasks = _prefetched(read_task, count, threads, buffered)
    try:
        while parts := list(itertools.islice(tasks, size // per_task)):
            yield list(itertools.chain.from_iterable(parts))
    finally:
        tasks.close()


def _train_examples(reader: _Reader, steps: int, rows: tuple[int, int], begin: Callable, threads: int, prefetch: int) -> Iterator[dict]:
    """Training batches of a source that is read example by example; ``begin(step)`` is the first position of the global batch."""
    size, collator = rows[1] - rows[0], None

    def read(number: int) -> _Read:
        step, row = divmod(number, size)
        return reader.train(begin(step) + rows[0] + row)

    for examples in _rows(read, steps, size, threads, prefetch):
        reader.breakage.add(itertools.chain.from_iterable(one.broken for one in examples))
        if any(one.fields is None for one in examples):
            reader.breakage.check()  # no readable example was found for a row, so this process need not wait for the others
        collator = collator or _Collator(examples[0])
        places = {name: np.array([getattr(one, name) for one in examples], np.int32) for name in ("index", "epoch")}
        yield collator.batch(examples) | places


def _first_readable(reader: _Reader, examples: list[_Read]) -> _Read:
    """The first readable one of ``examples``, or else of the source. Raises TooManyBroken if there is none."""
    for one in itertools.chain(examples, map(reader.evaluate, range(reader.length))):
        if one.fields is not None:
            return one
        reader.breakage.add(one.broken)
    reader.breakage.check()
    raise AssertionError("unreachable: a source without a readable example has too many broken ones")


def _evaluation_examples(reader: _Reader, batch_size: int, rows: tuple[int, int], threads: int) -> Iterator[dict]:
    """Evaluation batches of a source that is read example by example."""
    size, collator, length = rows[1] - rows[0], None, reader.length

    def read(number: int) -> _Read:
        step, row = divmod(number, size)
        index = step * batch_size + rows[0] + row
        return reader.evaluate(index if index < length else 0)

    for step, examples in enumerate(_rows(read, -(-length // batch_size), size, threads, 2)):
        reader.breakage.add(itertools.chain.from_iterable(one.broken for one in examples))
        collator = collator or _Collator(_first_readable(reader, examples))
        readable = np.array([one.fields is not None for one in examples])
        places = _evaluation_places(length, step * batch_size, rows)
        yield collator.batch(examples) | places | {"valid": places["valid"] & readable}


def _evaluation_places(length: int, begin: int, rows: tuple[int, int]) -> dict[str, np.ndarray]:
    """The index of each row of an evaluation batch, and whether the row is valid or padding."""
    index = np.arange(begin + rows[0], begin + rows[1], dtype=np.int32)
    return {"index": np.where(index < length, index, 0), "valid": index < length}


def _by_take(source: Source, steps: int, places: Callable, threads: int, prefetch: int) -> Iterator[dict]:
    """Batches of a source with ``take``; ``places(step)`` gives the batch's index and its epoch or valid."""
    take = source.take

    def read(step: int) -> dict:
        own = places(step)
        fields = _numeric(take(own["index"]))
        return {name: value.astype(_NARROW.get(value.dtype, value.dtype), copy=False) for name, value in fields.items()} | own

    return _prefetched(read, steps, threads, prefetch)


def _check(source: Source, batch_size: int, rows: tuple[int, int] | None, threads: int) -> tuple[int, int]:
    """(first, stop): the rows of each batch to read. Raises ValueError for arguments out of range."""
    if not len(source):
        raise ValueError("source: found no examples, expected at least one")
    checks.integer("batch_size", batch_size)
    checks.integer("threads", threads, at_least=0)
    first, stop = (0, batch_size) if rows is None else rows
    if not 0 <= first < stop <= batch_size:
        raise ValueError(f"rows: found ({first}, {stop}), expected 0 <= first < stop <= {batch_size}, which is batch_size")
    return first, stop


def _stream(
    source: Source,
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
    """The training batches of one source, without additional streams."""
    length, steps = len(source), _ENDLESS // batch_size if steps is None else steps

    def places(step: int) -> dict:
        index, epoch = positions(length, (start + step) * batch_size + rows[0], rows[1] - rows[0], seed=seed)
        return {"index": index.astype(np.int32), "epoch": epoch.astype(np.int32)}

    if hasattr(source, "take") and not hasattr(source, "draw"):
        return _by_take(source, steps, places, threads, prefetch)
    reader = _Reader(source, seed, breakage)
    return _train_examples(reader, steps, rows, lambda step: (start + step) * batch_size, threads, prefetch)


def _stream_size(name: str, ratio: float, count: int) -> int:
    """``ratio`` times ``count``. Raises ValueError unless it is an integer above 0."""
    size = round(ratio * count)
    if size < 1 or abs(size - ratio * count) > 1e-6:
        raise ValueError(f"{name}: found ratio {ratio:g} for {count} rows, expected a ratio that gives an integer number of examples")
    return size


def _seed_of(seed: int, name: str) -> int:
    """The seed of a stream, so that streams of the same length have different orders."""
    return int(hashes(1, seed, zlib.crc32(name.encode()))[0] >> np.uint64(1))


def _joined(main: Iterator[dict], others: dict[str, Iterator[dict]]) -> Iterator[dict]:
    try:
        for batch in main:
            yield batch | {name: next(other) for name, other in others.items()}
    finally:
        for stream in (main, *others.values()):
            stream.close()


def batches(
    source: Source,
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
    """Training batches from step ``start`` on: ``steps`` of them, or without end.

    A batch is a dict of arrays: ``image`` [b, H, W, C], ``label`` [b] int32 or [b, K] float32, ``index`` [b] int32 (position in the
    source), ``epoch`` [b] int32, all other numeric fields of the examples, and one batch for each additional stream (``together``). It is a
    pure function of (source, batch_size, seed, step): each epoch has every example once, and batches continue across the end of an epoch.

    ``rows=(first, stop)``: only these rows of each batch, for one of several processes; b = stop - first. ``threads``: threads that read, 0
    reads in the caller's thread. ``prefetch``: batches that are read ahead. Closing the iterator ends the threads; an error in a thread is
    raised here. An example that raises BrokenImage is replaced by the next readable one of its epoch's order and recorded in ``breakage``.

    Raises ValueError for examples of different shapes, and TooManyBroken if ``breakage`` does not allow as many.

    >>> import jaxvision as jv
    >>> batch = next(jv.data.batches(jv.data.digits("train"), 64, seed=0))
    >>> batch["image"].shape, batch["label"].shape, int(batch["epoch"].max())
    ((64, 32, 32, 1), (64,), 0)
    """
    rows = _check(source, batch_size, rows, threads)
    for name, value in (("start", start), ("steps", steps or 0), ("prefetch", prefetch)):
        checks.integer(name, value, at_least=0)
    options = {"start": start, "steps": steps, "threads": threads, "prefetch": prefetch}
    breakage = breakage or Breakage(len(source))
    main = _stream(source, batch_size, seed=seed, rows=rows, breakage=breakage, **options)
    others = {}
    for name, (other, ratio) in getattr(source, "streams", {}).items():
        here = tuple(_stream_size(name, ratio, row) if row else 0 for row in rows)
        size = _stream_size(name, ratio, batch_size)
        others[name] = _stream(other, size, seed=_seed_of(seed, name), rows=here, breakage=breakage.stream(name, len(other)), **options)
    return _joined(main, others) if others else main


def padded_batches(
    source: Source, batch_size: int, *, rows: tuple[int, int] | None = None, threads: int = 2, breakage: Breakage | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Evaluation batches: examples 0..N-1 in order; the last batch is padded with example 0.

    Fields and arguments as in ``batches``, without ``epoch`` and with ``valid`` [b] bool, which is false for padding and for broken
    examples.

    >>> import jaxvision as jv
    >>> batches = list(jv.data.padded_batches(jv.data.digits("test"), 100))
    >>> len(batches), int(batches[-1]["valid"].sum())
    (4, 59)
    """
    rows = _check(source, batch_size, rows, threads)
    length = len(source)
    if hasattr(source, "take"):
        return _by_take(source, -(-length // batch_size), lambda step: _evaluation_places(length, step * batch_size, rows), threads, 2)
    return _evaluation_examples(_Reader(source, 0, breakage or Breakage(length)), batch_size, rows, threads)
