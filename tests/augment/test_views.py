"""Views and the batch inside a batch; whole recipes give the same bits whatever the other examples and the position in the batch."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxvision as jv
from benchmarks.augment_time import passes
from jaxvision.kernels import native
from tests.compilation import AS_USERS_COMPILE

COUNT = 64
BATCH = {
    "image": np.random.default_rng(0).integers(0, 256, (COUNT, 24, 28, 3), dtype=np.uint8),
    "index": np.arange(COUNT, dtype=np.int32),
    "epoch": np.full(COUNT, 3, np.int32),
}
KEY = jax.random.key(1)


def rows(batch: dict, part: slice) -> dict:
    return {name: value[part] for name, value in batch.items()}


def add_noise(key, image):
    return image + jax.random.uniform(key, image.shape)


def test_views_and_crops_draw_with_keys_of_their_own():
    crop = jv.augment.random_crop(8)
    augment = jv.augment.views(add_noise, add_noise, jv.augment.chain(), crops=(crop,) * 3)
    found = jax.jit(augment)(KEY, BATCH)
    assert found["views"].shape == (COUNT, 3, 24, 28, 3) and found["crops"].shape == (COUNT, 3, 8, 8, 3)
    np.testing.assert_array_equal(found["views"][:, 2], found["image"])
    np.testing.assert_allclose(found["image"], BATCH["image"] / np.float32(255), rtol=1e-6)
    np.testing.assert_array_equal(found["index"], BATCH["index"])
    noise = np.asarray(found["views"][:, :2] - found["image"][:, None])
    assert len(np.unique(noise[..., 0, 0, 0].round(5))) == 2 * COUNT
    assert len(np.unique(np.asarray(found["crops"])[..., 0, 0, 0].round(5))) > COUNT


def test_a_view_does_not_depend_on_its_neighbours_recipes():
    """The same recipe in a row is mapped over its keys; apart, it is computed apart."""
    together = jv.augment.views(add_noise, add_noise, add_noise)(KEY, rows(BATCH, slice(4)))["views"]
    apart = jv.augment.views(add_noise, jv.augment.chain(), add_noise)(KEY, rows(BATCH, slice(4)))["views"]
    np.testing.assert_array_equal(together[:, ::2], apart[:, ::2])


def test_wrong_views_are_refused():
    with pytest.raises(ValueError, match="^recipes"):
        jv.augment.views(crops=(add_noise,))
    with pytest.raises(ValueError, match=r"^recipes: .*\(8, 8, 3\).*\(24, 28, 3\)"):
        jv.augment.views(add_noise, jv.augment.center_crop(8))(KEY, BATCH)


def test_on_reaches_the_batch_inside_the_batch():
    batch = {**rows(BATCH, slice(4)), "unlabelled": rows(BATCH, slice(6))}
    noisy = jv.augment.each(add_noise)
    found = jax.jit(jv.augment.chain(jv.augment.on("unlabelled", noisy), noisy))(KEY, batch)
    assert found["unlabelled"]["image"].shape == (6, 24, 28, 3)
    pixels = BATCH["image"][:4] / np.float32(255)
    noise = [np.asarray(images[:4] - pixels) for images in (found["image"], found["unlabelled"]["image"])]
    assert all(some.min() >= -1e-6 and some.max() <= 1 for some in noise) and np.abs(noise[0] - noise[1]).mean() > 0.2
    two = [jv.augment.on(name, noisy)(KEY, {name: rows(BATCH, slice(1))})[name]["image"] for name in ("weak", "strong")]
    assert np.abs(np.asarray(two[0] - two[1])).mean() > 0.2
    with pytest.raises(KeyError, match="unlabelled"):
        jv.augment.on("unlabelled", noisy)(KEY, BATCH)


RECIPES = {
    "simclr": lambda: jv.augment.simclr(16),
    "dino": lambda: jv.augment.dino(16, crop_size=8, crops=3),
    "imagenet_train": lambda: jv.augment.each(jv.augment.imagenet_train(16)),
    "rand_augment": lambda: jv.augment.each(jv.augment.chain(jv.augment.rand_augment(), jv.augment.imagenet_train(16))),
    "three_augment": lambda: jv.augment.each(jv.augment.three_augment(16)),
    "mae": lambda: jv.augment.each(jv.augment.mae(16)),
    "cifar_train": lambda: jv.augment.each(jv.augment.cifar_train(24)),
}


def pixels(augment, batch) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in augment(KEY, batch).items() if value.ndim > 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_same_bits_for_any_batch_and_any_devices(name):
    """The same bits as in a batch of 64 on one device; but AugMix, whose sum of images the compiler rounds apart in some batches of few."""
    tolerance = 1e-6 if name == "aug_mix" else 0
    augment = jax.jit(RECIPES[name](), compiler_options=AS_USERS_COMPILE)
    whole = pixels(augment, BATCH)
    for count in (1, 5, 7):
        part = slice(9, 9 + count)
        for key, value in pixels(augment, rows(BATCH, part)).items():
            np.testing.assert_allclose(value, whole[key][part], rtol=0, atol=tolerance, err_msg=f"{name}, batch of {count}")
    for number in (1, 2, 8):
        sharding = NamedSharding(Mesh(np.array(jax.devices()[:number]), ("data",)), PartitionSpec("data"))
        for key, value in pixels(augment, jax.device_put(BATCH, sharding)).items():
            np.testing.assert_allclose(value, whole[key], rtol=0, atol=tolerance, err_msg=f"{name}, {number} devices")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet_train", "three_augment"])
def test_nearly_the_same_without_jit(name):
    """Operation by operation, products and sums are rounded apart that a compiled program rounds once: bits differ, grays do not."""
    augment, few = RECIPES[name](), rows(BATCH, slice(2))
    np.testing.assert_allclose(augment(KEY, few)["image"], jax.jit(augment)(KEY, few)["image"], atol=2e-5)


def test_simclr_is_one_program_of_few_passes_over_the_pixels():
    """A pass writes a value or more for every pixel of every view; jitter and blur are one each, of compiled kernels if there are any."""
    size, images = 64, np.zeros((8, 64, 64, 3), np.uint8)
    program = jax.jit(lambda batch: jv.augment.simclr(size)(KEY, batch)["views"]).lower({"image": images}).compile().as_text()
    found = passes(program, 2 * len(images) * size**2)
    print(f"SimCLR's two views: {found}")
    assert program.count("ENTRY ") == 1
    foreign = {"jaxvision_jitter", "jaxvision_blur"} if native.present() else set()
    assert set(re.findall(r'custom_call_target="([^"]*)"', program)) == foreign
    assert 2 < found["full passes"] <= (8 if native.present() else 16)
