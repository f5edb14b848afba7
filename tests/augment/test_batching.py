"""Image i of epoch e gets the same draw in any batch, order, compilation and number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxvision as jv
from jaxvision import axis

RNG = np.random.default_rng(0)
KEY = jax.random.key(7)
BATCH = {
    "image": jnp.asarray(RNG.integers(0, 256, (64, 10, 10, 3)), jnp.uint8),
    "label": jnp.asarray(RNG.integers(0, 5, 64)),
    "index": jnp.arange(100, 164),
    "epoch": jnp.arange(64) // 40,  # a batch may lie across the end of an epoch
}
WITHOUT_PLACES = {name: BATCH[name] for name in ("image", "label")}
RECIPE = jv.augment.chain(jv.augment.random_resized_crop(8), jv.augment.cifar_train(8, padding=2))
AUGMENT = jax.jit(jv.augment.each(RECIPE))
EVERYTHING = jv.augment.chain(jv.augment.each(RECIPE), jv.augment.mixup_or_cutmix(num_classes=5))


def rows(batch: dict, chosen) -> dict:
    return {name: array[chosen] for name, array in batch.items()}


def assert_same(found: dict, expected: dict) -> None:
    for name in ("image", "label"):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-6)


@pytest.fixture(scope="module")
def whole() -> dict:
    return AUGMENT(KEY, BATCH)


@pytest.fixture(scope="module")
def mixed() -> tuple[dict, dict]:
    return tuple(jax.jit(EVERYTHING)(KEY, batch) for batch in (BATCH, WITHOUT_PLACES))


@pytest.mark.parametrize("size", [1, 7])
def test_the_batch_size_does_not_matter(whole, size):
    for first in (0, 35, 40, 57):
        chosen = slice(first, first + size)
        assert_same(AUGMENT(KEY, rows(BATCH, chosen)), rows(whole, chosen))


@pytest.mark.slow
def test_compilation_does_not_matter(whole):
    assert_same(jv.augment.each(RECIPE)(KEY, BATCH), whole)


def test_the_order_does_not_matter_but_the_epoch_does(whole):
    order = RNG.permutation(64)
    assert_same(AUGMENT(KEY, rows(BATCH, order)), rows(whole, order))
    later = AUGMENT(KEY, BATCH | {"epoch": BATCH["epoch"] + 1})
    assert np.all(np.any(later["image"] != whole["image"], axis=(1, 2, 3)))


def test_one_image_alone_is_its_row_of_the_batch(whole):
    key = jax.random.fold_in(jax.random.fold_in(KEY, 1), 150)
    np.testing.assert_allclose(RECIPE(key, BATCH["image"][50] / 255), whole["image"][50], atol=2e-6)


@pytest.mark.parametrize(
    ("driver", "shards", "places"),
    [("shard_map", 8, True), ("pmap", 2, False), ("shard_map", 2, False), ("pmap", 8, True)],
)
@pytest.mark.slow
def test_the_number_of_devices_does_not_matter(mixed, driver, shards, places):
    """With the places in the data set in the batch, and without them, where the position in the batch decides."""
    batch, expected = (BATCH, mixed[0]) if places else (WITHOUT_PLACES, mixed[1])
    if driver == "shard_map":
        mesh = jax.make_mesh((shards,), (axis.NAME,), axis_types=(AxisType.Auto,), devices=jax.devices()[:shards])
        split = PartitionSpec(axis.NAME)
        augment = jax.shard_map(EVERYTHING, mesh=mesh, in_specs=(PartitionSpec(), split), out_specs=split, check_vma=False)
        found = jax.jit(augment)(KEY, batch)
    else:
        augment = jax.pmap(EVERYTHING, axis_name=axis.NAME, in_axes=(None, 0), devices=jax.devices()[:shards])
        found = augment(KEY, jax.tree.map(lambda array: array.reshape(shards, -1, *array.shape[1:]), batch))
        found = jax.tree.map(lambda array: array.reshape(64, *array.shape[2:]), found)
    assert_same(found, expected)


def test_without_places_the_position_decides():
    keys = jv.augment.example_keys(KEY, {"image": BATCH["image"][:3]})
    expected = jax.vmap(functools.partial(jax.random.fold_in, KEY))(jnp.arange(3))
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(expected))


def test_bytes_become_floats_and_other_integers_are_refused():
    identity = jv.augment.each(lambda key, image: image)
    np.testing.assert_allclose(identity(KEY, BATCH)["image"], np.asarray(BATCH["image"]) / 255, rtol=1e-6)
    with pytest.raises(TypeError, match="^image"):
        identity(KEY, {"image": jnp.zeros((2, 4, 4, 3), jnp.int32)})
