"""A program holds the kernels of the platform that it is lowered for, and no others, whatever machine lowers it."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision import kernels
from jaxvision.kernels import native

OTHERS = ("tpu", "cuda")
MAP, TOKENS = (2, 8, 8, 16), (2, 40, 32)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def normalize(x, moments=kernels.moments, rescaled=kernels.rescaled):
    mean, var = moments(x)
    return rescaled(x, mean, jax.lax.rsqrt(var + 1e-5), mean)


def update(gradient, *moving, adam=kernels.adam):
    numbers = kernels.AdamNumbers(0.9, 0.1, 0.98, 0.02, 10.0, 50.0, 1e-6, 1.0, 0.0, 0.0, 0.1, 0.0, 1.0, True)
    return adam(gradient, kernels.AdamArrays(*moving), numbers).param


def with_options(*functions, **options) -> tuple:
    return tuple(partial(function, **options) for function in functions)


POOL = {"size": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0))}
FUNCTIONS = {  # name: function, its reference, arrays, how the names of its compiled kernels begin
    "convolution": (*with_options(kernels.conv2d, kernels.plain_conv2d, padding=1), (drawn(*MAP), drawn(3, 3, 16, 8)), "dense"),
    "depthwise": (
        *with_options(kernels.conv2d, kernels.plain_conv2d, padding=1, groups=16),
        (drawn(*MAP), drawn(3, 3, 1, 16)),
        "depthwise",
    ),
    "product": (kernels.product, kernels.plain_product, (drawn(*TOKENS), drawn(32, 8)), "product"),
    "attention": (kernels.attention, kernels.plain_attention, (drawn(2, 9, 2, 8),) * 3, "attention"),
    "self-attention": (kernels.self_attention, kernels.plain_self_attention, (drawn(2, 9, 3, 2, 8),), "self_attention"),
    "layer norm": (
        *with_options(kernels.layer_norm, kernels.plain_layer_norm, epsilon=1e-6),
        (drawn(*TOKENS), drawn(32), drawn(32)),
        "layer_norm",
    ),
    "batch norm": (normalize, partial(normalize, moments=kernels.plain_moments, rescaled=kernels.plain_rescaled), (drawn(*MAP),), "batch_"),
    "max pooling": (*with_options(kernels.max_pool, kernels.plain_max_pool, **POOL), (drawn(*MAP),), "pool"),
    "blur": (kernels.blur, kernels.plain_blur, (drawn(9, 9, 3), drawn(5)), "blur"),
    "colour jitter": (
        *(lambda x, factors, form=form: form(x, jnp.arange(4), factors) for form in (kernels.jitter, kernels.plain_jitter)),
        (np.abs(drawn(9, 9, 3)) % 1, drawn(4)),
        "jitter",
    ),
    "adam": (update, partial(update, adam=kernels.plain_adam), (*(drawn(4, 8),) * 3, np.square(drawn(4, 8))), "adam"),
    "barrier": (kernels.barrier, lambda x: x, (drawn(4),), "barrier"),
}
names = pytest.mark.parametrize("name", FUNCTIONS)


def targets(function, arrays, platform: str) -> set[str]:
    """The foreign functions in the program that ``jax.export`` makes for a platform."""
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in native.targets()]
    module = jax.export.export(jax.jit(function), platforms=(platform,), disabled_checks=allowed)(*arrays).mlir_module()
    return {name for name in re.findall(r"custom_call @([\w.$]+)", module) if name.startswith("jaxvision")}


def value_and_gradients(function):
    def run(*arrays):
        value, back = jax.vjp(function, *arrays)
        return value, back(jnp.cos(value))

    return run


@names
def test_an_export_holds_the_kernels_of_its_platform_alone(name):
    function, _, arrays, kernel = FUNCTIONS[name]
    for platform in OTHERS:
        assert not targets(value_and_gradients(function), arrays, platform)
    if native.library() is not None:
        found = targets(value_and_gradients(function), arrays, "cpu")
        assert found and all(target.startswith(f"jaxvision_{kernel}") for target in found)


@names
def test_a_program_for_another_platform_is_the_reference_s(name):
    """The program that is exported for a TPU has the reference's numbers and, compiled, no more work: it is compiled and run here."""
    function, reference, arrays, _ = FUNCTIONS[name]
    unchecked = [jax.export.DisabledSafetyCheck.platform()]
    exported = jax.export.export(jax.jit(value_and_gradients(function)), platforms=("tpu",), disabled_checks=unchecked)(*arrays)
    ours, theirs = (jax.jit(run).lower(*arrays).compile() for run in (exported.call, value_and_gradients(reference)))
    # fusions that compute an element twice count it twice: some per cent
    assert ours.cost_analysis().get("flops", 0) <= 1.1 * theirs.cost_analysis().get("flops", 0)
    for one, other in zip(jax.tree.leaves(ours(*arrays)), jax.tree.leaves(theirs(*arrays)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("platform", ["cpu", *OTHERS])
@pytest.mark.parametrize("function", [kernels.product, lambda x, matrix: kernels.barrier(x) @ matrix])
def test_a_program_for_any_batch_size_is_exported(function, platform):
    (size,) = jax.export.symbolic_shape("n")
    arrays = jax.ShapeDtypeStruct((size, 32), jnp.float32), jax.ShapeDtypeStruct((32, 8), jnp.float32)
    assert jax.export.export(jax.jit(function), platforms=(platform,))(*arrays).out_avals[0].shape == (size, 8)


def test_the_precision_of_products_is_that_of_their_surroundings():
    def loss(rows, matrix):
        with jax.default_matmul_precision("highest"):
            return jnp.sum(kernels.product(rows, matrix))

    program = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*FUNCTIONS["product"][2]).lower(lowering_platforms=("cuda",)).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products and all("HIGHEST" in line for line in products)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet20", "vit_tiny_patch16_224"])
def test_a_train_step_is_exported_for_another_platform(network):
    options = {"image_size": 32, "patch_size": 8} if "vit" in network else {}
    model = jv.create_model(network, num_classes=4, **options)
    model = model.clone(depth=2) if "vit" in network else model
    batch, objective, optimizer = (
        {"image": np.ones((8, 32, 32, 3), np.float32), "label": np.arange(8) % 4},
        jv.objectives.supervised(model),
        jv.train.adamw(1e-3),
    )
    state = jax.eval_shape(lambda key: jv.train.init(objective, optimizer, batch, key=key), jax.random.key(0))
    step = jv.train.make_step(objective, optimizer)
    key = jax.eval_shape(lambda: jax.random.key(0))
    for platform in OTHERS:
        text = jax.jit(step).trace(state, batch, key).lower(lowering_platforms=(platform,)).as_text()
        assert "@jaxvision_" not in text
    if native.library() is not None:
        text = jax.jit(step).trace(state, batch, key).lower(lowering_platforms=("cpu",)).as_text()
        assert {"jaxvision_adam", "jaxvision_barrier"} <= set(re.findall(r"custom_call @(\w+)", text))
