"""Mean average precision beside its definition and scikit-learn's, with ties, and over shards."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxvision as jv
from jaxvision import axis
from tests.oracles import classification as oracle

RNG = np.random.default_rng(2)
SCORES = RNG.standard_normal((24, 4)).astype(np.float32)
LABELS = (RNG.random((24, 4)) < [0.1, 0.5, 0.9, 0.4]).astype(np.int32)


def test_without_ties_it_is_the_mean_precision_at_the_positives():
    expected = np.mean([oracle.average_precision(SCORES[:, k], LABELS[:, k]) for k in range(4)])
    np.testing.assert_allclose(jax.jit(jv.losses.mean_average_precision)(SCORES, LABELS), expected, rtol=1e-6)


@pytest.mark.parametrize("digits", [6, 1, 0], ids=["no_ties", "ties", "many_ties"])
def test_scikit_learn_agrees(digits):
    metrics = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is not installed: average precision is NOT checked against it here"
    )
    scores = np.round(SCORES, digits)
    expected = metrics.average_precision_score(LABELS, scores, average="macro")
    np.testing.assert_allclose(jv.losses.mean_average_precision(scores, LABELS), expected, rtol=1e-6)


def test_classes_without_a_positive_are_left_out():
    labels = LABELS.copy()
    labels[:, 1] = 0
    expected = jv.losses.mean_average_precision(SCORES[:, [0, 2, 3]], labels[:, [0, 2, 3]])
    np.testing.assert_allclose(jv.losses.mean_average_precision(SCORES, labels), expected, rtol=1e-6)
    assert np.isnan(jv.losses.mean_average_precision(SCORES, 0 * labels))


def test_every_shard_ranks_the_whole_batch():
    mesh = jax.make_mesh((4,), (axis.NAME,), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    rows = PartitionSpec(axis.NAME)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(rows, rows), out_specs=rows, check_vma=False)
    def sharded(scores, labels):
        return jv.losses.mean_average_precision(scores, labels)[None]

    expected = jv.losses.mean_average_precision(SCORES, LABELS)
    np.testing.assert_allclose(jax.jit(sharded)(SCORES, LABELS), np.full(4, expected), rtol=1e-6)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="logits, labels"):
        jv.losses.mean_average_precision(SCORES, LABELS[:, :3])
