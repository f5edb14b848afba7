"""DINO's loss, centre and entropies: closed forms, many prototypes without their distributions, and what they refuse."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.kernels import unit_rows
from tests.marks import slow

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.standard_normal((5, 6, 8)).astype(np.float32), RNG.standard_normal((2, 6, 8)).astype(np.float32)
OURS, THEIRS = RNG.standard_normal((2, 40, 8)).astype(np.float32)
CENTER = RNG.standard_normal(40).astype(np.float32)


def sizes(program) -> set[int]:
    """The number of elements of every array in a program, those inside its loops too."""
    found = set()
    for equation in program.eqns:
        found |= {int(np.prod(out.aval.shape)) for out in equation.outvars}
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda part: hasattr(part, "eqns") or hasattr(part, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                found |= sizes(getattr(inner, "jaxpr", inner))
    return found


@pytest.mark.parametrize("prototypes", [slow(2), 1000, slow(65_536)])
def test_uniform_student_and_teacher_give_log_k(prototypes):
    flat = jnp.zeros((3, 1, prototypes))
    value = jv.losses.dino(flat, flat[:2], flat[0, 0])
    assert float(value) == pytest.approx(math.log(prototypes), rel=1e-6)
    assert float(jv.losses.dino_entropy(flat, flat[0, 0])) == pytest.approx(math.log(prototypes), rel=1e-6)
    rows, equal = jnp.ones((3, 1, 2)), jnp.ones((prototypes, 2))
    in_parts = jv.losses.dino_prototypes(rows, rows[:2], equal, equal, jnp.zeros(prototypes))
    assert float(in_parts) == pytest.approx(math.log(prototypes), rel=1e-6)
    entropy = jv.losses.dino_prototypes_entropy(rows, equal, jnp.zeros(prototypes))
    assert float(entropy) == pytest.approx(math.log(prototypes), rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 39, 40, 41, None])
def test_prototypes_in_parts_are_dino(chunk):
    def whole(student, prototypes):
        return jv.losses.dino(student @ prototypes.T, TEACHER @ THEIRS.T, CENTER, teacher_temperature=0.3)

    def parts(student, prototypes):
        return jv.losses.dino_prototypes(student, TEACHER, prototypes, THEIRS, CENTER, teacher_temperature=0.3, chunk=chunk)

    expected, slopes = jax.jit(jax.value_and_grad(whole, (0, 1)))(STUDENT, OURS)
    value, ours = jax.jit(jax.value_and_grad(parts, (0, 1)))(STUDENT, OURS)
    assert float(value) == pytest.approx(float(expected), rel=2e-6)
    for one, other in zip(ours, slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6 * np.abs(other).max())


def test_centre_and_entropy_of_prototypes_in_parts():
    logits = TEACHER @ THEIRS.T
    center = jv.losses.dino_center(CENTER, logits)
    np.testing.assert_allclose(center, 0.9 * CENTER + 0.1 * logits.mean((0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jv.losses.dino_prototypes_center(CENTER, TEACHER, THEIRS), center, rtol=1e-5, atol=1e-6)
    entropy = jv.losses.dino_entropy(logits, CENTER, teacher_temperature=2.0)
    parts = jv.losses.dino_prototypes_entropy(TEACHER, THEIRS, CENTER, teacher_temperature=2.0, chunk=7)
    assert float(parts) == pytest.approx(float(entropy), rel=1e-5)


@pytest.mark.parametrize("chunk", [7, None])
def test_unit_prototypes_are_those_of_length_one(chunk):
    """Short, long and empty ones too: value, gradients of features and prototypes, centre and entropy."""
    lengths = np.geomspace(1e-30, 1e30, len(OURS), dtype=np.float32)[:, None]
    ours, theirs = jnp.where(np.arange(len(OURS))[:, None] == 3, 0, OURS * lengths), THEIRS * lengths[::-1]

    def named(student, prototypes, theirs):
        options = {"teacher_temperature": 0.3, "unit_prototypes": True, "chunk": chunk}
        return jv.losses.dino_prototypes(student, TEACHER, prototypes, theirs, CENTER, **options)

    def made(student, prototypes, theirs):
        return jv.losses.dino_prototypes(student, TEACHER, unit_rows(prototypes), unit_rows(theirs), CENTER, teacher_temperature=0.3)

    expected, (to_student, to_ours) = jax.jit(jax.value_and_grad(made, (0, 1)))(STUDENT, ours, theirs)
    value, (student, prototypes) = jax.jit(jax.value_and_grad(named, (0, 1)))(STUDENT, ours, theirs)
    assert float(value) == pytest.approx(float(expected), rel=2e-6)
    np.testing.assert_allclose(student, to_student, atol=5e-6 * np.abs(to_student).max())
    np.testing.assert_allclose(prototypes * lengths, to_ours * lengths, atol=5e-6 * np.abs(to_ours * lengths).max())
    np.testing.assert_array_equal(prototypes[3], 0)
    center = jv.losses.dino_prototypes_center(CENTER, TEACHER, theirs, unit_prototypes=True)
    np.testing.assert_allclose(center, jv.losses.dino_prototypes_center(CENTER, TEACHER, unit_rows(theirs)), atol=1e-6)
    entropy = jv.losses.dino_prototypes_entropy(TEACHER, theirs, CENTER, unit_prototypes=True, chunk=chunk)
    assert float(entropy) == pytest.approx(float(jv.losses.dino_prototypes_entropy(TEACHER, unit_rows(theirs), CENTER)), rel=1e-5)


def test_unit_prototypes_are_differentiated_twice():
    def slope(loss):
        return jax.jit(jax.grad(lambda prototypes: jnp.sum(jnp.sin(jax.grad(loss)(prototypes)))))(OURS)

    named = slope(lambda ours: jv.losses.dino_prototypes(STUDENT, TEACHER, ours, THEIRS, CENTER, unit_prototypes=True, chunk=7))
    made = slope(lambda ours: jv.losses.dino_prototypes(STUDENT, TEACHER, unit_rows(ours), unit_rows(THEIRS), CENTER))
    np.testing.assert_allclose(named, made, atol=2e-5 * np.abs(made).max())


def test_unit_prototypes_need_no_array_of_their_size():
    shapes = ((10, 2, 256), (2, 2, 256), (65_536, 256), (65_536, 256), (65_536,))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    loss = functools.partial(jv.losses.dino_prototypes, unit_prototypes=True)
    compiled = jax.jit(jax.value_and_grad(loss, (0, 2))).lower(*arrays).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 65_536 * 256


def test_with_65536_prototypes_no_distribution_exists():
    """Views 10, images 16: [V, B, K] would have 10.5 million entries, [G, B, K] 2.1 million; the largest array is the prototypes."""
    views, count, features, prototypes = 10, 16, 8, 65_536
    shapes = ((views, count, features), (2, count, features), (prototypes, features), (prototypes, features), (prototypes,))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    loss = lambda *arrays: jv.losses.dino_prototypes(*arrays) + jv.losses.dino_prototypes_entropy(arrays[1], *arrays[3:])  # noqa: E731
    program = jax.make_jaxpr(jax.value_and_grad(loss, (0, 2)))(*arrays)
    assert max(sizes(program.jaxpr)) < 2 * count * prototypes
    compiled = jax.jit(jax.value_and_grad(loss, (0, 2))).lower(*arrays).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * views * count * prototypes
    student, teacher, center = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((views, 2, 64), (2, 2, 64), (64,)))
    assert views * 2 * 64 in sizes(jax.make_jaxpr(jv.losses.dino)(student, teacher, center).jaxpr)  # the dense form is seen


def test_temperatures_may_change_while_a_program_runs():
    cool = jax.jit(lambda t: jv.losses.dino_prototypes(STUDENT, TEACHER, OURS, THEIRS, CENTER, teacher_temperature=t))
    for temperature in (0.04, 0.07):
        expected = jv.losses.dino_prototypes(STUDENT, TEACHER, OURS, THEIRS, CENTER, teacher_temperature=temperature)
        assert float(cool(temperature)) == pytest.approx(float(expected), rel=1e-5)


def test_a_confident_teacher_has_no_entropy_until_it_is_centred():
    sure = jnp.zeros((2, 3, 5)).at[..., 1].set(10.0)
    assert float(jv.losses.dino_entropy(sure, jnp.zeros(5))) < 1e-6
    center = jv.losses.dino_center(jnp.zeros(5), sure, momentum=0.0)
    np.testing.assert_allclose(center, [0, 10, 0, 0, 0])
    assert float(jv.losses.dino_entropy(sure, center)) == pytest.approx(math.log(5), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.dino(STUDENT[:1], TEACHER[:1], np.zeros(8)), "student, teacher"),
        (lambda: jv.losses.dino(TEACHER, STUDENT, np.zeros(8)), "student, teacher"),
        (lambda: jv.losses.dino(STUDENT, TEACHER[:, :3], np.zeros(8)), "student, teacher"),
        (lambda: jv.losses.dino(STUDENT[0], TEACHER, np.zeros(8)), "student"),
        (lambda: jv.losses.dino(STUDENT, TEACHER, np.zeros(9)), "center"),
        (lambda: jv.losses.dino(STUDENT, TEACHER, np.zeros(8), student_temperature=-1), "student_temperature"),
        (lambda: jv.losses.dino_center(CENTER, TEACHER), "center"),
        (lambda: jv.losses.dino_center(np.zeros(8), TEACHER, momentum=5.0), "momentum"),
        (lambda: jv.losses.dino_prototypes_center(CENTER, TEACHER, THEIRS, momentum=jnp.array(-0.1)), "momentum"),
        (lambda: jv.losses.dino_entropy(TEACHER, np.zeros(8), teacher_temperature=0.0), "teacher_temperature"),
        (lambda: jv.losses.dino_prototypes_entropy(TEACHER, THEIRS, CENTER, teacher_temperature=-1), "teacher_temperature"),
        (lambda: jv.losses.dino_prototypes(STUDENT, TEACHER, OURS[:4], THEIRS, CENTER), "student_prototypes, teacher_prototypes"),
        (lambda: jv.losses.dino_prototypes(STUDENT, TEACHER, OURS, THEIRS[:, :2], CENTER), "teacher_features, teacher_prototypes"),
        (lambda: jv.losses.dino_prototypes(STUDENT, TEACHER, OURS, THEIRS, CENTER, chunk=0), "chunk"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
