"""attention against its definition in float64 and PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.kernels import attention, plain_attention


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
    with pytest.raises(ValueError, match="queries, keys, values: found"):
        attention(queries, keys, values[:, :4])
    with pytest.raises(ValueError, match="queries, keys, values: found"):
        attention(queries[..., :3], keys, values)
