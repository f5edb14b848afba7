"""The state of a run: the variables of its modules and of its teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv

KEY = jax.random.key(0)
ENCODER = jv.create_model("resnet20", num_classes=0).clone(depths=(1, 1, 1))


def byol() -> jv.Objective:
    return jv.objectives.byol(ENCODER, hidden=8, projection=4)


def with_memory(state, memory: dict):
    return state._replace(carry=state.carry._replace(memory=memory))


@pytest.fixture(scope="module")
def state():
    """A state as after some training: the teacher differs from the student."""
    fresh = jv.train.init(byol(), optax.sgd(0.1), {"views": np.zeros((2, 2, 8, 8, 3), np.uint8)}, key=KEY)
    return with_memory(fresh, jax.tree.map(lambda leaf: leaf + 1, fresh.carry.memory))


def test_a_teacher_has_its_own_parameters_and_statistics(state):
    found, student = jv.train.teacher(state), jv.train.variables(state)
    assert set(found) == {"params", "batch_stats"}
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs + 1), found, student)


def test_the_teacher_of_a_combined_objective(state):
    terms = {"distil": (1.0, byol()), "contrast": (1.0, jv.objectives.simclr(ENCODER, projection=4))}
    batch = {"views": jnp.zeros((2, 2, 8, 8, 3))}
    _, carry = jax.eval_shape(lambda: jv.combine(share=("encoder",), **terms).init(KEY, batch))
    assert jax.tree.structure(jv.train.teacher(with_memory(state, carry.memory))) == jax.tree.structure(jv.train.variables(state))
    several = with_memory(state, carry.memory | {"more": {"again": state.carry.memory}})
    with pytest.raises(ValueError, match="^teacher: .*distil, more/again"):
        jv.train.teacher(several)


def test_a_run_without_a_teacher_is_refused(state):
    none = with_memory(state, {"teacher": {"params": {"stem": {}}}})  # as distill keeps a classifier's
    with pytest.raises(ValueError, match="^teacher: "):
        jv.train.teacher(none)


def test_the_shapes_of_a_state_are_known_without_computing_it(state):
    batch = {"views": np.zeros((2, 2, 8, 8, 3), np.uint8)}
    template = jv.train.state.initializer(byol(), optax.sgd(0.1), batch, key=KEY).template()
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(template))
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert shapes(template) == shapes(state)
