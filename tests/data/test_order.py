"""The order of training: golden values, each example once an epoch, any start, any platform."""

import subprocess
import sys

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data._order import hashes, uniforms  # compared with the published numbers of splitmix64

WORD = (1 << 64) - 1
GOLDEN = {  # (seed, epoch): the order of ten examples, fixed for ever: a resumed run relies on it
    (0, 0): [0, 7, 8, 2, 5, 9, 4, 6, 3, 1],
    (0, 1): [6, 0, 4, 5, 2, 7, 9, 1, 8, 3],
    (1, 0): [2, 9, 7, 0, 5, 1, 4, 3, 8, 6],
}


def splitmix(word: int) -> int:
    """splitmix64's finalizer in Python's integers."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)


def plain_hashes(count: int, *name: int) -> list[int]:
    golden, state = 0x9E3779B97F4A7C15, 0
    for part in name:
        state = splitmix((state + (part + 1) * golden) & WORD)
    return [splitmix((state + number * golden) & WORD) for number in range(1, count + 1)]


def test_hashes_are_splitmix64():
    assert [int(word) for word in hashes(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # published, seed 0
    for name in ((), (0,), (7, 3, 1_281_166), (-1, 2**63), (2**70 + 5,)):
        np.testing.assert_array_equal(hashes(5, *name), np.array(plain_hashes(5, *name), np.uint64))


def test_the_order_never_changes():
    assert data.order(10, seed=0, epoch=0).tolist() == GOLDEN[0, 0]
    assert data.order(10, seed=0, epoch=1).tolist() == GOLDEN[0, 1]
    assert data.order(10, seed=1, epoch=0).tolist() == GOLDEN[1, 0]


def test_orders_are_permutations_and_look_random():
    orders = np.stack([data.order(101, seed=5, epoch=epoch) for epoch in range(200)])
    assert orders.dtype == np.int64
    np.testing.assert_array_equal(np.sort(orders, 1), np.broadcast_to(np.arange(101), (200, 101)))
    assert len(np.unique(orders, axis=0)) == 200
    assert abs(orders.mean(0) - 50).max() < 5 * 29.2 / np.sqrt(200)  # every place sees every example alike
    numbers = uniforms(10_000, 3)
    assert 0 <= numbers.min() and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02 and abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.05


def test_a_cached_order_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        data.order(10, seed=0, epoch=0)[0] = 1


@pytest.mark.parametrize(("length", "first", "count"), [(7, 0, 21), (7, 5, 4), (7, 13, 30), (1, 0, 3), (50, 49, 1)])
def test_positions_walk_the_endless_stream(length, first, count):
    stream = np.concatenate([data.order(length, seed=3, epoch=epoch) for epoch in range((first + count) // length + 1)])
    index, epoch = data.positions(length, first, count, seed=3)
    np.testing.assert_array_equal(index, stream[first : first + count])
    np.testing.assert_array_equal(epoch, np.arange(first, first + count) // length)


def test_an_empty_data_set_has_no_positions():
    with pytest.raises(ValueError, match="^length"):
        data.positions(0, 0, 4, seed=0)


def test_far_positions_need_only_their_own_epochs():
    """With the orders of all the epochs before, this would not end."""
    index, epoch = data.positions(10, 10**12 + 5, 10, seed=0)
    orders = [data.order(10, seed=0, epoch=number) for number in (10**11, 10**11 + 1)]
    np.testing.assert_array_equal(index, np.concatenate([orders[0][5:], orders[1][:5]]))
    assert epoch.tolist() == [10**11] * 5 + [10**11 + 1] * 5


def test_the_data_package_imports_neither_jax_nor_what_only_some_sources_need():
    program = "import sys, jaxvision.data; print({'jax', 'PIL', 'sklearn', 'tensorflow_datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "set()"
