"""DINO and BYOL beside whole steps in PyTorch; what their teachers remember, and what is frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.layers import BatchNorm, Dense
from jaxvision.typing import Features
from tests.marks import slow

KEY, DRAW = jax.random.key(0), np.random.default_rng(0)
RATE = 0.02  # at which three steps do not magnify rounding
VIEWS, CROPS = DRAW.random((8, 2, 6, 6, 3)).astype(np.float32), DRAW.random((8, 3, 4, 4, 3)).astype(np.float32)


class Tiny(nn.Module):
    """A dense layer a pixel, tanh, the mean over places, and a norm over the batch."""

    width: int = 12
    drop_rate: float = 0.0

    @nn.compact
    def features(self, image, *, train=False):
        x = jnp.mean(jnp.tanh(Dense(self.width, name="stem")(image)), axis=(1, 2))
        x = BatchNorm(name="norm")(x, train=train)
        return Features(nn.Dropout(self.drop_rate, deterministic=not train)(x), None, {})


def course(objective, batch, steps: int, *, rate: float = RATE):
    """(first state, last state, metrics of every step) of gradient descent on one batch."""
    optimizer = jv.train.sgd(rate)
    first = state = jv.train.init(objective, optimizer, batch, key=KEY)
    step, rows = jax.jit(jv.train.make_step(objective, optimizer)), []
    for _ in range(steps):
        state, metrics = step(state, batch, KEY)
        rows.append({name: float(value) for name, value in metrics.items()})
    return first, state, rows


def agree(ours, theirs) -> None:
    """Two trees of the same names, relative to the largest entry of all."""
    theirs = jax.tree.map(lambda leaf: leaf.detach().numpy(), theirs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * largest), ours, theirs)


def numbers(tree):
    return jax.tree.map(np.asarray, tree)


def test_three_steps_of_dino_are_the_papers():
    from tests.oracles import teachers

    momentum, sharp = jv.train.cosine(0.9, 1.0, 3), lambda step: 0.04 + 0.01 * step
    sizes = {"prototypes": 10, "hidden": 16, "bottleneck": 8}
    objective = jv.objectives.dino(
        Tiny(), **sizes, momentum=momentum, teacher_temperature=sharp, center_momentum=0.8, student_temperature=0.2
    )
    first, state, rows = course(objective, {"views": VIEWS, "crops": CROPS}, 3)
    momenta, temperatures = [float(momentum(step)) for step in range(3)], [0.04, 0.05, 0.06]
    options = {"rate": RATE, "student_temperature": 0.2, "teacher_temperatures": temperatures, "center_momentum": 0.8}
    student, teacher, center, losses = teachers.dino(numbers(first.params), VIEWS, CROPS, momenta, **options)
    np.testing.assert_allclose([row["loss"] for row in rows], losses, rtol=1e-4)
    agree(state.params, student)
    agree(state.carry.memory["teacher"], teacher)
    agree(state.carry.memory["center"], center)
    assert rows[0]["uniform_loss"] == pytest.approx(np.log(10)) and rows[0]["teacher_distance"] == 0 < rows[1]["teacher_distance"]
    assert 0 < rows[2]["teacher_entropy"] < np.log(10)


def test_three_steps_of_byol_are_the_papers():
    from tests.oracles import teachers

    momentum = jv.train.cosine(0.9, 1.0, 3)
    objective = jv.objectives.byol(Tiny(), hidden=16, projection=6, momentum=momentum)
    first, state, rows = course(objective, {"views": VIEWS}, 3)
    momenta = [float(momentum(step)) for step in range(3)]
    student, teacher, losses = teachers.byol(numbers(first.params), VIEWS, momenta, rate=RATE)
    np.testing.assert_allclose([row["loss"] for row in rows], losses, rtol=1e-4)
    agree(state.params, student)
    agree(state.carry.memory["teacher"], teacher)


@pytest.mark.parametrize("make", [jv.objectives.dino, slow(jv.objectives.byol)])
def test_a_teacher_has_statistics_of_its_own_and_no_dropout(make):
    sizes = {"hidden": 16} | ({"prototypes": 10, "bottleneck": 8} if make is jv.objectives.dino else {"projection": 6})
    _, plain, _ = course(make(Tiny(), **sizes), {"views": VIEWS}, 1)
    _, dropped, _ = course(make(Tiny(drop_rate=0.5), **sizes), {"views": VIEWS}, 1)
    moved, memory = plain.carry.stats["encoder"]["norm"]["mean"], plain.carry.memory
    np.testing.assert_allclose(memory["stats"]["encoder"]["norm"]["mean"], moved, atol=1e-6)  # the first step: student and teacher are one
    assert np.any(moved)
    one, other = (state.carry.memory.get("center", state.carry.memory["stats"]) for state in (plain, dropped))
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-6), one, other)
    assert not np.allclose(plain.params["encoder"]["stem"]["kernel"], dropped.params["encoder"]["stem"]["kernel"], atol=1e-7)


def test_the_prototypes_are_frozen_at_first():
    objective = jv.objectives.dino(Tiny(), prototypes=10, hidden=16, bottleneck=8, freeze_steps=2)
    first, second, _ = course(objective, {"views": VIEWS}, 2)
    _, third, _ = course(objective, {"views": VIEWS}, 3)
    np.testing.assert_array_equal(second.params["head"]["prototypes"], first.params["head"]["prototypes"])
    assert not np.array_equal(second.params["head"]["dense1"]["kernel"], first.params["head"]["dense1"]["kernel"])
    assert not np.array_equal(third.params["head"]["prototypes"], first.params["head"]["prototypes"])


def test_the_center_of_this_step_serves_the_next_one():
    batch = {"views": VIEWS}
    objective = jv.objectives.dino(Tiny(), prototypes=10, hidden=16, bottleneck=8, center_momentum=0.0, momentum=1.0)
    params, carry = jax.jit(objective.init)(KEY, batch)
    value, aux = jax.jit(objective.loss)(params, carry, batch, key=KEY, step=0)
    other, _ = jax.jit(objective.loss)(params, aux.carry, batch, key=KEY, step=0)
    assert np.any(aux.carry.memory["center"]) and float(value) != float(other)
    np.testing.assert_array_equal(objective.after(params, aux.carry, 0).memory["center"], aux.carry.memory["center"])
