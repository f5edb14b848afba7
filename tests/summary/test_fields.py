"""Receptive fields and total strides, compared with the support of a gradient: the pixels that can change a position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.kernels import native
from jaxvision.layers import Conv, average_pool
from jaxvision.models import alexnet, vgg
from jaxvision.typing import Features
from tests.marks import slow


@pytest.fixture(autouse=True)
def exact_zeros(monkeypatch):
    """Use XLA's convolutions: the compiled ones compute in tiles and leave rounding errors where a gradient is zero."""
    monkeypatch.setattr(native, "available", lambda *arrays, **options: False)


def positive(model, image) -> dict:
    """Positive variables, uniform in (0.5, 1.5) / fan-in, so that gradients neither cancel nor vanish."""
    generator = np.random.default_rng(0)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 1
        return jnp.asarray(generator.uniform(0.5, 1.5, leaf.shape) / fan_in, leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0), image))


def supports(model, shape, name: str, positions, size: int = 1) -> list[tuple[int, int]]:
    """(first, last) row of the image that changes ``size`` x ``size`` positions of the map ``name``, from each of ``positions`` on."""
    image = jnp.asarray(np.random.default_rng(1).uniform(0.5, 1, (1, *shape)), jnp.float32)
    variables = positive(model, image)

    def chosen(image, place):
        found = model.apply(variables, image, method="features").maps[name]
        return jax.lax.dynamic_slice_in_dim(jax.lax.dynamic_slice_in_dim(found, place, size, 1), place, size, 2).sum()

    gradient = jax.jit(jax.grad(chosen))
    found = []
    for place in positions:
        size_of_change = np.abs(np.asarray(gradient(image, place))[0]).max((1, 2))
        rows = np.flatnonzero(size_of_change > 1e-30 * size_of_change.max())
        found.append((int(rows[0]), int(rows[-1])))
    return found


def row_of(report, path: str):
    return next(row for row in report.rows if row.path == path)


def average_instead(x, size, *, stride, **options):
    """An average over the same windows, because a maximum passes its gradient to one pixel of a window only."""
    return average_pool(x, size, stride=stride)


@pytest.mark.slow
def test_the_last_pooling_of_vgg16_has_a_field_of_212_pixels(monkeypatch):
    assert row_of(jv.report(jv.create_model("vgg16")), "stage5/max_pool").field == (212, 212)
    monkeypatch.setattr(vgg, "_WIDTHS", (2,) * 5)
    monkeypatch.setattr(vgg, "max_pool", average_instead)
    narrow = jv.create_model("vgg16", num_classes=0)
    [(first, last)] = supports(narrow, (224, 224, 3), "stride32", [3])
    assert last - first + 1 == 212


@pytest.mark.slow
def test_the_last_pooling_of_alexnet_has_a_field_of_195_pixels(monkeypatch):
    rows = jv.report(jv.create_model("alexnet"))
    assert (row_of(rows, "max_pool3").field, row_of(rows, "max_pool3").total_stride) == ((195, 195), (32, 32))
    monkeypatch.setattr(alexnet, "max_pool", average_instead)
    narrow = jv.create_model("alexnet", num_classes=0).clone(widths=(2,) * 5)
    # One position of the last pooling is 3 x 3 positions of the map before it; at 224 pixels every position touches the border.
    (first, last), (after, _) = supports(narrow, (320, 320, 3), "stride16", [6, 8], size=3)
    assert (last - first + 1, after - first) == (195, 32)


def test_the_last_pooling_of_lenet_has_a_field_of_16_pixels(monkeypatch):
    assert row_of(jv.report(jv.create_model("lenet5"), (32, 32, 1)), "max_pool2").field == (16, 16)
    monkeypatch.setattr(nn, "max_pool", nn.avg_pool)
    (first, last), (after, _) = supports(jv.create_model("cifarnet"), (32, 32, 3), "stride2", [4, 6], size=2)
    assert (last - first + 1, after - first) == (16, 4)


SWIN = {"width": 8, "depths": (2,), "heads": (1,)}


@pytest.mark.parametrize(
    "name, side, stage, fields",
    [
        slow("resnet18", 160, "stage2", {"depths": (2, 2)}),  # a shortcut beside each branch
        ("resnet20", 40, "stage2", {"depths": (1, 2)}),
        ("convnext_tiny", 128, "stage1", {"depths": (3,), "widths": (8,)}),
        # 28 x 28 patches: windows and shifted windows
        slow("swin_tiny_patch4_window7_224", 112, "stage1", SWIN),
        ("swin_tiny_patch4_window7_224", 90, "stage1", SWIN),  # windows that extend beyond the edge
    ],
)
def test_fields_of_branches_and_windows(name, side, stage, fields, monkeypatch):
    model = jv.create_model(name, num_classes=0).clone(**fields)
    rows = [row for row in jv.report(model, (side, side, 3)).rows if row.path.startswith(f"{stage}/") and row.memory]
    monkeypatch.setattr(nn, "max_pool", nn.avg_pool)
    found = supports(model, (side, side, 3), f"stride{rows[-1].total_stride[0]}", range(side // rows[-1].total_stride[0]))
    assert max(last - first + 1 for first, last in found) == rows[-1].field[0]


class DilatedConvolutions(nn.Module):
    """Two dilated convolutions, the second with stride and padding, and a strided slice between them."""

    @nn.compact
    def features(self, image):
        x = Conv(2, 3, padding=2, dilation=2, name="before")(image)
        x = x[:, 1::2, 1::2]
        x = Conv(2, 3, stride=3, padding=1, dilation=2, name="after")(x)
        return Features(x.mean((1, 2)), None, {"after": x})

    def __call__(self, image):
        return self.features(image).maps["after"]


def test_dilation_and_slices_with_a_stride():
    report = jv.report(DilatedConvolutions(), (42, 42, 3))
    assert (row_of(report, "before").field, row_of(report, "before").total_stride) == ((5, 5), (1, 1))
    # 5 + 2 (3 - 1) 2: after the slice positions are 2 pixels apart, and the dilated window is 5 positions wide.
    assert (row_of(report, "after").field, row_of(report, "after").total_stride) == ((13, 13), (6, 6))
    (first, last), (after, _) = supports(DilatedConvolutions(), (42, 42, 3), "after", [2, 3])
    assert (last - first + 1, after - first) == (13, 6)


def test_whole_images_and_rectangles():
    report = jv.report(jv.create_model("vit_tiny_patch16_224").clone(depth=2))
    assert (row_of(report, "stem/patch").field, row_of(report, "stem/patch").total_stride) == ((16, 16), (16, 16))
    assert row_of(report, "block1/norm1").field == (16, 16)
    assert row_of(report, "block1/attention/scores").field == row_of(report, "head").field == ("all", "all")
    assert (row_of(report, "block1/mlp/expand").total_stride, row_of(report, "head").total_stride) == ((16, 16), None)
    mixer = jv.report(jv.create_model("mixer_s32_224").clone(depth=2))
    assert row_of(mixer, "stem/patch").field == (32, 32) and row_of(mixer, "block2/norm1").field == ("all", "all")
    gated = jv.report(jv.create_model("seresnet18"), (64, 64, 3))
    assert row_of(gated, "stage1/block1/norm2").field == (27, 27)
    assert row_of(gated, "stage1/block2/conv1").field == ("all", "all")  # the gate depends on every position
    wide = jv.report(jv.create_model("resnet18"), (64, 96, 3))
    assert row_of(wide, "stem/max_pool").output == (16, 24, 64)
    assert row_of(wide, "stem/max_pool").field == (11, 11)


@pytest.mark.slow
def test_fields_larger_than_the_image_and_of_other_heights_than_widths():
    last = [row for row in jv.report(jv.create_model("resnet50")).rows if row.total_stride == (32, 32)][-1]
    assert last.field == (427, 427)  # the theoretical size, larger than the image
    factors = [row for row in jv.report(jv.create_model("inception_v3"), (299, 299, 3)).rows if row.kernel == (1, 7)]
    assert factors[0].field[0] < factors[0].field[1]
