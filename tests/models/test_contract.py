"""What every family promises: parameter counts and tree, features, encoders, types, refusals. Shapes are traced, not computed."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow, split
from tests.models.rows import FAMILIES, KINDS

KEY = jax.random.key(0)
COUNTS = {
    "lenet5": 61_706,
    "cifarnet": 62_006,
    "alexnet": 61_100_840,
    "alexnet_bn": 62_381_096,
    "alexnet_227": 60_965_224,
    "alexnet_227_pad2": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16_1x1": 133_638_952,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888,
    "inception_v3": 27_161_264,
    "inception_v4": 42_679_816,
    "xception": 22_855_952,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenetv1_100": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_l": 118_515_272,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_8gf": 39_381_472,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_32gf": 145_046_770,
    "regnet_y_128gf": 644_812_894,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vit_tiny_patch16_224": 5_717_416,
    "vit_small_patch16_224": 22_050_664,
    "vit_base_patch16_224": 86_567_656,
    "vit_base_patch32_224": 88_224_232,
    "vit_large_patch16_224": 304_326_632,
    "vit_large_patch32_224": 306_535_400,
    "vit_huge_patch14_224": 632_045_800,
}


def _top(first: str, part: str, count: int, last: str = "") -> str:
    """The top level of a tree: "stem", numbered stages or blocks, "norm"."""
    return " ".join([first, *(f"{part}{index}" for index in range(1, count + 1)), last]).strip()


# name: options, image, width of the pooled features, top level of the tree
SMALL = {
    "lenet5": ({}, (2, 32, 32, 1), 84, "stem stage1 stage2 stage3"),
    "alexnet": ({}, (2, 70, 80, 3), 4096, _top("stem", "stage", 6)),
    "vgg11_bn": ({}, (2, 33, 40, 3), 4096, _top("", "stage", 7)),
    "googlenet": ({"auxiliary_heads": False}, (2, 65, 70, 3), 1024, _top("stem", "block", 9)),
    "inception_v4": ({}, (2, 75, 80, 3), 1536, _top("stem", "block", 19)),
    "xception": ({}, (2, 65, 70, 3), 2048, _top("stem", "block", 14)),
    "densenet121": ({}, (2, 33, 40, 3), 68, _top("stem", "stage", 4, "norm")),
    "mobilenetv1_100": ({}, (2, 33, 40, 3), 1024, _top("stem", "block", 13)),
    "mobilenet_v3_small": ({}, (2, 33, 40, 3), 1024, _top("stem", "block", 13)),
    "efficientnet_b0": ({}, (2, 33, 40, 3), 1280, _top("stem", "stage", 8)),
    "regnet_y_400mf": ({}, (2, 33, 40, 3), 440, _top("stem", "stage", 4)),
    "resnet18": ({"stem": "cifar"}, (2, 9, 11, 3), 512, "stem stage1 stage2 stage3 stage4"),
    "resnet50": ({}, (2, 33, 40, 3), 2048, "stem stage1 stage2 stage3 stage4"),
    "plain20": ({}, (2, 9, 11, 3), 64, _top("stem", "stage", 3)),
    "seresnet18": ({}, (2, 33, 40, 3), 512, _top("stem", "stage", 4)),
    "resnetv2_18": ({}, (2, 33, 40, 3), 512, _top("stem", "stage", 4, "norm")),
    "convnext_tiny": ({}, (2, 33, 40, 3), 768, _top("stem", "stage", 4, "norm")),
    "convnextv2_atto": ({}, (2, 33, 40, 3), 320, _top("stem", "stage", 4, "norm")),
    "swin_tiny_patch4_window7_224": ({}, (2, 33, 40, 3), 768, _top("stem", "stage", 4, "norm")),
    "mixer_s32_224": ({"image_size": 32, "patch_size": 8}, (2, 32, 32, 3), 512, _top("stem", "block", 2, "norm")),
    "gmlp_ti16_224": ({"image_size": 32, "patch_size": 8}, (2, 32, 32, 3), 128, _top("stem", "block", 2, "norm")),
    "vit_tiny_patch16_224": ({"image_size": 16, "patch_size": 8}, (2, 16, 24, 3), 192, _top("stem", "block", 2, "norm")),
    "deit_tiny_distilled_patch16_224": ({"image_size": 16, "patch_size": 8}, (2, 16, 24, 3), 192, _top("stem", "block", 2, "norm")),
    "vit_small_patch14_reg4_dinov2": ({"image_size": 16, "patch_size": 8}, (2, 16, 24, 3), 384, _top("stem", "block", 2, "norm")),
}


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


SHALLOW = {  # fields of a model with few blocks: tracing takes as long as there are blocks
    "densenet121": {"depths": (1, 1, 1, 1)},
    **dict.fromkeys(("regnet_y_400mf", "resnet50", "seresnet18", "resnetv2_18", "convnextv2_atto"), {"depths": (1, 1, 1, 1)}),
    **dict.fromkeys(("convnext_tiny", "swin_tiny_patch4_window7_224"), {"depths": (1, 1, 2, 1)}),
    **dict.fromkeys([name for name in SMALL if name.startswith(("mixer", "gmlp", "vit", "deit"))], {"depth": 2}),
}


def made(name: str, **options):
    """The small, shallow form of a family's model."""
    return jv.create_model(name, **{"num_classes": 5, **SMALL[name][0], **options}).clone(**SHALLOW.get(name, {}))


@functools.cache
def small(name: str, **options):
    """``made``, the shapes of its variables and of an image."""
    model, shape = made(name, **options), SMALL[name][1]
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    return model, jax.eval_shape(model.init, KEY, image), image


def drawn(model, image) -> dict:
    """Variables near one for scales and variances, small for the rest: drawn in numpy, since compiling an initialisation takes seconds."""
    generator = np.random.default_rng(1)

    def draw(path, leaf):
        center = 1.0 if path[-1].key in ("scale", "var") else 0.0
        return (center + 0.1 * generator.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, KEY, image))


@pytest.mark.parametrize("name", split(COUNTS, FAMILIES - {"googlenet", "densenet121"}))
def test_parameters_are_counted_exactly(name):
    model = jv.create_model(name)
    side, channels = {"lenet5": (32, 1), "cifarnet": (32, 3)}.get(name, (getattr(model, "image_size", 96), 3))
    variables = jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32))
    assert count(variables["params"]) == COUNTS[name]


def test_lenets_rows():
    params = small("lenet5", num_classes=10)[1]["params"]
    assert [count(params[name]) for name in ("stem", "stage1", "stage2", "stage3", "head")] == [156, 2_416, 48_120, 10_164, 850]


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_tree_logits_and_encoder(name):
    model, variables, image = small(name)
    *_, width, top = SMALL[name]
    assert set(variables["params"]) == {*top.split(), "head"}
    logits = jax.eval_shape(model.apply, variables, image)
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    encoder, headless, _ = small(name, num_classes=0)
    assert set(headless["params"]) == set(top.split())
    pooled = jax.eval_shape(encoder.apply, headless, image)
    features = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image)
    assert pooled.shape == features.pooled.shape == (2, width)
    assert pooled.dtype == features.pooled.dtype == jnp.float32


def test_maps_and_tokens():
    def shapes(name):
        model, variables, image = small(name)
        found = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image)
        return found.tokens and found.tokens.shape, {name: leaf.shape[1:] for name, leaf in found.maps.items()}

    assert shapes("lenet5") == (None, {"stride1": (28, 28, 6), "stride2": (10, 10, 16)})
    assert shapes("resnet18") == (None, {f"stride{2**i}": (*side, 64 * 2**i) for i, side in enumerate([(9, 11), (5, 6), (3, 3), (2, 2)])})
    sides = [(9, 10), (5, 5), (3, 3), (2, 2)]  # strides 4, 8, 16, 32, rounded up
    assert shapes("resnet50") == (None, {f"stride{4 * 2**i}": (*side, 256 * 2**i) for i, side in enumerate(sides)})
    assert shapes("vit_tiny_patch16_224") == ((2, 6, 192), {})


STRIDES = {  # of the maps, where they are not 4, 8, 16 and 32
    "lenet5": {1, 2},
    "alexnet": {4, 8, 16},
    "vgg11_bn": {2, 4, 8, 16, 32},
    "resnet18": {1, 2, 4, 8},
    "plain20": {1, 2, 4},
    **dict.fromkeys([name for name in SMALL if name.startswith(("mixer", "gmlp", "vit", "deit"))], set()),
}


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_maps_are_named_by_their_strides(name):
    model, variables, image = small(name)
    side = {"lenet5": 32}.get(name, image.shape[1] if name.startswith(("mixer", "gmlp")) else 256)
    image = jax.ShapeDtypeStruct((2, side, side, image.shape[3]), jnp.float32)
    features = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image)
    assert set(features.maps) == {f"stride{stride}" for stride in STRIDES.get(name, {4, 8, 16, 32})}
    assert features.maps or features.tokens.shape[0] == 2
    for key, leaf in features.maps.items():
        assert leaf.ndim == 4 and leaf.shape[1] == leaf.shape[2]
        if name != "lenet5":  # whose kernels have no padding
            assert key == f"stride{2 ** round(math.log2(side / leaf.shape[1]))}"


LEAST = {  # H and W, where they cannot be 1
    "alexnet": 63,
    "alexnet_bn": 67,
    "vgg11_bn": 32,
    "googlenet": 15,
    "googlenet_original": 31,
    "inception_v3": 75,
    "inception_v4": 75,
    "xception": 7,
    "densenet121": 29,
    "convnext_tiny": 32,
    "convnextv2_atto": 32,
    "swin_tiny_patch4_window7_224": 4,
}


@pytest.mark.parametrize(
    "name",
    split([name for name in {**SMALL, **LEAST} if not name.startswith(("lenet", "mixer", "gmlp", "vit", "deit"))], KINDS | {"alexnet"}),
)
def test_the_smallest_image_has_all_maps_and_a_smaller_one_is_refused(name):
    least = LEAST.get(name, 1)
    model = jv.create_model(name, num_classes=5)
    image, narrow, low = (jax.ShapeDtypeStruct((2, *sides, 3), jnp.float32) for sides in ((least,) * 2, (80, least - 1), (least - 1, 80)))
    features = functools.partial(model.apply, method="features")
    variables = jax.eval_shape(functools.partial(model.init, KEY), jax.ShapeDtypeStruct((2, 80, 80, 3), jnp.float32))
    assert all(math.prod(leaf.shape) for leaf in jax.eval_shape(features, variables, image).maps.values())
    for small in (narrow, low):
        with pytest.raises(ValueError, match="^image:"):
            jax.eval_shape(features, variables, small)


@pytest.mark.slow
def test_inception_v3_says_how_it_trains_on_images_that_are_too_small_for_its_auxiliary_head():
    model, image = jv.create_model("inception_v3", num_classes=5), jax.ShapeDtypeStruct((2, 150, 150, 3), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, image)
    with pytest.raises(ValueError, match="^image: .*auxiliary_heads=False"):
        jax.eval_shape(
            functools.partial(model.apply, method="with_auxiliary", rngs={"dropout": KEY}, mutable=["batch_stats"]), variables, image
        )


@pytest.mark.parametrize("name", ["lenet5", "resnet18", slow("googlenet"), "vgg11_bn", "deit_tiny_distilled_patch16_224"])
def test_float64_stays(name):
    options = {"auxiliary_heads": True} if name == "googlenet" else {}
    model, variables, image = small(name, **options)
    with jax.enable_x64(True):
        train = functools.partial(model.apply, train=True, mutable=["batch_stats", "auxiliary"], rngs={"dropout": jax.random.key(0)})
        logits, sown = jax.eval_shape(train, variables, jax.ShapeDtypeStruct(image.shape, jnp.float64))
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, sown.get("auxiliary")))} == {jnp.dtype("float64")}


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_bfloat16_computes_but_parameters_and_logits_are_float32(name):
    model, variables, image = small(name, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    features = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image)
    assert features.pooled.dtype == jax.eval_shape(model.apply, variables, image).dtype == jnp.float32
    inner = [leaf for leaf in (features.tokens, *features.maps.values()) if leaf is not None]
    assert {leaf.dtype for leaf in inner} == {jnp.dtype("bfloat16")}


def test_bfloat16_logits_are_near_the_float32_ones():
    options = {"image_size": 16, "patch_size": 8, "num_classes": 5}
    wide, narrow = (jv.create_model("vit_tiny_patch16_224", dtype=dtype, **options).clone(depth=2) for dtype in (None, "bfloat16"))
    image = jax.random.normal(KEY, (4, 16, 16, 3))
    variables = drawn(wide, image)
    wanted = jax.jit(wide.apply)(variables, image)
    assert 0 < float(jnp.abs(jax.jit(narrow.apply)(variables, image) - wanted).max()) < 0.1 * float(jnp.std(wanted))


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_other_channels_than_those_asked_for_are_refused(name):
    _, shape, *_ = SMALL[name]
    shapes = {channels: jax.ShapeDtypeStruct((*shape[:3], channels), jnp.float32) for channels in (2, 3)}
    model = made(name, in_channels=2)
    variables = jax.eval_shape(model.init, KEY, shapes[2])
    assert jax.eval_shape(model.apply, variables, shapes[2]).shape == (2, 5)
    with pytest.raises(ValueError, match="^image:"):
        jax.eval_shape(model.apply, variables, shapes[3])


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_fields_can_be_written_down(name):
    model = small(name, dtype="bfloat16")[0]
    fields = {field: getattr(model, field) for field in model.__dataclass_fields__ if field not in ("parent", "name")}
    json.dumps(fields)
    assert type(model)(**fields) == model


@pytest.mark.parametrize("name", split(SMALL, KINDS))
def test_refusals_name_the_argument(name):
    model, variables, image = small(name)
    features = functools.partial(jax.eval_shape, functools.partial(model.apply, method="features"), variables)
    with pytest.raises(ValueError, match="^image:"):
        features(jax.ShapeDtypeStruct((9, 9, 3), jnp.float32))
    with pytest.raises(TypeError, match="^image:"):
        features(jax.ShapeDtypeStruct(image.shape, jnp.uint8))
    with pytest.raises(ValueError, match="^mask:"):
        features(image, mask=jax.ShapeDtypeStruct(image.shape[:3], jnp.float32))
    if not name.startswith(("vit", "deit")):
        with pytest.raises(ValueError, match="^keep:"):
            features(image, keep=jax.ShapeDtypeStruct((2, 1), jnp.int32))
        return
    with pytest.raises(ValueError, match="^image:"):
        features(jax.ShapeDtypeStruct((2, 12, 16, 3), jnp.float32))
    for shape, dtype in (((2,), jnp.int32), ((3, 1), jnp.int32), ((2, 1), jnp.float32)):
        with pytest.raises(ValueError, match="^keep:"):
            features(image, keep=jax.ShapeDtypeStruct(shape, dtype))


def test_lenet_refuses_another_image_size():
    model, variables, _ = small("lenet5")
    with pytest.raises(ValueError, match="^image:"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32))


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_a_vit_sees_only_what_keep_names(pool):
    model = jv.create_model("vit_tiny_patch16_224", image_size=24, patch_size=8, num_classes=0, pool=pool).clone(depth=2)
    image = jax.random.normal(KEY, (2, 24, 24, 3))
    params = drawn(model, image)
    features = jax.jit(functools.partial(model.apply, method="features"))
    keep = jnp.array([[4, 0, 7], [8, 1, 2]])
    found = features(params, image, keep=keep)
    assert found.tokens.shape == (2, 3, 192)
    # Patches 3 and 5 of the grid are kept by neither image.
    changed = image.at[:, 8:16, 0:8].add(1.0).at[:, 8:16, 16:24].add(1.0)
    np.testing.assert_array_equal(features(params, changed, keep=keep).pooled, found.pooled)
    assert not np.allclose(features(params, changed).pooled, features(params, image).pooled, atol=1e-3)
    # All patches in another order are the same set: tokens follow the order, the pooled vector does not see it.
    order = jnp.array([[8, 3, 0, 1, 6, 2, 5, 4, 7], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
    everything, shuffled = features(params, image), features(params, image, keep=order)
    np.testing.assert_allclose(shuffled.pooled, everything.pooled, atol=1e-5)
    np.testing.assert_allclose(shuffled.tokens, jnp.take_along_axis(everything.tokens, order[:, :, None], axis=1), atol=1e-5)


def test_drop_path_rises_linearly_and_zero_initialized_blocks_are_their_shortcuts():
    model = jv.create_model("resnet18", stem="cifar", drop_path_rate=0.7, zero_init_residual=True)
    bound = model.bind({})
    rates = [rate for index in range(1, 5) for rate in getattr(bound, f"stage{index}").drop_path_rates]
    np.testing.assert_allclose(rates, np.linspace(0, 0.7, 8), atol=1e-12)
    vit = jv.create_model("vit_tiny_patch16_224", drop_path_rate=0.2).bind({})
    np.testing.assert_allclose([getattr(vit, f"block{i}").drop_path_rate for i in range(1, 13)], np.linspace(0, 0.2, 12), atol=1e-12)
    for name, count in (("mobilenet_v2", 17), ("xception", 12)):
        bound = jv.create_model(name, drop_path_rate=0.2).bind({})
        rates = [getattr(bound, f"block{i}").drop_path_rate for i in range(2, count + 1)]
        np.testing.assert_allclose(rates, np.linspace(0, 0.2, count)[1:], atol=1e-12)
    block = jax.jit(model.clone(depths=(1,)).init)(KEY, jnp.zeros((1, 4, 4, 3)))["params"]["stage1"]["block1"]
    np.testing.assert_array_equal(block["norm1"]["scale"], 1)
    np.testing.assert_array_equal(block["norm2"]["scale"], 0)


def test_training_draws_from_the_key_and_moves_the_statistics():
    model = jv.create_model("resnet18", stem="cifar", num_classes=3, drop_rate=0.5, drop_path_rate=0.3).clone(depths=(1, 1))
    image = jax.random.normal(KEY, (4, 8, 8, 3))
    variables = drawn(model, image)
    train = jax.jit(lambda key: model.apply(variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key}))
    (first, moved), (again, _), (other, _) = train(KEY), train(KEY), train(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert jax.tree.structure(moved["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    assert all(bool(jnp.any(one != two)) for one, two in zip(*map(jax.tree.leaves, (moved["batch_stats"], variables["batch_stats"]))))
