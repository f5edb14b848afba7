"""The compiled convolutions, depthwise and dense, equal XLA's: values and gradients, under every transformation, on any devices."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import conv2d, native, plain_conv2d
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow, split

ROOT = Path(__file__).parents[2]


class Case(NamedTuple):
    """One convolution; ``features`` None where every channel has a filter of its own."""

    image: tuple[int, ...]
    size: tuple[int, int]
    features: int | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def groups(self) -> int:
        return self.image[-1] if self.features is None else 1


CASES = {
    "depthwise 3x3": Case((2, 8, 9, 16), (3, 3), padding=(1, 1)),
    "depthwise 7x7 on fewer pixels than taps": Case((2, 5, 4, 32), (7, 7), padding=(3, 3)),
    "depthwise 5x5, stride 2, odd": Case((1, 11, 13, 24), (5, 5), stride=(2, 2), padding=(2, 2)),
    "depthwise, channels left over": Case((3, 6, 15, 19), (3, 3), padding=(1, 1)),
    "depthwise, unequal": Case((1, 9, 30, 5), (2, 6), stride=(3, 1), padding=(0, 2)),
    "depthwise, stride 3 with a rest": Case((1, 12, 12, 8), (3, 3), stride=(3, 3), padding=(0, 1)),
    "depthwise, padding beyond the kernel": Case((1, 4, 4, 7), (2, 2), padding=(4, 3)),
    "depthwise 1x1 with a stride": Case((1, 5, 5, 4), (1, 1), stride=(2, 2), padding=(1, 1)),
    "depthwise, one place": Case((2, 7, 7, 33), (7, 7)),
    "depthwise, several bands": Case((1, 90, 90, 16), (3, 3), padding=(1, 1)),
    "depthwise, several bands with a stride": Case((1, 150, 90, 16), (7, 7), stride=(2, 2), padding=(3, 3)),
    "3x3": Case((2, 8, 9, 16), (3, 3), 24, padding=(1, 1)),
    "one channel, one feature": Case((2, 6, 6, 1), (3, 3), 1),
    "a stem of 7x7": Case((1, 31, 30, 3), (7, 7), 64, stride=(2, 2), padding=(3, 3)),
    "features left over": Case((3, 6, 15, 5), (3, 3), 71, padding=(1, 1)),
    "fewer floats in a row than are multiplied at once": Case((2, 5, 6, 2), (3, 1), 7, padding=(1, 0)),
    "unequal": Case((1, 9, 20, 5), (2, 6), 17, stride=(3, 1), padding=(0, 2)),
    "stride beyond the kernel": Case((2, 11, 12, 4), (2, 1), 9, stride=(3, 2), padding=(1, 0)),
    "padding beyond the kernel": Case((1, 4, 4, 7), (2, 2), 6, padding=(4, 3)),
    "one place": Case((2, 7, 7, 33), (7, 7), 10),
    "more images than are padded at once": Case((5, 100, 100, 64), (3, 3), 3, padding=(1, 1)),
    "in tiles": Case((2, 29, 31, 64), (3, 3), 72, padding=(1, 2)),
    "in tiles but for the kernel's gradient": Case((1, 41, 40, 37), (3, 3), 33, padding=(0, 1)),
}
KINDS = ("depthwise 3x3", "3x3")
SHIFTED = [case for case in CASES if not CASES[case].features and case != "depthwise, unequal"]
FEW = ("depthwise 3x3", "depthwise, channels left over", "depthwise, unequal", "3x3", "a stem of 7x7", "features left over", "in tiles")
every_case = pytest.mark.parametrize("case", split(CASES, FEW))
kinds = pytest.mark.parametrize("case", KINDS)
kinds_and_tiles = pytest.mark.parametrize("case", [*KINDS, "in tiles"])


def form(case: str):
    return lambda image, kernel, **options: conv2d(image, kernel, groups=CASES[case].groups, **options)


def draw(case: str) -> tuple[np.ndarray, np.ndarray, dict]:
    chosen, random = CASES[case], np.random.default_rng(0)
    channels = chosen.image[-1]
    kernel = (*chosen.size, channels, chosen.features) if chosen.features else (*chosen.size, 1, channels)
    image, kernel = (random.standard_normal(size, np.float32) for size in (chosen.image, kernel))
    kernel /= np.sqrt(np.float32(kernel[..., 0].size))  # outputs of about 1, so that their sine is no matter of rounding
    return image, kernel, {"stride": chosen.stride, "padding": chosen.padding}


def plain(image, kernel, *, stride, padding):
    return plain_conv2d(image, kernel, stride=stride, padding=padding, groups=image.shape[-1] // kernel.shape[2])


def value_and_gradients(function, image, kernel, options):
    def run(image, kernel):
        out, back = jax.vjp(lambda image, kernel: function(image, kernel, **options), image, kernel)
        return out, *back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

    return jax.jit(run)(image, kernel)


def assert_close(ours, theirs, bound: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        assert np.abs(one - other).max() <= bound * np.abs(other).max()


@built
@every_case
def test_value_and_gradients_are_those_of_the_plain_form(case):
    image, kernel, options = draw(case)
    assert_close(value_and_gradients(form(case), image, kernel, options), value_and_gradients(plain, image, kernel, options))


@pytest.mark.parametrize("case", ["depthwise, unequal", *(slow(case) for case in SHIFTED)])
def test_depthwise_convolution_in_float64_is_the_plain_form(case):
    """The compiled kernels take float32 alone: this is the sum of shifted products."""
    image, kernel, options = draw(case)
    with jax.enable_x64():
        image, kernel = np.float64(image), np.float64(kernel)
        ours, theirs = (value_and_gradients(function, image, kernel, options) for function in (form(case), plain))
        assert_close(ours, theirs, bound=1e-13)


@built
@pytest.mark.parametrize("own_filters", [True, False])
@pytest.mark.parametrize("count", [3, slow(12)])
def test_any_shape(own_filters, count):
    """Convolutions whose every size is drawn."""
    random = np.random.default_rng(1)
    for _ in range(count):
        batch, rows, columns, channels, features = (int(random.integers(1, high)) for high in (4, 24, 24, 40, 80))
        size, stride, padding = (tuple(map(int, random.integers(low, high, 2))) for low, high in ((1, 9), (1, 4), (0, 5)))
        if rows + 2 * padding[0] < size[0] or columns + 2 * padding[1] < size[1]:
            continue
        image = random.standard_normal((batch, rows, columns, channels), np.float32)
        kernel = random.standard_normal((*size, 1, channels) if own_filters else (*size, channels, features), np.float32)
        options = {"stride": stride, "padding": padding}
        ours = value_and_gradients(partial(conv2d, groups=channels if own_filters else 1), image, kernel, options)
        assert_close(ours, value_and_gradients(plain, image, kernel, options))


@built
@pytest.mark.parametrize("case", ["depthwise 5x5, stride 2, odd", "unequal", "in tiles"])
@pytest.mark.parametrize(
    "transform",
    [
        "jvp",
        "vmap over both",
        *(slow(name) for name in ("grad of grad", "jvp of grad", "vmap over images", "vmap over kernels")),
    ],
)
def test_every_transformation(case, transform):
    image, kernel, options = draw(case)
    several = {"images": jnp.stack([image, 2 * image]), "kernels": jnp.stack([kernel, 2 * kernel])}

    def transformed(function):
        value = lambda image, kernel: jnp.sum(jnp.sin(function(image, kernel, **options)))  # noqa: E731
        slopes = jax.grad(value, (0, 1))
        if transform == "grad of grad":
            inner = lambda image, kernel: sum(jnp.sum(leaf**2) for leaf in slopes(image, kernel))  # noqa: E731
            return jax.jit(jax.grad(inner, (0, 1)))(image, kernel)
        if transform.startswith("jvp"):  # forward differentiation
            directions = jnp.cos(image), jnp.cos(kernel)
            _, found = jax.jvp(slopes if "grad" in transform else value, (image, kernel), directions)
            return jax.tree.leaves(found)
        over = transform.removeprefix("vmap over ")
        axes = (0 if over != "kernels" else None, 0 if over != "images" else None)
        given = several["images"] if axes[0] == 0 else image, several["kernels"] if axes[1] == 0 else kernel
        return jax.vmap(slopes, axes)(*given)

    assert_close(transformed(form(case)), transformed(plain))


@built
@kinds_and_tiles
def test_mapped_images_are_one_batch(case):
    image, kernel, options = draw(case)
    one = lambda image: form(case)(image[None], kernel, **options)[0]  # noqa: E731
    program = str(jax.make_jaxpr(jax.vmap(one))(image))
    assert "scan" not in program and "while" not in program
    assert_close([jax.vmap(one)(image)], [form(case)(image, kernel, **options)])


@built
@kinds_and_tiles
@pytest.mark.parametrize("count", [slow(2), 8])
def test_devices_compute_their_own_images(count, case):
    """Split batches are neither gathered nor computed twice; the kernel's gradient is summed over the devices."""
    image, kernel, options = draw(case)
    image = np.concatenate([image] * 4) + np.arange(8, dtype=np.float32)[:, None, None, None]
    mesh = data_mesh(jax.devices()[:count])
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

    def loss(image, kernel):
        return jnp.sum(jnp.sin(form(case)(image, kernel, **options)))

    program = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(rows, whole), out_shardings=(rows, whole)).lower(image, kernel).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" in program.as_text()
    alone = jax.jit(jax.grad(loss, (0, 1)))(image, kernel)
    assert_close(program(jax.device_put(image, rows), jax.device_put(kernel, whole)), alone)
    channels = NamedSharding(mesh, PartitionSpec(None, None, None, "data"))  # parameters sharded over the devices of the batch
    sharded = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(rows, channels), out_shardings=(rows, channels))
    assert_close(sharded(jax.device_put(image, rows), jax.device_put(kernel, channels)), alone)
    split = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(channels, channels), out_shardings=(channels, channels)).lower(image, kernel)
    program = split.compile()
    if not CASES[case].features:  # channels alone are split: no device needs what another has
        assert "all-gather" not in program.as_text() and "all-reduce" not in program.as_text()
    assert_close(program(jax.device_put(image, channels), jax.device_put(kernel, channels)), alone)


@built
@kinds
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_types_are_not_for_the_compiled_kernels(dtype, case):
    image, kernel, options = draw(case)
    ours = conv2d(image.astype(dtype), kernel.astype(dtype), groups=CASES[case].groups, **options)
    assert ours.dtype == dtype
    theirs = np.asarray(plain(image, kernel, **options))
    np.testing.assert_allclose(np.float32(ours), theirs, rtol=0.1, atol=0.1 * np.abs(theirs).max())


@built
@kinds
def test_the_compiled_kernels_are_in_programs_for_the_cpu_alone(case):
    image, kernel, options = draw(case)
    traced = jax.jit(lambda image, kernel: form(case)(image, kernel, **options)).trace(image, kernel)
    texts = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "tpu")}
    assert "@jaxvision_d" in texts["cpu"] and "stablehlo.convolution" not in texts["cpu"]
    assert "@jaxvision_d" not in texts["tpu"] and "stablehlo.convolution" in texts["tpu"]


@built
@kinds
def test_what_does_not_fit_is_refused_by_the_kernel_itself(case):
    image, kernel, _ = draw(case)
    target, shape = f"jaxvision_{'dense' if CASES[case].features else 'depthwise'}", (2, 8, 9, CASES[case].features or 16)
    with pytest.raises(Exception, match="rows or columns"):
        native.call(target, shape, stride=(1, 1), padding=(0, 0), images=(2,))(image, kernel)
    with pytest.raises(Exception, match="batch or channels"):
        native.call(target, shape, stride=(1, 1), padding=(1, 1), images=(2,))(image, kernel[..., :8])


@kinds
def test_no_images_are_no_crash(case):
    _, kernel, options = draw(case)
    found = conv2d(jnp.zeros((0, 8, 9, 16)), kernel, groups=CASES[case].groups, **options)
    assert found.shape == (0, 8, 9, kernel.shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "instructions", [pytest.param("avx512", marks=built), pytest.param("portable", marks=built), pytest.param("avx2", marks=built), None]
)
def test_every_instruction_set_and_none(instructions):
    """In a process of its own, since the choice is made once: another instruction set, or an install without kernels."""
    chosen = {"JAXVISION_NATIVE": "0"} if instructions is None else {"JAXVISION_INSTRUCTIONS": instructions}
    code = """
import numpy as np
from jaxvision.kernels import native
from tests.kernels.test_compiled import CASES, assert_close, conv2d, draw, plain, value_and_gradients
found = native.instructions()
print("instructions", found)
for case in CASES:
    image, kernel, options = draw(case)
    ours = value_and_gradients(lambda *both, **rest: conv2d(*both, groups=CASES[case].groups, **rest), image, kernel, options)
    assert_close(ours, value_and_gradients(plain, image, kernel, options))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | chosen, capture_output=True, text=True)
    if instructions != "portable" and f"JAXVISION_INSTRUCTIONS: found {instructions!r}" in found.stderr:
        pytest.skip(f"this processor has no {instructions}: kernels made of it are NOT tested")
    assert found.returncode == 0, found.stderr
    assert found.stdout.split("instructions ")[1].strip() == str(instructions)


@built
def test_tiles_are_used_from_some_images_on():
    """One image alone is summed directly, in a batch it is tiled: other digits, within rounding."""
    image, kernel, options = draw("in tiles")
    together, alone = (np.asarray(conv2d(images, kernel, **options)) for images in (image, image[:1]))
    assert not np.array_equal(together[:1], alone)
    assert_close([together[:1]], [alone])


@pytest.mark.slow
@built
def test_tiles_are_used_where_they_are_faster_and_can_be_disabled():
    """In a process of its own without them the same shapes have other digits, within rounding, and only those shapes."""
    code = """
import numpy as np
from tests.kernels.test_compiled import draw, form, value_and_gradients
for case in ("in tiles", "in tiles but for the kernel's gradient", "3x3"):
    for array in value_and_gradients(form(case), *draw(case)):
        print(np.asarray(array).tobytes().hex())
"""
    sides = []
    for asked in ("0", "1"):
        environment = os.environ | {"JAXVISION_WINOGRAD": asked}
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        sides.append([np.frombuffer(bytes.fromhex(line), np.float32) for line in found.stdout.split()])
    assert_close(sides[1], sides[0])
    equal = [np.array_equal(one, other) for one, other in zip(*sides, strict=True)]
    assert equal == [False, False, False, False, False, True, True, True, True]
