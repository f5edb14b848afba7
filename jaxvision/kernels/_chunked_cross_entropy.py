"""Cross-entropy between softmax distributions over very many prototypes, without a whole distribution in memory."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxvision.kernels._chunked_logsumexp import in_blocks
from jaxvision.kernels._unit_vectors import inverse_lengths
from jaxvision.typing import Array, Float

CHUNK = 4096  # prototypes at a time by default
EXACT = jax.lax.Precision.HIGHEST


def _scales(prototypes: Array, unit: bool) -> Array:
    return inverse_lengths(prototypes) if unit else jnp.ones(len(prototypes), prototypes.dtype)


def _scaled(student_prototypes: Array, teacher_prototypes: Array, unit: bool) -> tuple[Array, ...]:
    """Student and teacher prototypes, each followed by its scales."""
    return student_prototypes, _scales(student_prototypes, unit), teacher_prototypes, _scales(teacher_prototypes, unit)


def plain_prototype_cross_entropy(
    student: Float[Array, "V B D"],
    teacher: Float[Array, "G B D"],
    student_prototypes: Float[Array, "K D"],
    teacher_prototypes: Float[Array, "K D"],
    offset: Float[Array, "K"],
    *,
    unit: bool = False,
) -> Float[Array, "G V B"]:
    """The reference implementation of ``prototype_cross_entropy``, with all distributions in memory.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> views, prototypes = jnp.zeros((2, 3, 4)), jnp.ones((5, 4))
    >>> kernels.plain_prototype_cross_entropy(views, views, prototypes, prototypes, jnp.zeros(5)).shape
    (2, 2, 3)
    """
    target = jax.nn.softmax(jnp.dot(teacher, teacher_prototypes.T, precision=EXACT) * _scales(teacher_prototypes, unit) - offset)
    logs = jax.nn.log_softmax(jnp.dot(student, student_prototypes.T, precision=EXACT) * _scales(student_prototypes, unit))
    return -jnp.einsum("gbk,vbk->gvb", target, logs, precision=EXACT)


def _products(rows: Array, block: Array, scale: Array, there: Array, offset: Array | float = 0.0) -> Array:
    """Logits [..., width] of one block of prototypes [width, D] and their scales; minus infinity beyond the last prototype."""
    return jnp.where(there, jnp.dot(rows, block.T, precision=EXACT) * scale - offset, -jnp.inf)


def _higher(top: Array, total: Array, logits: Array) -> tuple[Array, Array, Array, Array]:
    """The running maximum and total after one more block, its weights, and the factor that earlier weights shrink by."""
    higher = jnp.maximum(top, jnp.max(logits, axis=-1))
    weights, shrink = jnp.exp(logits - higher[..., None]), jnp.exp(top - higher)
    return higher, total * shrink + jnp.sum(weights, axis=-1), weights, shrink


def _begin(rows: Array) -> tuple[Array, Array]:
    """The running maximum and total before the first block."""
    return jnp.full(rows.shape[:-1], jnp.finfo(rows.dtype).min, rows.dtype), jnp.zeros(rows.shape[:-1], rows.dtype)


def _blocks(chunk: int, *rows: Array) -> tuple[Array, ...]:
    """Prototypes, scales and offsets in blocks, and the indices of the prototypes."""
    blocks = [in_blocks(one, chunk) for one in rows]
    return (*(block for block, _ in blocks), blocks[0][1])


def _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int, unit: bool) -> tuple[Array, Array, Array]:
    """Cross-entropies [G, V, B], and the log-sum-exp of the student's logits [V, B] and of the teacher's [G, B]."""

    def add(carry, blocks):
        student_block, student_scale, teacher_block, teacher_scale, offset_block, place = blocks
        there = place < len(student_prototypes)
        ours, theirs, cross = carry
        logits = _products(student, student_block, student_scale, there)
        *higher, _, _ = _higher(*ours, logits)
        # logits count from the student's running maximum; when it rises, the sum so far is corrected
        cross = cross - (higher[0] - ours[0]) * theirs[1][:, None]
        *theirs, weights, shrink = _higher(*theirs, _products(teacher, teacher_block, teacher_scale, there, offset_block))
        below = jnp.where(there, logits - higher[0][..., None], 0)
        met = jnp.einsum("gbk,vbk->gvb", weights, below, precision=EXACT)
        return (tuple(higher), tuple(theirs), cross * shrink[:, None] + met), None

    none = jnp.zeros((len(teacher), *student.shape[:2]), student.dtype)
    scaled = _scaled(student_prototypes, teacher_prototypes, unit)
    (ours, theirs, cross), _ = jax.lax.scan(add, (_begin(student), _begin(teacher), none), _blocks(chunk, *scaled, offset))
    log_total = jnp.log(ours[1])
    return log_total - cross / theirs[1][:, None], ours[0] + log_total, theirs[0] + jnp.log(theirs[1])


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _cross_entropy(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int, unit: bool) -> Array:
    return _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk, unit)[0]


def _forward(student, teacher, student_prototypes, teacher_prototypes, offset, chunk: int, unit: bool) -> tuple[Array, tuple]:
    result, *log_sums = _run(student, teacher, student_prototypes, teacher_prototypes, offset, chunk, unit)
    return result, (student, teacher, student_prototypes, teacher_prototypes, offset, *log_sums)


def _backward(chunk: int, unit: bool, kept: tuple, cotangent: Array) -> tuple:
    student, teacher, student_prototypes, teacher_prototypes, offset, ours, theirs = kept

    def add(gradient, blocks):
        student_block, student_scale, teacher_block, teacher_scale, offset_block, place = blocks
        there = place < len(student_prototypes)
        logits = _products(student, student_block, student_scale, there)
        guess = jnp.exp(logits - ours[..., None])  # [V, B, width]
        target = jnp.exp(_products(teacher, teacher_block, teacher_scale, there, offset_block) - theirs[..., None])  # [G, B, width]
        # the difference before the products: where student and teacher agree, no rounding error remains
        excess = jnp.sum(cotangent, axis=0)[..., None] * guess - jnp.einsum("gvb,gbk->vbk", cotangent, target, precision=EXACT)
        scaled = excess * student_scale
        to_prototypes = jnp.einsum("vbk,vbd->kd", scaled, student, precision=EXACT)
        if unit:  # a prototype's length has no effect: the gradient has no component along it
            along = jnp.sum(scaled * jnp.where(there, logits, 0), axis=(0, 1))
            to_prototypes = to_prototypes - along[:, None] * (student_scale[:, None] * student_block)
        return gradient + jnp.dot(scaled, student_block, precision=EXACT), to_prototypes

    scaled = _scaled(student_prototypes, teacher_prototypes, unit)
    to_student, to_prototypes = jax.lax.scan(add, jnp.zeros_like(student), _blocks(chunk, *scaled, offset))
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
    unit: bool = False,
    chunk: int | None = None,
) -> Float[Array, "G V B"]:
    """-sum_k t_gbk log p_vbk with t = softmax(teacher . teacher_prototypes - offset), p = softmax(student . student_prototypes).

    With ``unit`` the prototypes are scaled to length 1, without a copy. Memory O((V + G) B chunk + K D): ``chunk`` prototypes at a time
    (4,096 by default), and again for the gradient. The teacher's three arrays get no gradient. Forward-mode differentiation does not work:
    use ``plain_prototype_cross_entropy`` there. Raises ValueError where ``chunk`` is below 1.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> views, prototypes = jnp.zeros((2, 3, 4)), jnp.ones((5, 4))
    >>> kernels.prototype_cross_entropy(views, views, prototypes, prototypes, jnp.zeros(5)).shape
    (2, 2, 3)
    """
    return _cross_entropy(student, teacher, student_prototypes, teacher_prototypes, offset, _width(chunk), unit)


def plain_prototype_entropy(
    rows: Float[Array, "... D"], prototypes: Float[Array, "K D"], offset: Float[Array, "K"], *, unit: bool = False
) -> Float[Array, "..."]:
    """The reference implementation of ``prototype_entropy``, with all distributions in memory.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> round(kernels.plain_prototype_entropy(jnp.zeros((1, 4)), jnp.ones((2, 4)), jnp.zeros(2)).item(), 3)  # log 2
    0.693
    """
    logs = jax.nn.log_softmax(jnp.dot(rows, prototypes.T, precision=EXACT) * _scales(prototypes, unit) - offset)
    return -jnp.sum(jnp.exp(logs) * logs, axis=-1)


def prototype_entropy(
    rows: Float[Array, "... D"],
    prototypes: Float[Array, "K D"],
    offset: Float[Array, "K"],
    *,
    unit: bool = False,
    chunk: int | None = None,
) -> Float[Array, "..."]:
    """The entropy of softmax(rows . prototypes - offset), ``chunk`` prototypes at a time; it is a metric, not meant to be differentiated.

    With ``unit`` the prototypes are scaled to length 1. Raises ValueError where ``chunk`` is below 1.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> round(kernels.prototype_entropy(jnp.zeros((1, 4)), jnp.ones((2, 4)), jnp.zeros(2)).item(), 3)  # log 2
    0.693
    """

    def add(carry, blocks):
        block, scale, offset_block, place = blocks
        there = place < len(prototypes)
        logits = _products(rows, block, scale, there, offset_block)
        top, total, mean = carry
        higher, grown, weights, shrink = _higher(top, total, logits)
        below = jnp.where(there, logits - higher[..., None], 0)
        return (higher, grown, (mean - (higher - top) * total) * shrink + jnp.sum(weights * below, axis=-1)), None

    blocks = _blocks(_width(chunk), prototypes, _scales(prototypes, unit), offset)
    (_, total, mean), _ = jax.lax.scan(add, (*_begin(rows), jnp.zeros(rows.shape[:-1], rows.dtype)), blocks)
    return jnp.log(total) - mean / total
