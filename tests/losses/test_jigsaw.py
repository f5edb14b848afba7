"""Jigsaw permutations are far apart, all different and always the same; the loss is a cross-entropy over them."""

import itertools
import math

import numpy as np
import pytest

import jaxvision as jv


def distances(permutations: np.ndarray) -> list[int]:
    return [int(np.sum(one != other)) for one, other in itertools.combinations(permutations, 2)]


def test_permutations_are_chosen_one_by_one_as_far_as_possible():
    """Against the same rule in plain loops over the 24 permutations of four tiles."""
    every, chosen = list(itertools.permutations(range(4))), [(0, 1, 2, 3)]
    while len(chosen) < 12:
        apart = {one: [sum(a != b for a, b in zip(one, other, strict=True)) for other in chosen] for one in every}
        chosen.append(max(every, key=lambda one: (min(apart[one]), sum(apart[one]))))
    np.testing.assert_array_equal(jv.losses.jigsaw_permutations(12, tiles=4), chosen)


def test_the_first_permutations_of_nine_tiles_share_no_place():
    ours = jv.losses.jigsaw_permutations(9)
    assert ours.shape == (9, 9) and set(distances(ours)) == {9}
    np.testing.assert_array_equal(np.sort(ours, axis=1), np.tile(np.arange(9), (9, 1)))


def test_a_hundred_permutations():
    ours = jv.losses.jigsaw_permutations(100)
    assert min(distances(ours)) >= 6 and np.mean(distances(ours)) > 8
    np.testing.assert_array_equal(ours[:9], jv.losses.jigsaw_permutations(9))
    ours[0] = 0  # the caller's own copy
    assert jv.losses.jigsaw_permutations(100)[0, 1] == 1


def test_all_permutations_can_be_had():
    assert len({tuple(row) for row in jv.losses.jigsaw_permutations(24, tiles=4)}) == 24


def test_ignorance_costs_the_logarithm_of_the_number_of_permutations():
    assert float(jv.losses.jigsaw(np.zeros((4, 100)), np.array([0, 99, 5, 5]))) == pytest.approx(math.log(100), rel=1e-6)
    assert np.isnan(jv.losses.jigsaw(np.zeros((1, 100)), np.array([100])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.jigsaw_permutations(0), "count"),
        (lambda: jv.losses.jigsaw_permutations(25, tiles=4), "count"),
        (lambda: jv.losses.jigsaw_permutations(5, tiles=16), "tiles"),
        (lambda: jv.losses.jigsaw(np.zeros((4, 5)), np.zeros(4)), "permutation"),
        (lambda: jv.losses.jigsaw(np.zeros(5), np.zeros(5, int)), "logits"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
