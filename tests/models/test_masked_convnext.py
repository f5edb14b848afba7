"""ConvNeXt on masked images: as if hidden pixels did not exist; and its stems of other strides."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.models.test_contract import KEY, drawn

MASK = jnp.array([[[1, 0], [0, 1], [1, 1]], [[0, 0], [1, 0], [0, 1]]])  # [2, 3, 2], 1 = hidden


@functools.cache
def tiny(name: str = "convnextv2_atto", patch_size: int = 2):
    """A small net, its variables, images [2, 48, 32, 3] whose last map is 3 x 2 places, and its features as a compiled function."""
    model = jv.create_model(name, num_classes=0, patch_size=patch_size).clone(depths=(1, 1, 2, 1), widths=(4, 6, 8, 10))
    image = jax.random.normal(KEY, (2, 24 * patch_size, 16 * patch_size, 3))
    return model, drawn(model, image), image, jax.jit(functools.partial(model.apply, method="features"))


def pixels(mask, side: int):
    return jnp.repeat(jnp.repeat(mask, side, axis=1), side, axis=2)[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_tiny", "convnextv2_atto"])
def test_hidden_pixels_change_nothing_and_get_no_gradient(name):
    model, variables, image, features = tiny(name)
    hidden = pixels(MASK, 16)
    found = features(variables, image, mask=MASK)
    other = features(variables, jnp.where(hidden, 1e6 * jax.random.normal(jax.random.key(1), image.shape), image), mask=MASK)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(one, two)
    for leaf in found.maps.values():
        places = pixels(MASK, leaf.shape[1] // 3)
        assert np.all(np.where(places, leaf, 0) == 0) and np.all(np.any(np.where(places, 1, leaf), axis=-1))

    def total(image):
        found = features(variables, image, mask=MASK)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(found))

    gradient = jax.jit(jax.grad(total))(image)
    assert np.all(np.where(hidden, gradient, 0) == 0) and np.all(np.any(np.where(hidden, 1, gradient), axis=-1))


def test_nothing_hidden_is_the_plain_network():
    _, variables, image, features = tiny()
    masked, plain = (features(variables, image, **options) for options in ({"mask": jnp.zeros((2, 3, 2))}, {}))
    for one, two in zip(jax.tree.leaves(masked), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_pooled_is_the_mean_of_the_visible_places():
    model, variables, image, features = tiny()
    found = features(variables, image, mask=MASK)
    norm = variables["params"]["norm"]
    for example in range(2):
        mean = np.asarray(found.maps["stride16"][example])[np.asarray(MASK[example]) == 0].mean(0)
        wanted = (mean - mean.mean()) / np.sqrt(mean.var() + 1e-6) * norm["scale"] + norm["bias"]
        np.testing.assert_allclose(found.pooled[example], wanted, rtol=1e-4, atol=1e-4)


def test_a_position_of_a_coarse_map_is_visible_if_any_of_its_parts_is():
    _, variables, image, features = tiny()
    mask = jnp.ones((2, 24, 16)).at[:, 5, 9].set(0)  # on the grid of the stem
    maps = features(variables, image, mask=mask.astype(bool)).maps
    for stride, leaf in ((2, maps["stride2"]), (4, maps["stride4"]), (8, maps["stride8"]), (16, maps["stride16"])):
        seen = np.argwhere(np.any(np.asarray(leaf[0]), axis=-1))
        np.testing.assert_array_equal(seen, [[10 // stride, 18 // stride]])
    everything = features(variables, image, mask=jnp.ones((2, 3, 2)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(everything)) and not np.any(everything.maps["stride16"])


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_strides_and_the_least_image_follow_the_patch_size(patch_size):
    model = tiny(patch_size=patch_size)[0]
    look = functools.partial(jax.eval_shape, lambda image: model.init_with_output(KEY, image, method="features")[0])
    maps = look(jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)).maps
    strides = [patch_size * 2**stage for stage in range(4)]
    assert {name: leaf.shape[1] for name, leaf in maps.items()} == {f"stride{stride}": 32 // stride for stride in strides}
    least = 8 * patch_size
    look(jax.ShapeDtypeStruct((1, least, least, 3), jnp.float32))
    with pytest.raises(ValueError, match=f"^image: .*{least}"):
        look(jax.ShapeDtypeStruct((1, least, least - 1, 3), jnp.float32))


def test_other_masks_and_patch_sizes_are_refused():
    model, variables, image, _ = tiny()
    features = functools.partial(jax.eval_shape, functools.partial(model.apply, method="features"), variables, image)
    for shape in ((2, 3), (3, 3, 2), (2, 5, 2), (2, 48, 32), (2, 0, 2)):
        with pytest.raises(ValueError, match="^mask:"):
            features(mask=jnp.zeros(shape))
    with pytest.raises(ValueError, match="^keep:"):
        features(keep=jnp.zeros((2, 1), int))
    for value in (0, 1.5, True):
        with pytest.raises(ValueError, match="^patch_size:"):
            jv.create_model("convnextv2_atto", patch_size=value)
