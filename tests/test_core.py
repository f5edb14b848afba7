"""combine: weights, sharing, order, keys and memory, on objectives small enough to follow by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.core import fold_name, unchanged

BATCH = {"image": jnp.arange(6.0).reshape(3, 2)}
KEY = jax.random.key(0)


def toy(scale: float, *, private: str | None = None, memory: bool = False, width: int = 2) -> jv.Objective:
    """loss = scale * sum(encoder) [+ sum(private)]; counts its calls in stats["encoder"] and in its memory."""

    def init(key, batch, given={}):
        params = {"encoder": given.get("encoder", jax.random.normal(key, (width,)))}
        if private:
            params[private] = given.get(private, jnp.ones(1))
        return params, jv.Carry({"encoder": {"calls": jnp.zeros(())}}, {"count": jnp.zeros(())} if memory else {})

    def loss(params, carry, batch, *, key, step):
        value = scale * jnp.sum(params["encoder"]) + (jnp.sum(params[private]) if private else 0.0)
        stats = {"encoder": {"calls": carry.stats["encoder"]["calls"] * 10 + scale}}
        kept = {"count": carry.memory["count"] + 1} if memory else {}
        return value, jv.Aux(jv.Carry(stats, kept), {"draw": jax.random.uniform(key)})

    def after(params, carry, step):
        return carry._replace(memory={"count": carry.memory["count"] + 100}) if memory else carry

    return jv.Objective(init, loss, after)


def test_combine_is_the_weighted_sum_with_shared_modules_stored_once():
    objective = jv.combine(share=("encoder",), a=(2.0, toy(1.0)), b=(lambda step: 0.5 * step, toy(3.0, private="head")))
    params, carry = objective.init(KEY, BATCH)
    assert set(params) == {"encoder", "b"} and set(params["b"]) == {"head"}
    value, aux = objective.loss(params, carry, BATCH, key=KEY, step=jnp.int32(4))
    total = jnp.sum(params["encoder"])
    np.testing.assert_allclose(value, 2.0 * total + 2.0 * (3.0 * total + 1.0), rtol=1e-6)
    np.testing.assert_allclose(aux.metrics["loss"], value)
    np.testing.assert_allclose(aux.metrics["b/loss"], 3.0 * total + 1.0, rtol=1e-6)
    assert set(aux.metrics) == {"loss", "a/loss", "a/draw", "b/loss", "b/draw"}


def test_gradients_of_a_shared_module_add_up():
    objective = jv.combine(share=("encoder",), a=(2.0, toy(1.0)), b=(0.5, toy(3.0)))
    params, carry = objective.init(KEY, BATCH)
    grads = jax.grad(lambda params: objective.loss(params, carry, BATCH, key=KEY, step=0)[0])(params)
    np.testing.assert_allclose(grads["encoder"], 3.5)


def test_stats_flow_in_the_order_given_and_memory_is_each_terms_own():
    objective = jv.combine(share=("encoder",), a=(1.0, toy(1.0, memory=True)), b=(1.0, toy(2.0)), c=(1.0, toy(3.0, memory=True)))
    params, carry = objective.init(KEY, BATCH)
    assert set(carry.memory) == {"a", "c"}
    _, aux = objective.loss(params, carry, BATCH, key=KEY, step=0)
    assert float(aux.carry.stats["encoder"]["calls"]) == 123
    assert float(aux.carry.memory["a"]["count"]) == 1
    moved = objective.after(params, aux.carry, 0)
    assert float(moved.memory["c"]["count"]) == 101
    assert jax.tree.structure(moved) == jax.tree.structure(carry)


def test_every_term_draws_from_a_key_of_its_own_name():
    first = jv.combine(share=("encoder",), a=(1.0, toy(1.0)), b=(1.0, toy(1.0)))
    turned = jv.combine(share=("encoder",), b=(1.0, toy(1.0)), a=(1.0, toy(1.0)))
    draws = []
    for objective in (first, turned):
        params, carry = objective.init(KEY, BATCH)
        _, aux = objective.loss(params, carry, BATCH, key=KEY, step=0)
        draws.append(aux.metrics)
    assert float(draws[0]["a/draw"]) != float(draws[0]["b/draw"])
    assert float(draws[0]["a/draw"]) == float(draws[1]["a/draw"])
    assert float(draws[0]["a/draw"]) == float(jax.random.uniform(fold_name(KEY, "a")))


def test_a_plain_function_is_a_term_and_sees_everything():
    def penalty(params, carry, batch, *, key, step):
        return jnp.sum(params["encoder"] ** 2) + jnp.sum(params["a"]["head"]), jv.Aux(carry, {"size": jnp.float32(2)})

    objective = jv.combine(share=("encoder",), a=(1.0, toy(1.0, private="head")), penalty=(0.1, penalty))
    params, carry = objective.init(KEY, BATCH)
    value, aux = objective.loss(params, carry, BATCH, key=KEY, step=0)
    np.testing.assert_allclose(value, jnp.sum(params["encoder"]) + 1 + 0.1 * (jnp.sum(params["encoder"] ** 2) + 1), rtol=1e-6)
    assert float(aux.metrics["penalty/size"]) == 2 and "penalty" not in aux.carry.memory


def test_combinations_nest_and_unshared_modules_stay_apart():
    inner = jv.combine(share=("encoder",), a=(1.0, toy(1.0)), b=(1.0, toy(2.0, private="head")))
    objective = jv.combine(share=("encoder",), pair=(0.5, inner), alone=(1.0, toy(4.0)))
    params, carry = objective.init(KEY, BATCH)
    assert set(params) == {"encoder", "pair"} and set(params["pair"]) == {"b"}
    value, aux = objective.loss(params, carry, BATCH, key=KEY, step=0)
    np.testing.assert_allclose(value, 0.5 * (3 * jnp.sum(params["encoder"]) + 1) + 4 * jnp.sum(params["encoder"]), rtol=1e-6)
    assert "pair/b/loss" in aux.metrics
    apart, _ = jv.combine(a=(1.0, toy(1.0)), b=(1.0, toy(1.0))).init(KEY, BATCH)
    assert set(apart) == {"a", "b"} and not np.array_equal(apart["a"]["encoder"], apart["b"]["encoder"])


def test_given_parameters_are_reused():
    given = {"encoder": jnp.full(2, 7.0), "b": {"head": jnp.full(1, 5.0)}}
    params, _ = jv.combine(share=("encoder",), a=(1.0, toy(1.0)), b=(1.0, toy(1.0, private="head"))).init(KEY, BATCH, given)
    np.testing.assert_array_equal(params["encoder"], given["encoder"])
    np.testing.assert_array_equal(params["b"]["head"], given["b"]["head"])


@pytest.mark.parametrize(
    ("build", "error", "name"),
    [
        (lambda: jv.combine(), ValueError, "combine"),
        (lambda: jv.combine(a=toy(1.0)), TypeError, "a"),
        (lambda: jv.combine(a=(1.0, "simclr")), TypeError, "a"),
        (lambda: jv.combine(share=("a",), a=(1.0, toy(1.0))), ValueError, "share"),
        (lambda: jv.combine(share=("encodr",), a=(1.0, toy(1.0))).init(KEY, BATCH), ValueError, "encodr"),
        (
            lambda: jv.combine(share=("encoder",), a=(1.0, toy(1.0)), b=(1.0, toy(1.0, width=3))).init(KEY, BATCH),
            ValueError,
            "share: 'encoder'",
        ),
        (lambda: jv.combine(a=(1.0, toy(1.0))).init(KEY, BATCH, {"b": {}}), ValueError, "given"),
    ],
)
def test_mistakes_are_named(build, error, name):
    with pytest.raises(error, match=name):
        build()


def test_unchanged_changes_nothing():
    carry = jv.Carry({"a": 1}, {})
    assert unchanged({}, carry, 0) is carry
