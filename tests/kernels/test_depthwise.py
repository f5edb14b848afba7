"""Depthwise convolution: the compiled kernels and the sum of shifts equal XLA's convolution, value and gradients, on any devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import conv2d, depthwise, native, plain_conv2d
from jaxvision.train.sharding import data_mesh

ROOT = Path(__file__).parents[2]
built = pytest.mark.skipif(native.library() is None, reason="the compiled kernels were NOT built (no C++ compiler?): they are NOT tested")
CASES = {  # image, rows and columns of the kernel, stride, padding
    "3x3": ((2, 8, 9, 16), (3, 3), (1, 1), (1, 1)),
    "7x7 on fewer pixels than taps": ((2, 5, 4, 32), (7, 7), (1, 1), (3, 3)),
    "5x5, stride 2, odd": ((1, 11, 13, 24), (5, 5), (2, 2), (2, 2)),
    "channels left over": ((3, 6, 15, 19), (3, 3), (1, 1), (1, 1)),
    "one channel": ((2, 6, 6, 1), (3, 3), (1, 1), (0, 0)),
    "unequal": ((1, 9, 30, 5), (2, 6), (3, 1), (0, 2)),
    "stride 3 with a rest": ((1, 12, 12, 8), (3, 3), (3, 3), (0, 1)),
    "padding beyond the kernel": ((1, 4, 4, 7), (2, 2), (1, 1), (4, 3)),
    "1x1 with a stride": ((1, 5, 5, 4), (1, 1), (2, 2), (1, 1)),
    "one place": ((2, 7, 7, 33), (7, 7), (1, 1), (0, 0)),
    "several bands": ((1, 90, 90, 16), (3, 3), (1, 1), (1, 1)),
    "several bands with a stride": ((1, 150, 90, 16), (7, 7), (2, 2), (3, 3)),
}
FORMS = {"compiled": depthwise.as_compiled, "shifts": depthwise.as_shifts}
forms = pytest.mark.parametrize("form", [pytest.param("compiled", marks=built), "shifts"])


def draw(case: str) -> tuple[np.ndarray, np.ndarray, dict]:
    shape, size, stride, padding = CASES[case]
    random = np.random.default_rng(0)
    image, kernel = (random.standard_normal(size, np.float32) for size in (shape, (*size, 1, shape[-1])))
    return image, kernel, {"stride": stride, "padding": padding}


def plain(image, kernel, *, stride, padding):
    return plain_conv2d(image, kernel, stride=stride, padding=padding, groups=image.shape[-1])


def value_and_gradients(function, image, kernel, options):
    def run(image, kernel):
        out, back = jax.vjp(lambda image, kernel: function(image, kernel, **options), image, kernel)
        return out, *back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

    return jax.jit(run)(image, kernel)


def assert_close(ours, theirs, bound: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        assert np.abs(one - other).max() <= bound * np.abs(other).max()


@forms
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_of_the_plain_form(case, form):
    image, kernel, options = draw(case)
    assert_close(value_and_gradients(FORMS[form], image, kernel, options), value_and_gradients(plain, image, kernel, options))


@built
def test_any_shape():
    """Convolutions whose every size is drawn."""
    random = np.random.default_rng(1)
    for _ in range(12):
        batch, rows, columns, channels = (int(random.integers(1, high)) for high in (4, 24, 24, 40))
        size, stride, padding = (tuple(map(int, random.integers(low, high, 2))) for low, high in ((1, 9), (1, 4), (0, 5)))
        if rows + 2 * padding[0] < size[0] or columns + 2 * padding[1] < size[1]:
            continue
        image = random.standard_normal((batch, rows, columns, channels), np.float32)
        kernel = random.standard_normal((*size, 1, channels), np.float32)
        options = {"stride": stride, "padding": padding}
        ours = value_and_gradients(depthwise.as_compiled, image, kernel, options)
        assert_close(ours, value_and_gradients(depthwise.as_shifts, image, kernel, options))


@built
def test_gradients_of_gradients_and_batches_of_kernels():
    image, kernel, options = draw("5x5, stride 2, odd")

    def second(function):
        value = lambda image, kernel: jnp.sum(jnp.sin(function(image, kernel, **options)))  # noqa: E731
        inner = lambda image, kernel: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.grad(value, (0, 1))(image, kernel))  # noqa: E731
        return jax.jit(jax.grad(inner, (0, 1)))(image, kernel)

    assert_close(second(depthwise.as_compiled), second(plain))
    several = jnp.stack([kernel, 2 * kernel])
    ours, theirs = (
        jax.vmap(jax.grad(lambda kernel: jnp.sum(jnp.sin(function(image, kernel, **options)))))(several)
        for function in (depthwise.as_compiled, plain)
    )
    assert_close([ours], [theirs])


@built
@pytest.mark.parametrize("count", [2, 8])
def test_devices_compute_their_own_images(count):
    """Split batches are neither gathered nor computed twice; the kernel's gradient is summed over the devices."""
    image, kernel, options = draw("3x3")
    image = np.concatenate([image] * 4) + np.arange(8, dtype=np.float32)[:, None, None, None]
    mesh = data_mesh(jax.devices()[:count])
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

    def loss(image, kernel):
        return jnp.sum(jnp.sin(depthwise.as_compiled(image, kernel, **options)))

    program = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(rows, whole), out_shardings=(rows, whole)).lower(image, kernel).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" in program.as_text()
    alone = jax.jit(jax.grad(loss, (0, 1)))(image, kernel)
    assert_close(program(jax.device_put(image, rows), jax.device_put(kernel, whole)), alone)
    channels = NamedSharding(mesh, PartitionSpec(None, None, None, "data"))  # parameters spread over the devices of the batch
    spread = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(rows, channels), out_shardings=(rows, channels))
    assert_close(spread(jax.device_put(image, rows), jax.device_put(kernel, channels)), alone)
    split = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(channels, channels), out_shardings=(channels, channels)).lower(image, kernel)
    program = split.compile()  # channels alone are split: no device needs what another has
    assert "all-gather" not in program.as_text() and "all-reduce" not in program.as_text()
    assert_close(program(jax.device_put(image, channels), jax.device_put(kernel, channels)), alone)


@built
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_types_are_not_for_the_compiled_kernels(dtype):
    image, kernel, options = draw("3x3")
    assert depthwise.compiled(image, kernel) and not depthwise.compiled(image.astype(dtype), kernel.astype(dtype))
    ours = conv2d(image.astype(dtype), kernel.astype(dtype), groups=16, **options)
    assert ours.dtype == dtype
    np.testing.assert_allclose(np.float32(ours), plain(image, kernel, **options), rtol=0.1, atol=0.2)


@built
def test_conv2d_takes_the_compiled_kernels_on_a_processor_alone(monkeypatch):
    image, kernel, options = draw("3x3")
    program = lambda: str(jax.make_jaxpr(lambda image, kernel: conv2d(image, kernel, groups=16, **options))(image, kernel))  # noqa: E731
    assert "jaxvision_depthwise" in program() and "conv_general" not in program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general" in program() and "jaxvision_depthwise" not in program()


@built
def test_what_does_not_fit_is_refused_by_the_kernel_itself():
    image, kernel, _ = draw("3x3")
    with pytest.raises(Exception, match="the output's rows or columns do not fit"):
        native.call("jaxvision_depthwise", (2, 8, 9, 16), image, kernel, stride=(1, 1), padding=(0, 0))
    with pytest.raises(Exception, match="batch or channels do not fit"):
        native.call("jaxvision_depthwise", (2, 8, 9, 16), image, kernel[..., :8], stride=(1, 1), padding=(1, 1))


def test_an_image_without_examples_is_no_crash():
    _, kernel, options = draw("3x3")
    assert conv2d(jnp.zeros((0, 8, 9, 16)), kernel, groups=16, **options).shape == (0, 8, 9, 16)


@pytest.mark.parametrize(
    "instructions", [pytest.param("avx512", marks=built), pytest.param("portable", marks=built), pytest.param("avx2", marks=built), None]
)
def test_every_instruction_set_and_none(instructions):
    """In a process of its own, since the choice is made once: another instruction set, or an install without kernels."""
    chosen = {"JAXVISION_NATIVE": "0"} if instructions is None else {"JAXVISION_INSTRUCTIONS": instructions}
    code = """
import numpy as np
from jaxvision.kernels import native
from tests.kernels.test_depthwise import CASES, assert_close, conv2d, draw, plain, value_and_gradients
found = native.instructions()
print("instructions", found)
for case in CASES:
    image, kernel, options = draw(case)
    ours = value_and_gradients(lambda *both, **rest: conv2d(*both, groups=image.shape[-1], **rest), image, kernel, options)
    assert_close(ours, value_and_gradients(plain, image, kernel, options))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | chosen, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    told = found.stdout.split("instructions ")[1].strip()
    assert told == str(instructions) or (instructions and told == "portable"), (
        "a processor without these instructions takes the portable ones"
    )
