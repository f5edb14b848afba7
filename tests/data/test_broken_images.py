"""Broken examples: replaced in training, left out in evaluation, counted and named; too many stop the reader. And streams side by side."""

import numpy as np
import pytest

from jaxvision import data, evaluate


class Fragile:
    """A source of which some examples cannot be read."""

    classes = ("even", "odd")

    def __init__(self, count: int, broken=()):
        self.count, self.broken, self.labels = count, set(broken), np.arange(count) % 2

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i in self.broken:
            raise data.BrokenImage(f"{i}.jpg", "empty")
        return {"image": np.full((2, 2, 1), i, np.uint8), "label": i % 2}


def read(source, *, threads=2, **options) -> tuple[dict, list[str], data.Breakage]:
    lines: list[str] = []
    breakage = data.Breakage(len(source), share=options.pop("share", 0.5), name="train", report=lines.append)
    batches = list(data.batches(source, 4, threads=threads, breakage=breakage, **options))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}, lines, breakage


def expected(length: int, broken: set, places: range, seed: int) -> list[int]:
    """An independent implementation of the replacement rule: the next readable example in the epoch's order, around its end."""
    found = []
    for place in places:
        epoch, slot = divmod(place, length)
        walk = np.roll(data.order(length, seed=seed, epoch=epoch), -slot)
        found.append(next(int(index) for index in walk if int(index) not in broken))
    return found


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("broken", [{0}, {3, 7, 8}, set(range(10)) - {4}])
def test_the_next_readable_example_of_the_epochs_order_takes_the_place(broken, threads):
    found, _, _ = read(Fragile(10, broken), threads=threads, seed=5, steps=8, share=0.9)
    assert found["index"].tolist() == expected(10, broken, range(32), seed=5)
    np.testing.assert_array_equal(found["image"][:, 0, 0, 0], found["index"])
    np.testing.assert_array_equal(found["label"], found["index"] % 2)
    np.testing.assert_array_equal(found["epoch"], np.arange(32) // 10)


def test_examples_that_are_whole_stay_where_they_were():
    whole, _, _ = read(Fragile(50), seed=1, steps=30)
    found, _, _ = read(Fragile(50, {7, 21}), seed=1, steps=30)
    moved = np.flatnonzero(found["index"] != whole["index"])
    assert set(whole["index"][moved]) == {7, 21}


def test_any_start_joins_the_same_stream_and_shards_agree():
    source = Fragile(11, {2, 9})
    whole, _, _ = read(source, seed=3, steps=9)
    later, _, _ = read(source, seed=3, start=4, steps=5)
    np.testing.assert_array_equal(later["index"], whole["index"][16:])
    shards = [read(source, seed=3, steps=9, rows=rows)[0]["index"].reshape(9, -1) for rows in ((0, 1), (1, 4))]
    np.testing.assert_array_equal(np.concatenate(shards, 1).reshape(-1), whole["index"])


def test_each_broken_example_is_reported_once_and_counted_by_reason():
    _, lines, breakage = read(Fragile(20, {3, 5}), steps=20)  # four epochs
    assert len(lines) == 2 and all(any(f"example {i} " in line and f"{i}.jpg" in line for line in lines) for i in (3, 5))
    assert sum(breakage.counts.values()) == 2


def test_too_many_stop_with_one_line_and_not_one_fewer():
    read(Fragile(200, {3, 5}), steps=50, share=0.01)
    with pytest.raises(data.TooManyBroken, match=r"^train: .*3 of 200.*5\.jpg") as error:
        read(Fragile(200, {3, 5, 9}), steps=50, share=0.01)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_a_source_without_any_readable_example_stops_at_once(share):
    with pytest.raises(data.TooManyBroken, match="^train: .* of 30 "):
        read(Fragile(30, range(30)), steps=1, share=share)
    with pytest.raises(data.TooManyBroken):
        list(data.padded_batches(Fragile(30, range(30)), 4, breakage=data.Breakage(30, share=share, report=lambda line: None)))


def test_the_default_share_is_one_percent_and_warns(caplog):
    next(data.batches(Fragile(100, {int(data.order(100, seed=0, epoch=0)[0])}), 4))
    assert len(caplog.records) == 1 and ".jpg" in caplog.text
    with pytest.raises(data.TooManyBroken):
        list(data.batches(Fragile(99, {0}), 9, steps=11))


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ValueError, match="^share"):
        data.Breakage(10, share=1.5)


@pytest.mark.parametrize("broken", [{0}, {9}, {0, 1, 2, 3, 4}])
def test_evaluation_leaves_broken_examples_out(broken):
    source, lines = Fragile(10, broken), []
    breakage = data.Breakage(10, share=0.5, report=lines.append)
    batches = list(data.padded_batches(source, 4, breakage=breakage))
    valid, index = (np.concatenate([batch[name] for batch in batches]) for name in ("valid", "index"))
    assert index[valid].tolist() == [i for i in range(10) if i not in broken] and len(lines) == len(broken)
    found, labels = evaluate.outputs(
        lambda batch: (batch["image"][:, 0, 0, 0], batch["valid"]), source, batch_size=4, breakage=data.Breakage(10, share=0.5)
    )
    assert found.tolist() == [i for i in range(10) if i not in broken]
    np.testing.assert_array_equal(labels, found % 2)


def test_streams_side_by_side_have_sizes_and_orders_of_their_own():
    source = data.together(Fragile(10), unlabelled=(Fragile(30), 1.5))
    batches = list(data.batches(source, 4, seed=2, steps=10))
    assert all(len(batch["index"]) == 4 and len(batch["unlabelled"]["index"]) == 6 for batch in batches)
    index = np.concatenate([batch["unlabelled"]["index"] for batch in batches])
    assert sorted(index[:30]) == sorted(index[30:]) == list(range(30)) and index[:30].tolist() != index[30:].tolist()
    np.testing.assert_array_equal(index[:6], batches[0]["unlabelled"]["image"][:, 0, 0, 0])
    alone = list(data.batches(Fragile(10), 4, seed=2, steps=10))
    np.testing.assert_array_equal([batch["index"] for batch in batches], [batch["index"] for batch in alone])
    same = data.together(Fragile(10), again=(Fragile(10), 1))
    assert next(data.batches(same, 10))["index"].tolist() != next(data.batches(same, 10))["again"]["index"].tolist()
    later = list(data.batches(source, 4, seed=2, start=6, steps=4))
    np.testing.assert_array_equal(later[0]["unlabelled"]["index"], batches[6]["unlabelled"]["index"])


def test_streams_split_over_processes():
    source = data.together(Fragile(10), unlabelled=(Fragile(30), 2))
    whole = next(data.batches(source, 4))
    shards = [next(data.batches(source, 4, rows=rows)) for rows in ((0, 1), (1, 4))]
    for name in ("image", "index"):
        np.testing.assert_array_equal(np.concatenate([shard["unlabelled"][name] for shard in shards]), whole["unlabelled"][name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.together(Fragile(3), image=(Fragile(3), 1)), "^image: "),
        (lambda: data.together(Fragile(3), more=(Fragile(3), 0)), "^more: "),
        (lambda: data.together(Fragile(3), more=(Fragile(3), np.inf)), "^more: .*inf"),
        (lambda: data.batches(data.together(Fragile(3), more=(Fragile(3), 0.3)), 2), "^more: .*0.3"),
    ],
)
def test_wrong_streams_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (Fragile(3), "Fragile"),
        ((Fragile(3),), "Fragile"),
        ((7, Fragile(3)), "int, Fragile"),
        ((Fragile(3), "7"), "Fragile, str"),
        ((Fragile(3), True), "Fragile, bool"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_a_stream_is_a_source_and_a_ratio(stream, found):
    with pytest.raises(TypeError) as error:
        data.together(Fragile(3), more=stream)
    assert str(error.value).startswith("more: ") and found in str(error.value)
