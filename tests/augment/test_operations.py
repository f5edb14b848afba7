"""Each operation by itself: what it may return, how often, at which precision, and what it refuses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

IMAGE = jnp.asarray(np.random.default_rng(0).random((10, 12, 3), np.float32))
KEYS = jax.random.split(jax.random.key(0), 2000)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_random_crop_takes_every_place_equally_often(mode):
    crops = np.asarray(jax.jit(jax.vmap(jv.augment.random_crop((10, 12), padding=1, mode=mode), (0, None)))(KEYS, IMAGE))
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)), mode=mode)
    counts = [
        np.all(crops == padded[top : top + 10, left : left + 12], axis=(1, 2, 3)).sum()
        for top, left in itertools.product(range(3), range(3))
    ]
    assert sum(counts) == len(KEYS)
    assert np.abs(np.array(counts) - 2000 / 9).max() < 4 * np.sqrt(2000 / 9)


def test_flips_happen_as_often_as_asked():
    for flip, axis in ((jv.augment.random_horizontal_flip, 1), (jv.augment.random_vertical_flip, 0)):
        flipped = jax.vmap(flip(probability=0.3), (0, None))(KEYS, IMAGE)
        mirrored = np.all(flipped == jnp.flip(IMAGE, axis), axis=(1, 2, 3))
        assert np.all(mirrored | np.all(flipped == IMAGE, axis=(1, 2, 3)))
        assert abs(mirrored.mean() - 0.3) < 0.04


def test_alternating_flips_show_both_sides_in_any_two_epochs():
    images = jax.random.uniform(jax.random.key(1), (64, 8, 8, 3))
    flip = jax.jit(jv.augment.alternating_horizontal_flip())
    shown = []
    for epoch in range(4):
        order = np.random.default_rng(epoch).permutation(64)
        batch = {"image": images[order], "index": jnp.asarray(order), "epoch": jnp.full(64, epoch)}
        image = np.empty(images.shape, np.float32)
        image[order] = flip(jax.random.key(0), batch)["image"]
        shown.append(np.all(image == images[:, :, ::-1], axis=(1, 2, 3)))
        assert np.all(shown[-1] | np.all(image == images, axis=(1, 2, 3)))
    assert 16 < shown[0].sum() < 48
    np.testing.assert_array_equal(shown[1], ~shown[0])
    np.testing.assert_array_equal(shown[2], shown[0])
    with pytest.raises(ValueError, match="^batch"):
        flip(jax.random.key(0), {"image": images})


def test_cifar_train_is_one_of_the_crops_and_flips():
    image = IMAGE[:, :10]
    found = jv.augment.cifar_train(10, padding=2)(jax.random.key(3), image)
    mean, std = (jnp.array(values) for values in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    padded = jnp.pad(image, ((2, 2), (2, 2), (0, 0)))
    crops = [padded[top : top + 10, left : left + 10] for top, left in itertools.product(range(5), range(5))]
    distances = [jnp.abs((candidate - mean) / std - found).max() for crop in crops for candidate in (crop, crop[:, ::-1])]
    assert sorted(np.array(distances) < 1e-5)[-2:] == [False, True]
    np.testing.assert_allclose(jv.augment.cifar_eval()(None, image), (image - mean) / std, rtol=1e-5)


def test_a_random_resized_crop_of_everything_is_a_resize():
    crop = jv.augment.random_resized_crop((7, 5), scale=(1.0, 1.0), ratio=(1.2, 1.2), method="bicubic")
    expected = jax.jit(jv.augment.resize((7, 5), method="bicubic"))(None, IMAGE)
    np.testing.assert_allclose(jax.jit(crop)(jax.random.key(0), IMAGE), expected, atol=1e-5)


def test_recipes_keep_the_precision_of_their_image():
    for recipe in (jv.augment.imagenet_train(8), jv.augment.imagenet_eval(8, resize_to=9), jv.augment.cifar_train(8, padding=1)):
        for dtype in (jnp.bfloat16, jnp.float32):
            found = jax.eval_shape(recipe, jax.random.key(0), jax.ShapeDtypeStruct((10, 12, 3), dtype))
            assert (found.shape, found.dtype) == ((8, 8, 3), dtype)


def test_recipes_without_a_crop_leave_the_size_to_the_source():
    for recipe in (jv.augment.imagenet_train(8, crop=False), jv.augment.imagenet_eval(8, crop=False)):
        assert recipe(jax.random.key(0), IMAGE).shape == IMAGE.shape


def test_chain_gives_each_step_a_key_of_its_own():
    seen = []
    step = lambda key, value: seen.append(key) or value + 1  # noqa: E731
    assert jv.augment.chain(step, step, step)(jax.random.key(0), 0) == 3
    assert len({tuple(jax.random.key_data(key).tolist()) for key in seen}) == 3
    jv.augment.chain(step)(None, 0)
    assert seen[-1] is None


OPERATIONS = {
    "center_crop": jv.augment.center_crop(4),
    "random_crop": jv.augment.random_crop(4),
    "random_resized_crop": jv.augment.random_resized_crop(4),
    "random_horizontal_flip": jv.augment.random_horizontal_flip(),
    "normalize": jv.augment.normalize(0.5, 0.5),
    "resize": jv.augment.resize(4),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_only_float_images_of_rank_three_are_accepted(name):
    for image in (jnp.zeros((2, 8, 8, 3)), jnp.zeros((8, 8)), jnp.zeros((8, 8, 3), jnp.uint8)):
        with pytest.raises(ValueError, match="^image"):
            OPERATIONS[name](jax.random.key(0), image)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith("random")])
def test_random_operations_need_a_key(name):
    with pytest.raises(ValueError, match="^key"):
        OPERATIONS[name](None, IMAGE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(jv.augment.resize, 8, method="area"), "^method"),
        (functools.partial(jv.augment.resize, (8, 0)), "^size"),
        (functools.partial(jv.augment.center_crop, (8, 8, 3)), "^size"),
        (functools.partial(jv.augment.random_resized_crop, 8, scale=(1.0, 0.5)), "^scale"),
        (functools.partial(jv.augment.random_resized_crop, 8, ratio=(0.0, 0.5)), "^ratio"),
        (functools.partial(jv.augment.random_crop, 8, padding=-1), "^padding"),
        (functools.partial(jv.augment.random_crop, 8, mode="foo"), "^mode"),
        (functools.partial(jv.augment.normalize, 0.5, 0.0), "^std"),
        (functools.partial(jv.augment.cutout, 2.5), "^size"),
        (functools.partial(jv.augment.random_horizontal_flip, probability=1.5), "^probability"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a function's own text holds its address
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("recipe", [jv.augment.simclr(8), jv.augment.each(jv.augment.mae(8))], ids=["simclr", "each"])
def test_batch_recipes_ask_for_a_key(recipe):
    with pytest.raises(ValueError, match="^key"):
        recipe(None, {"image": IMAGE[None]})


@pytest.mark.parametrize("size", [4.5, 0, -3, (4, 2.5)], ids=str)
@pytest.mark.parametrize("name", ["resize", "center_crop", "five_crop", "random_crop", "random_resized_crop", "simclr", "dino", "mae"])
def test_sizes_are_whole_numbers_of_pixels(name, size):
    with pytest.raises(ValueError, match="^size"):
        getattr(jv.augment, name)(size)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (jv.augment.center_crop(11), "^image"),
        (jv.augment.random_crop(20, padding=2), "^image: .*14 x 16.*20 x 20"),
        (jv.augment.normalize((0.1, 0.2), 1.0), "^mean, std"),
    ],
    ids=["center_crop", "random_crop", "normalize"],
)
def test_images_that_do_not_fit_are_refused(operation, message):
    with pytest.raises(ValueError, match=message):
        operation(jax.random.key(0), IMAGE)
