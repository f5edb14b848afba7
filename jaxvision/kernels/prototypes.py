"""Softmax distributions over very many prototypes, compared without ever holding one distribution as a whole."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxvision.kernels.contrast import in_blocks
from jaxvision.typing import Array, Float

CHUNK = 4096  # prototypes held at a time, unless the caller says otherwise
EXACT = jax.lax.Precision.HIGHEST


def plain_prototype_cross_entropy(student: Array, teacher: Array, student_prototypes: Array, teacher_prototypes: Array, offset: Array):
    """``prototype_cross_entropy`` with all distributions in memory: the twin that it must equal."""
    target = jax.nn.softmax(jnp.dot(teacher, teacher_prototypes.T, precision=EXACT) - offset)
    logs = jax.nn.log_softmax(jnp.dot(student, student_prototypes.T, precision=EXACT))
    return -jnp.einsum("gbk,vbk->gvb", target, logs, precision=EXACT)


def _products(rows: Array, block: Array, there: Array, offset: Array | float = 0.0) -> Array:
    """Logits [..., width] of one block of prototypes [width, D]; minus infinity beyond the last prototype."""
    return jnp.where(there, jnp.dot(rows, block.T, precision=EXACT) - offset, -jnp.inf)


def _higher(top: Array, total: Array, logits: Array) -> tuple[Array, Array, Array, Array]:
    """The running maximum and the running total after one more block; its weights, and what earlier weights shrink by."""
    higher = jnp.maximum(top, jnp.max(logits, axis=-1))
    weights, shrink = jnp.exp(logits - higher[..., None]), jnp.exp(top - higher)
    return higher, total * shrink + jnp.sum(weights, axis=-1), weights, shrink


def _begin(rows: Array) -> tuple[Array, Array]:
    """The maximum and the total of no logits at all."""
    return jnp.full(rows.shape[:-1], jnp.finfo(rows.dtype).min, rows.dtype), jnp.zeros(rows.shape[:-1], rows.dtype)


def _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int) -> tuple[Array, Array, Array]:
    """Cross-entropies [G, V, B], and the log-sum-exp of the student's logits [V, B] and of the teacher's [G, B]."""

    def add(carry, blocks):
        (student_block, place), (teacher_block, _), (offset_block, _) = blocks
        there = place < len(student_prototypes)
        ours, theirs, cross = carry
        logits = _products(student, student_block, there)
        *higher, _, _ = _higher(*ours, logits)
        # products are summed below the student's maximum, where the likely ones are small; what was summed moves down when that rises
        cross = cross - (higher[0] - ours[0]) * theirs[1][:, None]
        *theirs, weights, shrink = _higher(*theirs, _products(teacher, teacher_block, there, offset_block))
        below = jnp.where(there, logits - higher[0][..., None], 0)
        met = jnp.einsum("gbk,vbk->gvb", weights, below, precision=EXACT)
        return (tuple(higher), tuple(theirs), cross * shrink[:, None] + met), None

    none = jnp.zeros((len(teacher), *student.shape[:2]), student.dtype)
    blocks = tuple(in_blocks(rows, chunk) for rows in (student_prototypes, teacher_prototypes, offset))
    (ours, theirs, cross), _ = jax.lax.scan(add, (_begin(student), _begin(teacher), none), blocks)
    spread = jnp.log(ours[1])
    return spread - cross / theirs[1][:, None], ours[0] + spread, theirs[0] + jnp.log(theirs[1])


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _cross_entropy(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int) -> Array:
    return _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk)[0]


def _forward(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int) -> tuple[Array, tuple]:
    result, *spreads = _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk)
    return result, (student, teacher, student_prototypes, teacher_prototypes, offset, *spreads)


def _backward(chunk: int, kept: tuple, slope: Array) -> tuple:
    student, teacher, student_prototypes, teacher_prototypes, offset, ours, theirs = kept

    def add(gradient, blocks):
        (student_block, place), (teacher_block, _), (offset_block, _) = blocks
        there = place < len(student_prototypes)
        guess = jnp.exp(_products(student, student_block, there) - ours[..., None])  # [V, B, width]
        target = jnp.exp(_products(teacher, teacher_block, there, offset_block) - theirs[..., None])  # [G, B, width]
        # the difference first and the products after it: where student and teacher agree nothing is left to be rounded
        excess = jnp.sum(slope, axis=0)[..., None] * guess - jnp.einsum("gvb,gbk->vbk", slope, target, precision=EXACT)
        to_prototypes = jnp.einsum("vbk,vbd->kd", excess, student, precision=EXACT)
        return gradient + jnp.dot(excess, student_block, precision=EXACT), to_prototypes

    blocks = tuple(in_blocks(rows, chunk) for rows in (student_prototypes, teacher_prototypes, offset))
    to_student, to_prototypes = jax.lax.scan(add, jnp.zeros_like(student), blocks)
    to_prototypes = to_prototypes.reshape(-1, student_prototypes.shape[1])[: len(student_prototypes)]
    return to_student, None, to_prototypes, None, None


_cross_entropy.defvjp(_forward, _backward)


def _width(chunk: int | None) -> int:
    chunk = CHUNK if chunk is None else chunk
    if chunk < 1:
        raise ValueError(f"chunk: found {chunk}, expected at least 1 prototype at a time")
    return chunk


def prototype_cross_entropy(
    student: Float[Array, "V B D"],
    teacher: Float[Array, "G B D"],
    student_prototypes: Float[Array, "K D"],
    teacher_prototypes: Float[Array, "K D"],
    offset: Float[Array, "K"],
    *,
    chunk: int | None = None,
) -> Float[Array, "G V B"]:
    """-sum_k t_gbk log p_vbk with t = softmax(teacher . teacher_prototypes - offset), p = softmax(student . student_prototypes).

    Memory O((V + G) B chunk + K D): ``chunk`` prototypes at a time (4,096 unless given), and once more for the gradient. The teacher's
    three arrays get no gradient. Forward differentiation does not work: take ``plain_prototype_cross_entropy`` there.
    Raises ValueError where ``chunk`` is below 1.
    """
    return _cross_entropy(student, teacher, student_prototypes, teacher_prototypes, offset, _width(chunk))


def plain_prototype_entropy(rows: Array, prototypes: Array, offset: Array) -> Array:
    """``prototype_entropy`` with all distributions in memory: the twin that it must equal."""
    logs = jax.nn.log_softmax(jnp.dot(rows, prototypes.T, precision=EXACT) - offset)
    return -jnp.sum(jnp.exp(logs) * logs, axis=-1)


def prototype_entropy(
    rows: Float[Array, "... D"], prototypes: Float[Array, "K D"], offset: Float[Array, "K"], *, chunk: int | None = None
) -> Float[Array, "..."]:
    """The entropy of softmax(rows . prototypes - offset), ``chunk`` prototypes at a time; no gradient is meant to go through it."""

    def add(carry, blocks):
        (block, place), (offset_block, _) = blocks
        there = place < len(prototypes)
        logits = _products(rows, block, there, offset_block)
        top, total, mean = carry
        higher, grown, weights, shrink = _higher(top, total, logits)
        below = jnp.where(there, logits - higher[..., None], 0)
        return (higher, grown, (mean - (higher - top) * total) * shrink + jnp.sum(weights * below, axis=-1)), None

    blocks = tuple(in_blocks(part, _width(chunk)) for part in (prototypes, offset))
    (_, total, mean), _ = jax.lax.scan(add, (*_begin(rows), jnp.zeros(rows.shape[:-1], rows.dtype)), blocks)
    return jnp.log(total) - mean / total
