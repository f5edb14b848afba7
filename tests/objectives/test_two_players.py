"""A generator and a critic as one objective: stop_gradient separates the players, and the usual step trains both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv

KEY = jax.random.key(0)
stop = jax.lax.stop_gradient


class Shift(nn.Module):
    """Noise [B, 2] plus a learned mean."""

    @nn.compact
    def __call__(self, noise):
        return noise + self.param("mean", nn.initializers.zeros, (2,))


class Critic(nn.Module):
    """Logits [B] that a point [B, 2] is real."""

    @nn.compact
    def __call__(self, point):
        return nn.Dense(1)(point)[:, 0]


def two_players() -> jv.Objective:
    """The non-saturating loss of Goodfellow et al., 2014, with a penalty on the critic's weights."""
    generator, critic = Shift(), Critic()

    def init(key, batch, given={}):
        made = {"generator": generator.init(key, batch["point"])["params"], "critic": critic.init(key, batch["point"])["params"]}
        return made | dict(given), jv.Carry({}, {})

    def loss(params, carry, batch, *, key, step):
        fake = generator.apply({"params": params["generator"]}, jax.random.normal(key, batch["point"].shape))
        logits_of = lambda params, point: critic.apply({"params": params}, point)  # noqa: E731
        real_cost = jnp.mean(jax.nn.softplus(-logits_of(params["critic"], batch["point"])))
        fake_cost = jnp.mean(jax.nn.softplus(logits_of(params["critic"], stop(fake))))
        penalty = 0.1 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params["critic"]))
        deceit_cost = jnp.mean(jax.nn.softplus(-logits_of(stop(params["critic"]), fake)))
        metrics = {"generator": deceit_cost, "critic": real_cost + fake_cost + penalty}
        total = metrics["generator"] + metrics["critic"]
        return total, jv.Aux(carry, metrics | {"loss": total})

    return jv.Objective(init, loss, lambda params, carry, step: carry)


BATCH = {"point": np.random.default_rng(0).normal([2.0, -1.0], 1.0, (64, 2)).astype(np.float32)}


@pytest.mark.parametrize(("player", "other"), [("generator", "critic"), ("critic", "generator")])
def test_each_part_of_the_loss_trains_one_player(player, other):
    objective = two_players()
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    part = lambda params: objective.loss(params, carry, BATCH, key=KEY, step=0)[1].metrics[player]  # noqa: E731
    gradients = jax.grad(part)(params)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients[player]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[other]))


def test_the_usual_step_trains_both():
    objective, optimizer = two_players(), jv.train.sgd(0.1)
    state = jv.train.init(objective, optimizer, BATCH, key=KEY)
    step = jax.jit(jv.train.make_step(objective, optimizer))
    for _ in range(150):
        state, metrics = step(state, BATCH, KEY)
    assert {"generator", "critic", "loss"} <= set(metrics)
    np.testing.assert_allclose(state.params["generator"]["mean"], [2.0, -1.0], atol=0.6)


def test_it_is_a_term_of_a_sum():
    combined = jv.combine(game=(1.0, two_players()), shrink=(0.1, lambda params, carry, batch, *, key, step: (0.0, jv.Aux(carry, {}))))
    params, carry = jax.jit(combined.init)(KEY, BATCH)
    assert set(params["game"]) == {"generator", "critic"}
    assert "game/critic" in combined.loss(params, carry, BATCH, key=KEY, step=0)[1].metrics
