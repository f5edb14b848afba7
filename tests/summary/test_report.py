"""Reports: values of the conventions, totals compared with the program and with torchvision's published numbers, known tables."""

import json
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.kernels import native
from jaxvision.kernels._primitive import reference_of  # so that the count below sees the products inside of kernels
from jaxvision.layers import Conv, Dense, average_pool, max_pool
from jaxvision.models.catalog import ALIASES, FAMILIES
from tests.conftest import HAS_TORCH
from tests.marks import split

PUBLISHED = {  # GMACs ("GFLOPS") of torchvision 0.28's weights, at their image size
    "alexnet": 0.714,
    "vgg16": 15.47,
    "googlenet": 1.498,
    "inception_v3": 5.713,
    "resnet18": 1.814,
    "resnet50": 4.089,
    "resnext50_32x4d": 4.23,
    "densenet121": 2.834,
    "mobilenet_v2": 0.301,
    "mobilenet_v3_small": 0.057,
    "efficientnet_b0": 0.386,
    "convnext_tiny": 4.456,
    "vit_base_patch16_224": 17.564,
    "swin_tiny_patch4_window7_224": 4.491,
}
OTHERS = (
    "lenet5",
    "alexnet_bn",
    "xception",
    "plain20",
    "seresnet18",
    "resnetv2_18",
    "convnextv2_atto",
    "mixer_s32_224",
    "gmlp_ti16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2",
)
NAMES = [name for name in sum(FAMILIES.values(), ()) if name in (*PUBLISHED, *OTHERS) and name != "inception_v3"]
FEW = ("lenet5", "alexnet_bn", "mobilenet_v3_small", "convnextv2_atto", "mixer_s32_224", "deit_tiny_distilled_patch16_224")
SIDES = {"inception_v3": 299, "inception_v4": 299, "xception": 299, "googlenet": 224}


class Pooling(nn.Module):
    """2 x 2 max pooling, called as a function."""

    @nn.compact
    def __call__(self, image):
        return max_pool(image, 2, stride=2)


class Pair(nn.Module):
    """Two dense layers, tokens [B, L, d] -> [B, L, d] through n units."""

    hidden: int

    @nn.compact
    def __call__(self, tokens):
        return Dense(tokens.shape[-1], use_bias=False)(jax.nn.relu(Dense(self.hidden, use_bias=False)(tokens)))


class SimpleAttention(nn.Module):
    """Self-attention without biases: four maps of d to d, scores and mixture."""

    @nn.compact
    def __call__(self, tokens):
        maps = [Dense(tokens.shape[-1], use_bias=False, name=name)(tokens)[:, :, None] for name in ("queries", "keys", "values")]
        return Dense(tokens.shape[-1], use_bias=False, name="project")(jv.kernels.attention(*maps)[:, :, 0])


def products_of(jaxpr, times: int = 1) -> int:
    """Multiplications in all convolutions and matrix products of a program, counted from shapes alone."""
    total = 0
    for equation in jaxpr.eqns:
        if reference := reference_of(equation.primitive):
            given = [variable.aval for variable in equation.invars]
            total += products_of(jax.make_jaxpr(partial(reference, **equation.params))(*given).jaxpr, times)
            continue
        out = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        shapes = [variable.aval.shape for variable in equation.invars]
        if equation.primitive.name == "dot_general":
            total += times * out * math.prod(shapes[0][axis] for axis in equation.params["dimension_numbers"][0][0])
        elif equation.primitive.name == "conv_general_dilated":
            features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
            total += times * out * math.prod(shapes[1]) // features
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += products_of(inner, times * equation.params.get("length", 1)) if hasattr(inner, "eqns") else 0
    return total


def sizes_of(model) -> tuple[int, int]:
    """(side, channels) of an image that the model takes and whose last map needs no averaging over bins."""
    name = getattr(model, "variant", "")
    side = getattr(model, "image_size", None) or SIDES.get(name, 224)
    return (32, 1 if model.activation == "tanh" else 3) if type(model).__name__ == "LeNet5" else (side, 3)


def without_compiled_kernels(patch: pytest.MonkeyPatch) -> None:
    """Convolutions without compiled kernels or multiplications by zero, so that the products of a program can be counted."""
    patch.setattr(native, "available", lambda *arrays, **options: False)


@pytest.fixture
def plain(monkeypatch):
    without_compiled_kernels(monkeypatch)


def assert_all_operations_counted(name: str) -> None:
    model = jv.create_model(name)
    side, channels = sizes_of(model)
    report = jv.report(model, (side, side, channels))
    image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert report.params == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    whole = jax.make_jaxpr(partial(model.apply, mutable="intermediates"))(
        variables, image
    )  # so that a ViT computes all tokens of its last block
    assert report.macs == sum(row.macs for row in report.rows) == products_of(whole.jaxpr)
    unknown = [row.path for row in report.rows[1:] if row.memory and (row.field is None or None in row.field)]
    assert not unknown, "unknown receptive fields"
    assert len({row.path for row in report.rows if not row.params}) == sum(not row.params for row in report.rows)
    assert max(map(len, str(report).splitlines())) <= 140
    assert abs(report.macs / 1e9 - PUBLISHED.get(name, report.macs / 1e9)) <= 0.0006


@pytest.mark.parametrize("name", split(NAMES, FEW))
def test_all_operations_and_parameters_are_counted(name, plain):
    assert_all_operations_counted(name)


@pytest.mark.parametrize(("name", "shape", "macs"), [("lenet5", (32, 32, 1), 416_520), ("convnextv2_atto", (32, 32, 3), 11_483_520)])
def test_the_implementation_of_a_convolution_does_not_change_the_report(name, shape, macs, monkeypatch):
    """On a CPU LeNet's convolutions are matrix products, and ConvNeXt's depthwise convolutions are compiled kernels."""
    here = jv.report(jv.create_model(name), shape)
    monkeypatch.setattr(native, "available", lambda *arrays, **options: False)
    assert here == jv.report(jv.create_model(name), shape) and here.macs == macs


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: torchvision's figures are not compared")
def test_totals_equal_those_of_the_installed_torchvision():
    from torchvision import models

    compared = 0
    for name in sum(FAMILIES.values(), ()):
        for other in [name, *(alias for alias, known in ALIASES.items() if known == name)]:
            if other not in models.list_models(module=models):
                continue
            weights = next((row for row in models.get_model_weights(other) if row.name in ("IMAGENET1K_V1", "IMAGENET1K_SWAG_LINEAR_V1")))
            side = weights.transforms.keywords["crop_size"]
            report = jv.report(jv.create_model(name), (side, side, 3))
            assert abs(report.macs / 1e9 - weights.meta["_ops"]) <= 0.0006, name
            compared += 1
    assert compared >= 45


def test_counts_of_single_layers():
    perceptron = jv.report(Dense(1), (3,), convention="flops")
    assert (perceptron.macs, perceptron.params) == (7, 4)
    assert jv.report(Dense(256), (28 * 28,), convention="flops").macs == 401_664
    conv = jv.report(Conv(256, 3), (28, 28, 1), convention="flops")
    assert (conv.macs, conv.rows[-1].output, conv.rows[-1].kind) == (3_288_064, (26, 26, 256), "Conv")
    for convention in ("weights", "torchinfo", "flops"):
        pooling = jv.report(Pooling(), (28, 28, 1), convention=convention).rows[-1]
        assert (pooling.kind, pooling.macs, pooling.memory, pooling.output) == ("MaxPool", 0, 784, (14, 14, 1))


@pytest.mark.parametrize(
    "length, pair, attention",
    [
        (50, 419_430_400, 429_670_400),
        (784, 6_576_668_672, 9_094_299_648),
        (1_048_576, 8_796_093_022_208, 4_512_395_720_392_704),
    ],
)
def test_attention_beside_a_pair_of_dense_layers(length, pair, attention):
    assert jv.report(Pair(2048), (length, 1024), convention="flops").macs == pair
    report = jv.report(SimpleAttention(), (length, 1024), convention="flops")
    assert report.macs == attention
    scores, mixture = [row for row in report.rows if row.kind == "MatMul"]
    assert (scores.path, scores.output, mixture.path) == ("scores", (1, length, length), "mixture")
    assert scores.macs == mixture.macs == 2 * length**2 * 1024


@pytest.mark.slow
def test_alexnet_under_the_convention_of_torchinfo():
    report = jv.report(jv.create_model("alexnet"), convention="torchinfo")
    assert (report.macs, report.params, report.forward_backward_bytes, report.param_bytes) == (
        714_682_664,
        61_100_840,
        3_953_472,
        244_403_360,
    )
    assert "3.95 MB" in str(report) and "244.40 MB" in str(report) and "714,682,664 " in str(report)
    rows = [row.params for row in report.rows if row.params]
    assert rows == [23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000]
    assert next(row.macs for row in report.under("weights").rows if row.path == "stage3/conv") == 149_520_384
    # torchinfo 1.8.0 on torchvision's resnet50 and timm's vit_tiny_patch16_224: dense layers once, products of activations never.
    for name, macs, forward_backward in (("resnet50", 4_089_238_376, 177_831_744), ("vit_tiny_patch16_224", 34_470_760, 40_553_792)):
        report = jv.report(jv.create_model(name), convention="torchinfo")
        assert (report.macs, report.forward_backward_bytes) == (macs, forward_backward)


def test_vgg16_layer_by_layer():
    report = jv.report(jv.create_model("vgg16"))
    assert (report.activations, report.weights) == (15_237_608, 138_344_128)
    rows = [(row.output, row.activations, row.weights) for row in report.rows]
    assert rows[:4] == [
        ((224, 224, 3), 150_528, 0),
        ((224, 224, 64), 3_211_264, 1_728),
        ((224, 224, 64), 3_211_264, 36_864),
        ((112, 112, 64), 802_816, 0),
    ]
    assert rows[-4:] == [((7, 7, 512), 25_088, 0), ((4096,), 4_096, 102_760_448), ((4096,), 4_096, 16_777_216), ((1000,), 1_000, 4_096_000)]


def test_a_stride_that_does_not_divide_is_flagged():
    def flagged(name, shape):
        report = jv.report(jv.create_model(name), shape)
        return [row.path for row in report.rows if not row.divides], "not integral" in str(report)

    assert flagged("alexnet", (224, 224, 3)) == (["stem/conv"], True)  # (224 - 11 + 4) / 4 = 54.25
    assert flagged("alexnet_227", (227, 227, 3)) == ([], False)  # (227 - 11) / 4 = 54
    assert flagged("vgg11", (224, 224, 3)) == ([], False)
    # 229 columns become 114, 57, 28, 14: the first and the third pooling leave one over.
    assert flagged("vgg11", (224, 229, 3))[0] == ["stage1/max_pool", "stage3/max_pool"]


class Sparse(nn.Module):
    """A dilated convolution with stride and padding."""

    @nn.compact
    def __call__(self, image):
        return Conv(2, 3, stride=3, padding=1, dilation=2)(image)


# (W - 2 (3 - 1) - 1 + 2) / 3 is integral for 9 and 12; without the dilation it would be for 10 as well, without the padding for 11.
@pytest.mark.parametrize("side, divides", [(9, True), (10, False), (11, False), (12, True)])
def test_divides_takes_dilation_and_padding_into_account(side, divides):
    row = jv.report(Sparse(), (side, side, 3)).rows[-1]
    assert (row.kernel, row.stride, row.padding, row.dilation) == ((3, 3), (3, 3), ((1, 1), (1, 1)), (2, 2))
    assert (row.divides, row.output) == (divides, ((side - 3) // 3 + 1,) * 2 + (2,))


def test_adaptive_pooling_has_no_macs():
    report = jv.report(jv.create_model("alexnet"), (160, 160, 3))  # the last map is 4 x 4, averaged to 6 x 6
    means = [row for row in report.rows if row.kind == "GridMean"]
    assert [row.output for row in report.rows if row.path == "max_pool3"] == [(4, 4, 256)] and means
    assert all(row.macs == row.uses == row.bias_adds == row.params == 0 for row in means)
    positions = [39**2 * 64, 19**2 * 192, 9**2 * 384, 9**2 * 256, 9**2 * 256, 4096, 4096, 1000]
    fan_in = [11**2 * 3, 25 * 64, 9 * 192, 9 * 384, 9 * 256, 6 * 6 * 256, 4096, 4096]
    assert report.macs == sum(map(math.prod, zip(positions, fan_in, strict=True)))
    assert report.under("flops").macs == 2 * report.macs + sum(positions)


class Mixed(nn.Module):
    """Flax's own layers, a bare parameter, a loop, a shared layer, and functions between modules."""

    @nn.compact
    def __call__(self, image):
        image = image + self.param("offset", nn.initializers.zeros, (3,))
        x = nn.GroupNorm(4)(nn.Conv(8, (3, 3), strides=2, padding=1, name="conv")(image))
        x = average_pool(x, 2, stride=2)
        same = nn.Dense(8, name="shared")
        x = same(same(x))
        kernel = self.param("kernel", nn.initializers.ones, (8, 8))
        x, _ = jax.lax.scan(lambda carry, _: (jnp.tanh(carry @ kernel), None), x.mean((1, 2)), length=5)
        return x


def test_flax_layers_bare_parameters_loops_and_shared_layers():
    report = jv.report(Mixed(), (16, 16, 3))
    rows = {row.path: row for row in report.rows}
    assert [row.path for row in report.rows][1:] == [
        "kernel",
        "offset",
        "conv",
        "GroupNorm_0",
        "average_pool",
        "shared",
        "shared",
        "global_mean",
        "linear",
    ]
    assert (rows["conv"].kernel, rows["conv"].stride, rows["conv"].field, rows["conv"].macs) == ((3, 3), (2, 2), (3, 3), 8 * 8 * 8 * 27)
    assert rows["average_pool"].field == ("all", "all")  # group normalisation depends on every position
    assert report.rows[6].params == 72 and report.rows[7].params == 0  # stored once
    assert report.rows[6].macs == report.rows[7].macs == 4 * 4 * 64
    assert rows["linear"].macs == 5 * 64
    assert (rows["offset"].params, rows["kernel"].params, rows["kernel"].output) == (3, 64, (8, 8))


class Endless(nn.Module):
    """A loop whose length depends on its data."""

    @nn.compact
    def __call__(self, image):
        return jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: x + 1, image)


class Two(nn.Module):
    """A module of two inputs."""

    @nn.compact
    def __call__(self, image, text):
        return Dense(1)(image) + Dense(1)(text)


def test_image_shape_may_hold_numpy_integers():
    for shape in (np.array((2, 3)), [np.int64(2), np.int32(3)]):
        report = jv.report(Dense(1), shape)
        assert report.image_shape == (2, 3) and report.macs == 6 and json.dumps(report.as_dict())


def test_invalid_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match="model"):
        jv.report("resnet18")
    with pytest.raises(TypeError, match="model"):
        jv.report(Dense)
    with pytest.raises(ValueError, match="model"):
        jv.report(Two(), (3,))
    for shape in (224, (2.0, 3), (), "224"):
        with pytest.raises(ValueError, match="image_shape"):
            jv.report(Dense(1), shape)
    with pytest.raises(ValueError, match="convention"):
        jv.report(Dense(1), (3,), convention="gflops")
    with pytest.raises(ValueError, match="image_shape"):
        jv.report(Dense(1), (0, 3))
    with pytest.raises(ValueError, match="while"):
        jv.report(Endless(), (3,))


def test_at_depth_adds_rows_up():
    report = jv.report(jv.create_model("resnet18"), (64, 64, 3))
    short = report.at_depth(1)
    assert [row.path for row in short.rows] == ["image", "stem", "stage1", "stage2", "stage3", "stage4", "global_mean", "head"]
    assert (short.params, short.macs, short.memory, short.activations) == (report.params, report.macs, report.memory, report.activations)
    last = next(row for row in report.rows if row.path == "stage1/block2/norm2")
    assert (short.rows[2].output, short.rows[2].field, short.rows[2].kind) == (last.output, last.field, "8 layers")
    with pytest.raises(ValueError, match="depth"):
        report.at_depth(0)
