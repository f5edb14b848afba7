"""BatchNorm and LayerNorm against PyTorch, at extreme offsets, and over several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxvision.layers import BatchNorm, LayerNorm

NO_TORCH = "PyTorch is not installed: parity with PyTorch is NOT checked here"


def draw(*shape: int) -> np.ndarray:
    return (1.5 + 2 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def fresh(features: int) -> dict:
    """Parameters and statistics away from one and zero."""
    generator = np.random.default_rng(1)
    rows = {name: generator.uniform(0.5, 1.5, features).astype(np.float32) for name in ("scale", "bias", "mean", "var")}
    return {"params": {name: rows[name] for name in ("scale", "bias")}, "batch_stats": {name: rows[name] for name in ("mean", "var")}}


def last(tensor) -> np.ndarray:
    """PyTorch's [B, C, ...] as [B, ..., C]."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def step(params, batch_stats, x):
    """The output in training, the moved statistics, and the gradients of this shard's share of a loss in parameters and input."""

    def loss(params, x):
        out, moved = BatchNorm().apply({"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.sin(3 * out)), (out, moved["batch_stats"])

    (grads, grad_x), (out, moved) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
    return out, moved, grads, grad_x


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (8, 6)])
def test_batch_norm_is_pytorchs_in_training_and_evaluation(shape):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    x, variables = draw(*shape), fresh(6)
    network = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(6)
    for name, tensor in (("scale", network.weight.data), ("bias", network.bias.data)):
        tensor.copy_(torch.tensor(variables["params"][name]))
    for name, tensor in (("mean", network.running_mean), ("var", network.running_var)):
        tensor.copy_(torch.tensor(variables["batch_stats"][name]))
    tensor = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    theirs = network(tensor)
    torch.sin(3 * theirs).mean().backward()
    out, moved, grads, grad_x = jax.jit(step)(variables["params"], variables["batch_stats"], x)
    np.testing.assert_allclose(out, last(theirs), atol=1e-5)
    np.testing.assert_allclose(grad_x, last(tensor.grad), atol=1e-6)
    np.testing.assert_allclose(grads["scale"], network.weight.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(grads["bias"], network.bias.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(moved["mean"], network.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(moved["var"], network.running_var.numpy(), rtol=1e-5)
    evaluated = BatchNorm().apply({"params": variables["params"], "batch_stats": moved}, x, train=False)
    np.testing.assert_allclose(evaluated, last(network.eval()(tensor)), atol=1e-5)


@pytest.mark.parametrize("devices", [1, 4])
def test_batch_norm_over_devices_is_that_of_the_global_batch(devices):
    x, variables = draw(8, 3, 3, 6), fresh(6)
    x[:4] += 5  # shards that differ: their own statistics would be far from the global ones
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices])
    split, same = PartitionSpec("data"), PartitionSpec()

    def share(params, batch_stats, x):
        out, moved, grads, grad_x = step(params, batch_stats, x)
        return out, moved, jax.lax.pmean(grads, "data"), grad_x / devices

    sharded = jax.shard_map(share, mesh=mesh, in_specs=(same, same, split), out_specs=(split, same, same, split), check_vma=False)
    wanted = jax.jit(step)(variables["params"], variables["batch_stats"], x)
    found = jax.jit(sharded)(variables["params"], variables["batch_stats"], x)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_statistics_survive_a_large_offset():
    """One pass in float32 (mean of squares minus square of mean) would give a variance of noise here."""
    x = (1e4 + np.random.default_rng(0).standard_normal((64, 4, 4, 3))).astype(np.float32)
    out, moved = BatchNorm(momentum=1.0).init_with_output(jax.random.key(0), x, train=True)
    np.testing.assert_allclose(np.std(out, axis=(0, 1, 2)), 1, rtol=1e-3)
    rows, _ = LayerNorm().init_with_output(jax.random.key(0), x.reshape(64, 48))
    np.testing.assert_allclose(np.std(rows, axis=1), 1, rtol=1e-3)


def test_initialization_does_not_change_the_statistics():
    variables = BatchNorm().init(jax.random.key(0), draw(4, 6), train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)


def test_layer_norm_is_pytorchs():
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    x, params = draw(2, 5, 6), fresh(6)["params"]
    theirs = torch.nn.functional.layer_norm(torch.tensor(x), (6,), torch.tensor(params["scale"]), torch.tensor(params["bias"]), 1e-6)
    np.testing.assert_allclose(LayerNorm().apply({"params": params}, x), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.float16])
def test_dtype_only_affects_the_output(dtype):
    x = jnp.asarray(draw(16, 6), dtype)
    for layer, options in ((BatchNorm(dtype=dtype), {"train": True}), (LayerNorm(dtype=dtype), {})):
        out, variables = layer.init_with_output(jax.random.key(0), x, **options)
        assert out.dtype == jnp.dtype(dtype)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
