"""RandAugment, TrivialAugment, AugMix: torchvision's spaces, each operation's pixels, what is drawn how often, and mixtures that add up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import ndimage, stats

import jaxvision as jv
from jaxvision.augment.policies import AUG_MIX, AUG_MIX_WITHOUT_COLORS, RAND_AUGMENT, TRIVIAL_AUGMENT, draw_layer, layer, magnitudes

KEY = jax.random.key(4)
RNG = np.random.default_rng(4)
SMOOTH = ndimage.gaussian_filter(RNG.random((40, 53, 3)), (2, 2, 0))
IMAGE = np.round(255 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)).astype(np.float32) / 255  # [40, 53, 3]
SPACES = {  # name: ours, its bins, torchvision's class and the name of its table
    "RandAugment": (RAND_AUGMENT, 31, "RandAugment", "_AUGMENTATION_SPACE"),
    "TrivialAugment": (TRIVIAL_AUGMENT, 31, "TrivialAugmentWide", "_AUGMENTATION_SPACE"),
    "AugMix": (AUG_MIX, 10, "AugMix", "_AUGMENTATION_SPACE"),
    "AugMix without colours": (AUG_MIX_WITHOUT_COLORS, 10, "AugMix", "_PARTIAL_AUGMENTATION_SPACE"),
}


act = jax.jit(functools.partial(layer, space=TRIVIAL_AUGMENT, method="nearest", fill=0))


def of_torchvision():
    pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
    from torchvision.transforms import v2

    return v2


@pytest.mark.parametrize("shape", [(32, 32), (224, 160), (37, 501)], ids=str)
@pytest.mark.parametrize("name", SPACES)
def test_spaces_are_those_of_torchvision(name, shape):
    space, usual, class_name, table_name = SPACES[name]
    theirs = getattr(getattr(of_torchvision(), class_name), table_name)
    assert set(space) == set(theirs)
    for bins in (usual, 5):
        for row, operation in zip(magnitudes(space, bins, shape), space, strict=True):
            expected, signed = theirs[operation][0](bins, *shape), theirs[operation][1]
            expected = np.zeros(bins) if expected is None else np.asarray(expected, float)
            if "Translate" in operation:  # in whole pixels, where 16 that torchvision's linspace rounds to 15.999999 is 16 here
                expected = np.trunc(expected + 1e-5)
            np.testing.assert_allclose(row, expected, rtol=1e-6)
            assert space[operation].signed == signed


@pytest.mark.parametrize("operation", TRIVIAL_AUGMENT)
def test_an_operation_has_the_pixels_of_torchvision(operation):
    """Within 2 / 255 of the float and of the byte form, but for one pixel in a thousand of those moved, which lies between two."""
    v2 = of_torchvision()
    torch = pytest.importorskip("torch")
    apply = v2.TrivialAugmentWide()._apply_image_or_video_transform
    place = list(TRIVIAL_AUGMENT).index(operation)
    row = magnitudes(TRIVIAL_AUGMENT, 31, IMAGE.shape[:2])[place]
    floats = torch.tensor(IMAGE).permute(2, 0, 1)
    for step in (0, 7, 15, 24, 30):
        for sign in (1, -1) if TRIVIAL_AUGMENT[operation].signed else (1,):
            found = np.asarray(act(IMAGE, place, sign * row[step]))
            for image, scale in ((floats, 1), (torch.round(255 * floats).to(torch.uint8), 255)):
                expected = apply(image, operation, float(sign * row[step]), interpolation=v2.InterpolationMode.NEAREST, fill={})
                apart = np.abs(found - expected.permute(1, 2, 0).numpy() / np.float32(scale)).max(-1) > 2 / 255 + 1e-6
                assert apart.mean() <= (1e-3 if operation.startswith(("Shear", "Rotate")) else 0), (step, sign, scale, apart.sum())


def test_operations_without_a_magnitude_change_nothing():
    for operation in ("Identity", *(name for name, ends in TRIVIAL_AUGMENT.items() if ends.signed)):
        np.testing.assert_allclose(act(IMAGE, list(TRIVIAL_AUGMENT).index(operation), 0.0), IMAGE, atol=1e-6)
    np.testing.assert_array_equal(act(IMAGE, -1, 0.3), IMAGE)


@pytest.mark.parametrize("name", SPACES)
def test_operations_bins_and_signs_are_drawn_alike(name):
    space, bins, *_ = SPACES[name]
    table = np.arange(1, 1 + len(space) * bins, dtype=np.float32).reshape(len(space), bins)  # a magnitude says which bin it is
    keys = jax.random.split(KEY, 10_000)
    operation, magnitude = (np.asarray(a) for a in jax.jit(jax.vmap(lambda key: draw_layer(key, space, table, (0, bins))))(keys))
    place = np.abs(magnitude).astype(int) - 1
    np.testing.assert_array_equal(place // bins, operation)
    signed = np.array([ends.signed for ends in space.values()])[operation]
    assert np.all(magnitude[~signed] > 0)
    for what, counts in {
        "operations": np.bincount(operation, minlength=len(space)),
        "bins": np.bincount(place % bins, minlength=bins),
        "signs": np.bincount(magnitude[signed] > 0, minlength=2),
        "operations by bin": np.bincount(place, minlength=table.size),
    }.items():
        pvalue = stats.chisquare(counts).pvalue
        print(f"{name}: {what:20s} p = {pvalue:.3f}")
        assert pvalue > 0.01, what


def test_rand_augment_is_its_layers_in_a_row():
    options = {"method": "bilinear", "fill": 0.5}
    augment = jax.jit(jv.augment.rand_augment(num_ops=3, magnitude=12, num_magnitude_bins=20, **options))
    one = jax.jit(lambda image, *drawn: layer(image, *drawn, RAND_AUGMENT, **options))
    table = magnitudes(RAND_AUGMENT, 20, IMAGE.shape[:2])
    for key in jax.random.split(KEY, 3):
        expected = jnp.asarray(IMAGE)
        for place in range(3):
            operation, magnitude = draw_layer(jax.random.fold_in(key, place), RAND_AUGMENT, table, (12, 13))
            assert abs(magnitude) == table[operation, 12]
            expected = one(expected, operation, magnitude)
        np.testing.assert_allclose(augment(key, IMAGE), expected, atol=1e-5)


def test_aug_mix_of_chains_that_do_nothing_is_the_image(monkeypatch):
    monkeypatch.setattr("jaxvision.augment.policies.layer", lambda image, *rest, **options: image)
    for options in ({}, {"mixture_width": 1}, {"chain_depth": 4, "alpha": 0.3, "all_ops": False}):
        np.testing.assert_allclose(jv.augment.aug_mix(**options)(KEY, jnp.asarray(IMAGE)), IMAGE, atol=1e-6)


def test_chains_of_aug_mix_are_one_to_three_deep(monkeypatch):
    """Each layer that acts adds one: the mixture then tells how deep its only chain was, and how much of it there is."""
    monkeypatch.setattr("jaxvision.augment.policies.layer", lambda image, operation, *rest, **options: image + (operation >= 0))
    monkeypatch.setattr("jaxvision.augment.policies.draw_mixture", lambda key, width, alpha: jnp.array([0.2, 0.8]))
    keys = jax.random.split(KEY, 3000)

    def depths(**options):
        augment = jv.augment.aug_mix(mixture_width=1, **options)
        found = np.asarray(jax.jit(jax.vmap(augment, (0, None)))(keys, jnp.zeros((2, 2, 1))))[:, 0, 0, 0] / 0.8
        np.testing.assert_allclose(found, found.round(), atol=1e-5)
        return found.round().astype(int)

    assert stats.chisquare(np.bincount(depths(), minlength=4)[1:]).pvalue > 0.01
    np.testing.assert_array_equal(depths(chain_depth=5), 5)


POLICIES = {
    "rand_augment": lambda: jv.augment.rand_augment(),
    "trivial_augment": lambda: jv.augment.trivial_augment(method="bilinear", fill=(0.1, 0.2, 0.3)),
    "aug_mix": lambda: jv.augment.aug_mix(),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("name", ["aug_mix", "rand_augment", "trivial_augment"])
def test_the_size_of_the_batch_does_not_matter(name, size):
    images = jnp.asarray(RNG.random((64, 10, 12, 3), np.float32))
    keys = jax.random.split(KEY, 64)
    augment = jax.jit(jax.vmap(POLICIES[name]()))
    whole = augment(keys, images)
    np.testing.assert_allclose(augment(keys[20 : 20 + size], images[20 : 20 + size]), whole[20 : 20 + size], atol=1e-5)
    alike = np.asarray(augment(keys, images[:1].repeat(64, 0)))
    assert len({image.tobytes() for image in alike}) > 20


def test_the_number_of_devices_does_not_matter():
    images, keys = jnp.asarray(RNG.random((16, 10, 12, 3), np.float32)), jax.random.split(KEY, 16)
    augment = jax.jit(jax.vmap(POLICIES["trivial_augment"]()))
    whole = augment(keys, images)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:8])
    sharded = jax.device_put((keys, images), NamedSharding(mesh, PartitionSpec("data")))
    np.testing.assert_allclose(augment(*sharded), whole, atol=1e-5)  # the angle's cosine may be rounded differently


def test_compilation_does_not_matter():
    augment, image = POLICIES["trivial_augment"](), jnp.asarray(IMAGE[:10, :12])
    for key in jax.random.split(KEY, 3):
        np.testing.assert_allclose(augment(key, image), jax.jit(augment)(key, image), atol=1e-5)


@pytest.mark.parametrize("name", POLICIES)
def test_gray_images_and_precision_pass(name):
    augment = POLICIES[name]() if name != "trivial_augment" else jv.augment.trivial_augment()
    for dtype in (jnp.bfloat16, jnp.float32):
        found = jax.eval_shape(augment, KEY, jax.ShapeDtypeStruct((12, 9, 1), dtype))
        assert (found.shape, found.dtype) == ((12, 9, 1), dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.rand_augment(magnitude=31), "^magnitude"),
        (lambda: jv.augment.rand_augment(num_ops=0), "^num_ops"),
        (lambda: jv.augment.rand_augment(method="bicubic"), "^method"),
        (lambda: jv.augment.trivial_augment(num_magnitude_bins=1), "^num_magnitude_bins"),
        (lambda: jv.augment.aug_mix(severity=11), "^severity"),
        (lambda: jv.augment.aug_mix(mixture_width=0.5), "^mixture_width"),
        (lambda: jv.augment.aug_mix(alpha=0), "^alpha"),
        (lambda: jv.augment.aug_mix()(None, jnp.ones((4, 4, 3))), "^key"),
        (lambda: jv.augment.trivial_augment(fill=(0, 1))(KEY, jnp.ones((4, 4, 3))), "^fill"),
    ],
)
def test_wrong_policy_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
