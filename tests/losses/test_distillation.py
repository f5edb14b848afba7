"""Distillation and pseudo-labels: zeros of the loss, which network gets a gradient, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

RNG = np.random.default_rng(0)
STUDENT, TEACHER = 3 * RNG.standard_normal((2, 6, 5)).astype(np.float32)


def test_a_student_equal_to_its_teacher_has_no_loss():
    value, slope = jax.value_and_grad(jv.losses.knowledge_distillation)(STUDENT, STUDENT + 7)
    assert abs(float(value)) < 1e-5 and np.abs(slope).max() < 1e-6


def test_gradients_of_warm_distributions_are_those_of_the_centred_logits():
    """Hinton et al., 2015, section 2.1: at high temperature T^2 times the gradient is (student - teacher) / K of centred logits."""
    student, teacher = (logits - logits.mean(-1, keepdims=True) for logits in (STUDENT, TEACHER))
    slope = jax.grad(lambda logits: jv.losses.knowledge_distillation(logits, teacher, temperature=1000.0))(student)
    np.testing.assert_allclose(6 * 5 * slope, student - teacher, atol=0.05)


def test_a_class_of_probability_zero_costs_nothing():
    certain = TEACHER.copy()
    certain[:, 2] = -np.inf
    value, slope = jax.value_and_grad(jv.losses.knowledge_distillation)(STUDENT, certain)
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_only_confident_examples_count():
    weak = jnp.array([[9.0, 0, 0], [0.1, 0, 0], [0, 0, 9.0]])
    strong = jnp.array([[1.0, 0, 0], [5.0, 0, 0], [5.0, 0, 0]])
    value, slope = jax.value_and_grad(jv.losses.pseudo_label, 1)(weak, strong)
    surprise = -jax.nn.log_softmax(strong)
    assert float(value) == pytest.approx(float(surprise[0, 0] + surprise[2, 2]) / 2, rel=1e-6)
    assert not np.any(slope[1]) and np.all(slope[0]) and np.all(slope[2])


def test_without_confident_examples_the_loss_is_zero():
    value, slope = jax.value_and_grad(jv.losses.pseudo_label, 1)(0.1 * TEACHER, STUDENT)
    assert value == 0 and not np.any(slope)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.knowledge_distillation(STUDENT, TEACHER[:, :2]), "student, teacher"),
        (lambda: jv.losses.knowledge_distillation(STUDENT, TEACHER, temperature=0), "temperature"),
        (lambda: jv.losses.pseudo_label(STUDENT, TEACHER[:2]), "weak, strong"),
        (lambda: jv.losses.pseudo_label(STUDENT, TEACHER, threshold=95), "threshold"),
        (lambda: jv.losses.pseudo_label(STUDENT, TEACHER, threshold=np.float32("nan")), "threshold"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
