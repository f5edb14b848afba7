"""Translation: its loss is the mean over real tokens, on any number of devices; errors name a missing field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

import jaxvision as jv

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.standard_normal((8, 5, 7)).astype(np.float32)
TARGET = np.where(np.arange(5) < GENERATOR.integers(1, 6, size=(8, 1)), GENERATOR.integers(1, 7, size=(8, 5)), 0).astype(np.int32)


def formula(smoothing: float, padding: int | None) -> float:
    """Token by token in float64."""
    total, count = 0.0, 0
    for row, place in np.ndindex(*TARGET.shape):
        if TARGET[row, place] == padding:
            continue
        logits = LOGITS[row, place].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum())
        wanted = np.full(7, smoothing / 7)
        wanted[TARGET[row, place]] += 1 - smoothing
        total, count = total - wanted @ logs, count + 1
    return total / count


@pytest.mark.parametrize(("smoothing", "padding"), [(0.0, 0), (0.1, 0), (0.1, None)])
def test_the_loss_is_its_formula(smoothing, padding):
    found = jv.losses.sequence_cross_entropy(LOGITS, TARGET, label_smoothing=smoothing, padding=padding)
    np.testing.assert_allclose(found, formula(smoothing, padding), rtol=1e-6)


def test_the_loss_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with it is NOT checked here")
    tensors = torch.tensor(LOGITS, requires_grad=True), torch.tensor(TARGET, dtype=torch.long)
    theirs = torch.nn.functional.cross_entropy(tensors[0].flatten(0, 1), tensors[1].flatten(), ignore_index=0, label_smoothing=0.1)
    theirs.backward()
    loss, grad = jax.value_and_grad(jv.losses.sequence_cross_entropy)(LOGITS, TARGET, label_smoothing=0.1)
    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-6)
    np.testing.assert_allclose(grad, tensors[0].grad.numpy(), atol=1e-8)


def test_the_loss_over_devices_is_that_of_the_global_batch():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    split = PartitionSpec("data")
    share = lambda logits, target: jax.lax.pmean(jv.losses.sequence_cross_entropy(logits, target), "data")  # noqa: E731
    sharded = jax.shard_map(share, mesh=mesh, in_specs=(split, split), out_specs=PartitionSpec(), check_vma=False)
    np.testing.assert_allclose(jax.jit(sharded)(LOGITS, TARGET), formula(0.0, 0), rtol=1e-6)


def test_refusals_name_the_argument():
    with pytest.raises(ValueError, match="logits, target"):
        jv.losses.sequence_cross_entropy(LOGITS, TARGET[:, :4])
    with pytest.raises(ValueError, match="label_smoothing"):
        jv.losses.sequence_cross_entropy(LOGITS, TARGET, label_smoothing=2)


class Parrot(nn.Module):
    """Writes each token as often as the source says, whatever came before."""

    @nn.compact
    def __call__(self, source, target, *, train: bool = False):
        return nn.Dense(7)(jax.nn.one_hot(source, 7))


def test_the_objective_reads_source_and_target():
    objective, batch = jv.objectives.translation(Parrot()), {"source": jnp.asarray(TARGET), "target": jnp.asarray(TARGET)}
    params, carry = jax.jit(objective.init)(jax.random.key(0), batch)
    assert set(params) == {"model"}
    params = {"model": {"Dense_0": {"kernel": 50 * jnp.eye(7), "bias": jnp.zeros(7)}}}
    loss, aux = objective.loss(params, carry, batch, key=jax.random.key(0), step=0)
    assert float(aux.metrics["tokens"]) == 1 and float(loss) < 1e-6
    wrong = batch | {"source": batch["source"].at[0, 0].set(0)}
    _, aux = objective.loss(params, carry, wrong, key=jax.random.key(0), step=0)
    np.testing.assert_allclose(aux.metrics["tokens"], 1 - 1 / np.sum(TARGET != 0), rtol=1e-6)
    smoothed = jv.objectives.translation(Parrot(), label_smoothing=0.3).loss(params, carry, batch, key=jax.random.key(0), step=0)[0]
    np.testing.assert_allclose(smoothed, 0.3 * 6 / 7 * 50, rtol=1e-5)  # six of seven tokens are 50 below the right one
    with pytest.raises(ValueError, match="batch"):
        objective.init(jax.random.key(0), {"source": batch["source"]})
    with pytest.raises(ValueError, match="given"):
        objective.init(jax.random.key(0), batch, {"head": {}})
