"""Batches: every example once an epoch, the same for any threads, shards and start; errors and threads that end."""

import gc
import itertools
import sys
import threading
import time

import numpy as np
import pytest

from jaxvision import data


class Slow:
    """A source without fast path that takes longer for some examples, so that threads finish out of order."""

    classes = ("even", "odd")

    def __init__(self, count: int, *, broken: int | None = None):
        self.count, self.broken, self.reads = count, broken, 0
        self.labels = np.arange(count) % 2

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.reads += 1
        if i == self.broken:
            raise RuntimeError(f"example {i} fails")
        time.sleep(0.002 * (i % 3))
        return {"image": np.full((2, 3, 1), i % 256, np.uint8), "label": i % 2, "weight": i / 2, "name": str(i), "index": -1}


class Drawn(Slow):
    """A source whose examples differ from epoch to epoch."""

    def draw(self, i, *, seed, epoch):
        return {"image": np.array([[[seed, epoch, i]]], np.uint8), "label": i % 2}


def same(ours: list[dict], theirs: list[dict]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def wait_for_threads() -> None:
    deadline = time.monotonic() + 5
    while alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not alive()


def in_memory(count: int):
    return data.arrays(np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8), np.arange(count) % 4)


@pytest.mark.parametrize("source", [in_memory(11), Slow(11)], ids=["memory", "slow"])
def test_a_batch_is_a_dict_of_arrays(source):
    batch = next(data.batches(source, 4, seed=1))
    np.testing.assert_array_equal(batch["index"], data.order(11, seed=1, epoch=0)[:4])
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
    np.testing.assert_array_equal(batch["label"], source.labels[batch["index"]])
    assert batch["image"].dtype == np.uint8 and {batch[name].dtype for name in ("label", "index", "epoch")} == {np.dtype(np.int32)}
    if isinstance(source, Slow):  # further numbers pass, words do not
        assert set(batch) == {"image", "label", "index", "epoch", "weight"} and batch["weight"].dtype == np.float32


def test_several_labels_at_once_stay_vectors():
    source = data.arrays(np.zeros((3, 2, 2), np.uint8), np.eye(3, dtype=np.int64)[:, ::-1])
    batch = next(data.batches(source, 3))
    assert batch["label"].dtype == np.float32
    np.testing.assert_array_equal(batch["label"], source.labels[batch["index"]])


@pytest.mark.parametrize("batch_size", [1, 4, 11, 25])
def test_an_epoch_has_every_example_once_and_batches_run_across_its_end(batch_size):
    steps = -(-33 // batch_size)
    batches = list(data.batches(in_memory(11), batch_size, steps=steps))
    index, epoch = (np.concatenate([batch[name] for batch in batches])[:33] for name in ("index", "epoch"))
    assert all(len(batch["index"]) == batch_size for batch in batches)
    for number in range(3):
        assert sorted(index[epoch == number]) == list(range(11))
    np.testing.assert_array_equal(epoch, np.repeat([0, 1, 2], 11))


@pytest.mark.parametrize("make", [in_memory, Slow, Drawn])
def test_threads_change_nothing(make):
    inline = list(data.batches(make(13), 6, seed=2, steps=5, threads=0))
    for threads, prefetch in ((2, 2), (8, 1), (3, 0)):
        same(list(data.batches(make(13), 6, seed=2, steps=5, threads=threads, prefetch=prefetch)), inline)


@pytest.mark.parametrize("make", [in_memory, Slow, Drawn])
def test_without_grain_the_stream_is_the_same_and_its_threads_end(make, monkeypatch):
    inline = list(data.batches(make(13), 6, seed=2, steps=5, threads=0))
    monkeypatch.setitem(sys.modules, "grain", None)
    for threads, prefetch in ((2, 2), (8, 1), (3, 0)):
        before = set(threading.enumerate())
        same(list(data.batches(make(13), 6, seed=2, steps=5, threads=threads, prefetch=prefetch)), inline)
        endless = data.batches(make(13), 6, seed=2, threads=threads, prefetch=prefetch)
        same([next(endless)], inline[:1])
        endless.close()
        assert set(threading.enumerate()) <= before  # others' threads may end meanwhile


def test_without_grain_as_many_are_read_ahead_as_are_buffered(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    for threads, prefetch in ((1, 1), (2, 1), (2, 3)):
        source = Slow(20)
        found = data.batches(source, 1, threads=threads, prefetch=prefetch)
        next(found)
        deadline = time.monotonic() + 5
        while source.reads < 1 + max(threads, prefetch) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert source.reads == 1 + max(threads, prefetch)  # the one that was returned, and those that are prefetched
        found.close()


@pytest.mark.parametrize("start", [1, 3, 7])
def test_any_start_joins_the_same_stream(start):
    whole = list(data.batches(in_memory(10), 4, seed=9, steps=9))
    same(list(data.batches(in_memory(10), 4, seed=9, start=start, steps=9 - start)), whole[start:])
    same(list(itertools.islice(data.batches(in_memory(10), 4, seed=9, start=start), 9 - start)), whole[start:])


def test_shards_are_disjoint_and_together_the_global_batch():
    whole = list(data.batches(Drawn(10), 6, steps=4))
    shards = [list(data.batches(Drawn(10), 6, steps=4, rows=rows)) for rows in ((0, 2), (2, 3), (3, 6))]
    same([{name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in zip(*shards, strict=True)], whole)


def test_draws_know_seed_epoch_and_index():
    for batch in data.batches(Drawn(5), 4, seed=3, steps=3):
        expected = np.stack([np.full(4, 3), batch["epoch"], batch["index"]], -1)
        np.testing.assert_array_equal(batch["image"][:, 0, 0], expected)
    subset = data.subset(Drawn(5), [4, 2])
    for batch in data.batches(subset, 2, seed=3, steps=2):
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 2], np.array([4, 2])[batch["index"]])


@pytest.mark.parametrize("source", [in_memory(10), Slow(10), Drawn(10)], ids=["memory", "slow", "drawn"])
def test_evaluation_pads_the_last_batch(source):
    batches = list(data.padded_batches(source, 4))
    assert [batch["valid"].tolist() for batch in batches] == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == [*range(10), 0, 0]
    np.testing.assert_array_equal(np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches]), [*range(10), 0, 0])
    assert "epoch" not in batches[0]
    shards = [list(data.padded_batches(source, 4, rows=rows, threads=threads)) for rows, threads in (((0, 3), 0), ((3, 4), 8))]
    same([{name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in zip(*shards, strict=True)], batches)


def test_reading_ahead_is_bounded():
    source = Slow(100)
    batches = data.batches(source, 5, threads=2, prefetch=2)
    next(batches)
    time.sleep(0.2)
    assert source.reads <= 3 * 5  # one batch taken, two ahead
    batches.close()


def test_without_threads_nothing_is_read_ahead():
    source = Slow(100)
    next(data.batches(source, 5, threads=0))
    assert source.reads == 5


@pytest.mark.parametrize("end", ["close", "drop", "exhaust", "error"])
def test_threads_end_with_the_iterator(end):
    batches = data.batches(Slow(300, broken=299 if end == "error" else None), 50, steps=6, threads=3)
    next(batches)
    assert alive()
    if end == "close":
        batches.close()
    elif end == "drop":
        del batches
        gc.collect()
    elif end == "exhaust":
        assert len(list(batches)) == 5
    else:
        with pytest.raises(RuntimeError, match="299"):
            list(batches)
    wait_for_threads()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_with_its_own_batch(threads):
    index = data.order(12, seed=0, epoch=0)
    batches = data.batches(Slow(12, broken=int(index[6])), 4, threads=threads)
    np.testing.assert_array_equal(next(batches)["index"], index[:4])
    with pytest.raises(RuntimeError):
        next(batches)


def test_images_of_two_sizes_are_refused_with_the_remedy():
    class TwoSizes(Slow):
        def __getitem__(self, i):
            return {"image": np.zeros((2 + (i == 1), 2, 3), np.uint8), "label": 0}

    with pytest.raises(ValueError, match="^image: .*random_crops.*center_crops") as error:
        list(data.batches(TwoSizes(4), 4, steps=1))
    assert "(3, 2, 3)" in str(error.value) and "(2, 2, 3)" in str(error.value) and "\n" not in str(error.value)


def test_fields_must_agree():
    class Uneven(Slow):
        def __getitem__(self, i):
            return {"image": np.zeros((2, 2, 3), np.uint8)} | ({"label": 0} if i != 1 else {})

    with pytest.raises(ValueError, match="^label: .*example 1"):
        list(data.batches(Uneven(4), 4, steps=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "^batch_size"),
        ({"threads": -1}, "^threads"),
        ({"start": -1}, "^start"),
        ({"rows": (2, 5)}, "^rows"),
        ({"rows": (2, 2)}, "^rows"),
        ({"source": data.subset(in_memory(3), [])}, "^source"),
    ],
)
def test_arguments_out_of_range_are_refused_at_the_call(options, message):
    with pytest.raises(ValueError, match=message):
        data.batches(**({"source": in_memory(3), "batch_size": 4} | options))


def test_no_steps_are_no_batches():
    assert list(data.batches(in_memory(3), 2, steps=0)) == []
