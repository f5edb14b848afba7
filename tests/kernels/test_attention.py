"""attention against its definition in float64 and PyTorch's."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.kernels import attention, native, plain_attention, plain_self_attention, self_attention
from jaxvision.train.sharding import data_mesh
from tests.kernels.marks import built
from tests.marks import slow

SIZES = {  # B, N, M, h, d: rows and columns left over of every tile, several blocks of queries, more and fewer keys than queries
    "ViT-S/16": (1, 197, 197, 2, 64),
    "one": (3, 1, 1, 1, 1),
    "one key": (1, 5, 1, 2, 3),
    "left over": (2, 53, 37, 3, 33),
    "few queries": (2, 7, 130, 1, 8),
    "no queries": (2, 0, 4, 1, 8),
    "no examples": (0, 3, 4, 1, 8),
}


def draw(queries=3, keys=5):
    generator = np.random.default_rng(0)
    return [generator.standard_normal((2, count, 2, 4)).astype(np.float32) for count in (queries, keys, keys)]


def by_definition(queries, keys, values):
    """softmax(q k^T / sqrt(d)) v, one image, head and query at a time, in float64."""
    out = np.zeros(queries.shape)
    for batch, token, head in np.ndindex(*queries.shape[:3]):
        scores = keys[batch, :, head].astype(np.float64) @ queries[batch, token, head] / np.sqrt(queries.shape[-1])
        weights = np.exp(scores - scores.max())
        out[batch, token, head] = weights / weights.sum() @ values[batch, :, head]
    return out


def test_value_is_the_definition():
    arrays = draw()
    np.testing.assert_allclose(attention(*arrays), by_definition(*arrays), rtol=1e-5, atol=1e-6)


def test_gradients_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    arrays = draw()
    grads = jax.jit(jax.grad(lambda *arrays: jnp.sum(jnp.sin(attention(*arrays))), (0, 1, 2)))(*arrays)
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    torch.nn.functional.scaled_dot_product_attention(*(tensor.transpose(1, 2) for tensor in tensors)).sin().sum().backward()
    for ours, theirs in zip(grads, tensors, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("biased", [False, True])
def test_value_and_gradients_are_the_plain_forms(biased):
    arrays, options = draw(), {"bias": np.float32(np.random.default_rng(1).standard_normal((1, 2, 3, 5)))} if biased else {}

    def found(function):
        value, back = jax.vjp(lambda *arrays: function(*arrays, **options), *arrays)
        return value, *back(jnp.cos(value))

    for ours, theirs in zip(found(attention), found(plain_attention), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_softmax_is_wide_and_the_result_keeps_its_type():
    arrays = [jnp.asarray(array, jnp.bfloat16) for array in draw()]
    found = attention(*arrays)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), by_definition(*(np.asarray(array, np.float32) for array in arrays)), atol=0.02)
    exponentials = [line for line in str(jax.make_jaxpr(attention)(*arrays)).splitlines() if " = exp" in line]
    assert exponentials and all(":f32[" in line for line in exponentials)


def test_large_scores_are_not_rounded_to_the_inputs_type():
    arrays = [jnp.asarray(array, jnp.bfloat16) for array in draw(30, 50)]
    arrays = [6 * arrays[0], 6 * arrays[1], arrays[2]]  # scores of some tens, whose neighbours in bfloat16 are 1/8 or 1/4 apart
    wanted = by_definition(*(np.asarray(array, np.float32) for array in arrays))
    np.testing.assert_allclose(attention(*arrays).astype(jnp.float32), wanted, atol=0.01)


def test_shapes_are_checked():
    queries, keys, values = draw()
    with pytest.raises(ValueError, match="queries, keys, values"):
        attention(queries, keys, values[:, :4])
    with pytest.raises(ValueError, match="queries, keys, values"):
        attention(queries[..., :3], keys, values)


def drawn(case: str) -> list[np.ndarray]:
    """Queries, keys, values and the gradient of what comes out."""
    batch, queries, keys, heads, depth = SIZES[case]
    random = np.random.default_rng(0)
    return [random.standard_normal((batch, count, heads, depth), np.float32) for count in (queries, keys, keys, queries)]


def gradients_by_definition(queries, keys, values, gradient):
    """Of queries, keys and values, one image and head at a time, in float64."""
    found, scale = [np.zeros(array.shape) for array in (queries, keys, values)], queries.shape[-1] ** -0.5
    for batch, head in np.ndindex(queries.shape[0], queries.shape[2]):
        q, k, v, g = (np.float64(array[batch, :, head]) for array in (queries, keys, values, gradient))
        weights = np.exp(scale * (q @ k.T) - (scale * (q @ k.T)).max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        slopes = weights * (g @ v.T - np.sum(g * (weights @ v), axis=1, keepdims=True)) * scale
        for whole, part in zip(found, (slopes @ k, slopes.T @ q, weights.T @ g), strict=True):
            whole[batch, :, head] = part
    return found


@pytest.mark.parametrize("case", SIZES)
def test_value_and_gradients_are_the_definition_at_every_size(case):
    *arrays, gradient = drawn(case)
    value, back = jax.vjp(attention, *arrays)
    expected = [by_definition(*arrays), *gradients_by_definition(*arrays, gradient)]
    for ours, theirs in zip((value, *back(gradient)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * max(1, np.abs(theirs).max(initial=0)))


@pytest.mark.parametrize(
    "transform",
    [
        "jvp",
        "vmap of keys",
        *(slow(name) for name in ("of one", "forward over reverse", "reverse over reverse", "vmap")),
    ],
)
def test_every_transformation_is_the_reference_s(transform):
    arrays, directions = draw(), [np.cos(array) for array in draw()]

    def transformed(function):
        slope = jax.grad(lambda *arrays: jnp.sum(jnp.sin(function(*arrays))), (0, 1, 2))
        if transform == "jvp":
            return jax.jvp(function, arrays, directions)
        if transform == "of one":
            return jax.jvp(lambda keys: function(arrays[0], keys, arrays[2]), arrays[1:2], directions[1:2]), slope(*arrays)[1]
        if transform == "forward over reverse":
            return jax.jvp(slope, arrays, directions)
        if transform == "reverse over reverse":
            return jax.grad(lambda *arrays: sum(jnp.sum(jnp.square(part)) for part in slope(*arrays)), (0, 1, 2))(*arrays)
        if transform == "vmap":
            return jax.vmap(slope)(*(jnp.stack([array, -array, 2 * array]) for array in arrays))
        return jax.jit(jax.vmap(slope, in_axes=(None, 4, None)))(arrays[0], jnp.stack([arrays[1], -arrays[1]], axis=4), arrays[2])

    ours, theirs = (jax.tree.leaves(transformed(function)) for function in (attention, plain_attention))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=2e-6 * max(1, np.abs(their).max()))


@pytest.mark.parametrize("case", [case for case, sizes in SIZES.items() if sizes[1] == sizes[2]] + ["left over", "no examples"])
def test_of_one_array_value_and_gradients_are_the_definition(case):
    queries, keys, values, gradient = drawn(case)
    queries, gradient = (np.resize(array, keys.shape) for array in (queries, gradient))
    joint = np.stack([queries, keys, values], axis=2)
    value, back = jax.vjp(self_attention, joint)
    np.testing.assert_allclose(value, by_definition(queries, keys, values), atol=2e-6)
    expected = np.stack(gradients_by_definition(queries, keys, values, gradient), axis=2)
    np.testing.assert_allclose(back(gradient)[0], expected, atol=2e-6 * max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("transform", ["forward over reverse", *(slow(name) for name in ("jvp", "reverse over reverse", "vmap"))])
def test_of_one_array_every_transformation_is_the_reference_s(transform):
    joint = np.random.default_rng(0).standard_normal((2, 5, 3, 2, 4)).astype(np.float32)

    def transformed(function):
        slope = jax.grad(lambda joint: jnp.sum(jnp.sin(function(joint))))
        if transform == "jvp":
            return jax.jvp(function, (joint,), (np.cos(joint),))
        if transform == "forward over reverse":
            return jax.jvp(slope, (joint,), (np.cos(joint),))
        if transform == "reverse over reverse":
            return [jax.grad(lambda joint: jnp.sum(jnp.square(slope(joint))))(joint)]
        return [jax.vmap(slope, in_axes=1)(jnp.stack([joint, -joint, 2 * joint], axis=1))]

    for ours, theirs in zip(transformed(self_attention), transformed(plain_self_attention), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * max(1, np.abs(theirs).max()))


@built
def test_one_array_is_read_where_it_lies_on_every_device():
    joint = np.random.default_rng(0).standard_normal((8, 5, 3, 2, 4)).astype(np.float32)
    rows = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    slope = jax.grad(lambda joint: jnp.sum(jnp.sin(self_attention(joint))))
    program = jax.jit(slope, in_shardings=rows, out_shardings=rows).lower(joint).compile()
    text = program.as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", " slice(", " pad(", " concatenate("))
    np.testing.assert_allclose(program(jax.device_put(joint, rows)), jax.jit(slope)(joint), rtol=1e-5, atol=1e-6)


def test_one_array_of_another_shape_or_type():
    joint = np.random.default_rng(0).standard_normal((2, 5, 3, 2, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="joint"):
        self_attention(joint[:, :, :2])
    narrow = jnp.asarray(joint, jnp.bfloat16)
    assert self_attention(narrow).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(self_attention(narrow)), self_attention(np.float32(narrow)), atol=0.02)
    if native.present():
        with pytest.raises(Exception, match="queries, keys"):
            jax.ffi.ffi_call("jaxvision_self_attention", jax.ShapeDtypeStruct((2, 5, 2, 3), np.float32))(joint)


@built
def test_scores_of_any_size_and_what_is_not_a_number():
    queries, keys, values = draw()
    far = attention(1000 * queries, 1000 * keys, values)  # weights of 1 and of 0
    np.testing.assert_allclose(far, by_definition(1000 * queries, 1000 * keys, values), atol=1e-5)
    queries[0, 1, 0, 2] = np.nan
    found = np.isnan(attention(queries, keys, values))
    assert found[0, 1, 0].all() and found.sum() == queries.shape[-1]
    values[1, 0, 1] = np.nan
    assert np.isnan(attention(queries, keys, values)[1, :, 1]).all()


@built
def test_devices_attend_to_their_own_images():
    arrays = [np.concatenate([array] * 4) + np.arange(8, dtype=np.float32)[:, None, None, None] for array in draw()]
    rows = NamedSharding(data_mesh(jax.devices()[:8]), PartitionSpec("data"))
    slope = jax.grad(lambda *arrays: jnp.sum(jnp.sin(attention(*arrays))), (0, 1, 2))
    program = jax.jit(slope, in_shardings=rows, out_shardings=rows).lower(*arrays).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" not in program.as_text()
    for ours, theirs in zip(program(*jax.device_put(arrays, rows)), jax.jit(slope)(*arrays), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@built
def test_a_bias_and_other_types_are_products_and_the_kernel_itself_refuses_what_does_not_fit():
    arrays = draw()
    text = lambda *arrays, **options: str(jax.make_jaxpr(lambda *arrays: attention(*arrays, **options))(*arrays))  # noqa: E731
    assert "dot_general" not in text(*arrays) and "dot_general" in text(*arrays, bias=jnp.zeros((1, 1, 3, 5)))
    assert "dot_general" in text(*(array.astype(jnp.bfloat16) for array in arrays))
    result = jax.ShapeDtypeStruct(arrays[0].shape, np.float32)
    with pytest.raises(Exception, match="queries, keys"):
        jax.ffi.ffi_call("jaxvision_attention", result)(arrays[0], arrays[1][:1], arrays[2][:1])
    with pytest.raises(Exception, match="keys"):
        jax.ffi.ffi_call("jaxvision_attention", result)(arrays[0], arrays[1][:, :0], arrays[2][:, :0])


@pytest.mark.parametrize("sizes", [(2, 5, 5), *(slow(sizes) for sizes in ((2, 4, 7), (1, 8, 6)))], ids=str)
def test_cudnn_gets_even_numbers_of_tokens_and_the_result_is_the_reference_s(monkeypatch, sizes):
    """There is no GPU here: a program for one runs on the CPU, where XLA's form replaces cuDNN's, and like that refuses odd numbers."""
    plain, (batch, queries, keys) = jax.nn.dot_product_attention, sizes
    calls, random = [], np.random.default_rng(0)
    arrays = [jnp.asarray(random.standard_normal((batch, count, 3, 8)), jnp.bfloat16) for count in (queries, keys, keys)]

    def stand_in(*arrays, implementation, **lengths):
        calls.append(implementation)
        assert not any(array.shape[1] % 2 for array in arrays)
        return plain(*arrays, implementation="xla", **lengths)

    def results(function, *arrays):
        value, back = jax.vjp(function, *arrays)
        return value, *back(jnp.cos(value))

    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(jax.nn, "dot_product_attention", stand_in)
        on_gpu.setattr(jax, "devices", lambda backend=None: [SimpleNamespace(compute_capability="9.0")])
        anywhere = [jax.export.DisabledSafetyCheck.platform()]
        program = jax.export.export(jax.jit(partial(results, attention)), platforms=["cuda"], disabled_checks=anywhere)(*arrays)
    assert set(calls) == {"cudnn"}
    for ours, theirs in zip(program.call(*arrays), results(plain_attention, *arrays), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(ours), np.float32(theirs), atol=5e-2)


@pytest.mark.parametrize(
    ("platform", "capability", "dtype", "depth", "taken"),
    [
        ("cuda", "9.0", "bfloat16", 64, True),
        ("cuda", "8.0", "float16", 128, True),
        ("cuda", "12.1", "bfloat16", 32, True),
        ("cuda", "7.5", "bfloat16", 64, False),  # too old
        ("cuda", "9.0", "float32", 64, False),
        ("cuda", "9.0", "bfloat16", 12, False),
        ("cuda", "9.0", "bfloat16", 256, False),
        ("tpu", "9.0", "bfloat16", 64, False),
        ("cpu", "9.0", "bfloat16", 64, False),
    ],
)
def test_cudnn_is_in_programs_for_gpus_that_have_it(monkeypatch, platform, capability, dtype, depth, taken):
    asked, plain = [], jax.nn.dot_product_attention

    def stand_in(*arrays, implementation, **lengths):
        asked.append(implementation)
        return plain(*arrays, implementation="xla", **lengths)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    monkeypatch.setattr(jax, "devices", lambda backend=None: [SimpleNamespace(compute_capability=capability)])
    arrays = [jnp.ones((1, 197, 2, depth), dtype)] * 3
    lower = lambda function, *given: jax.jit(function).trace(*given).lower(lowering_platforms=(platform,))  # noqa: E731
    lower(attention, *arrays)
    assert len(asked) == taken
    lower(lambda *arrays: attention(*arrays, bias=jnp.zeros(())), *arrays)  # with a bias never
    lower(attention, *arrays[:2], arrays[2].astype("float64" if dtype == "float32" else "float32"))  # nor with different dtypes
    assert len(asked) == taken
