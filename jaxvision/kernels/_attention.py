"""Scaled dot-product attention: a compiled kernel on a CPU, cuDNN's on a GPU in half precision, else two batches of matrix products.

The first two hold the weights of a few queries at a time, and compute them again in the backward pass.
"""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._derivatives import Gradient, differentiable
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float

_HALF_PRECISION = (jnp.bfloat16, jnp.float16)
_AMPERE, _MAX_DEPTH = 8, 128  # what cuDNN needs: the compute capability, the depth of a head


def _check(queries: Array, keys: Array, values: Array) -> None:
    if queries.ndim != 4 or keys.shape != values.shape or queries.shape[0::2] != keys.shape[0::2] or queries.shape[3] != keys.shape[3]:
        found = f"{queries.shape}, {keys.shape}, {values.shape}"
        raise ValueError(f"queries, keys, values: found {found}, expected [B, N, h, d], [B, M, h, d] and [B, M, h, d]")


def plain_attention(
    queries: Float[Array, "B N h d"],
    keys: Float[Array, "B M h d"],
    values: Float[Array, "B M h d"],
    *,
    bias: Float[Array, "..."] | None = None,
) -> Float[Array, "B N h d"]:
    """The definition of ``attention`` as two contractions, which every form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> queries, keys = jnp.ones((1, 2, 1, 4)), jnp.ones((1, 3, 1, 4))
    >>> kernels.plain_attention(queries, keys, keys).shape
    (1, 2, 1, 4)
    """
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    scores = jnp.einsum("bnhd,bmhd->bhnm", queries * queries.shape[-1] ** -0.5, keys, preferred_element_type=wide)
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(values.dtype), values)


def _by_products(queries: Array, keys: Array, values: Array, bias: Array | None = None) -> Array:
    """The reference form: heads come first before the products, for which XLA copies least."""
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    queries, keys, values = (array.swapaxes(1, 2) for array in (queries * queries.shape[-1] ** -0.5, keys, values))  # [B, h, N, d]
    scores = jax.lax.dot_general(queries, keys, (((3,), (3,)), ((0, 1), (0, 1))), preferred_element_type=wide)  # [B, h, N, M]
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1).astype(values.dtype)
    return jax.lax.dot_general(weights, values, (((3,), (2,)), ((0, 1), (0, 1)))).swapaxes(1, 2)


def _available(queries: Array, keys: Array, *others: Array) -> bool:
    return native.available(queries, keys, *others)


def _by_kernel(queries: Array, keys: Array, values: Array) -> Array:
    def part(queries, keys, values):
        return native.call("jaxvision_attention", queries.shape)(queries, keys, values)[0]

    return in_parts(part, "bnch, bmch, bmch -> bnch")(queries, keys, values)


def _gradients_by_kernel(queries: Array, keys: Array, values: Array, gradient: Array) -> list[Array]:
    def part(queries, keys, values, gradient):
        call = native.call("jaxvision_attention_gradients", queries.shape, keys.shape, values.shape)
        return call(queries, keys, values, gradient)

    return in_parts(part, "bnch, bmch, bmch, bnch -> bnch, bmch, bmch")(queries, keys, values, gradient)


def _ampere_or_later() -> bool:
    """Whether this host has an NVIDIA GPU of a generation that cuDNN's flash attention needs."""
    try:
        devices = jax.devices("cuda")
    except RuntimeError:  # JAX has no CUDA backend here
        return False
    generation = str(getattr(devices[0], "compute_capability", "")).partition(".")[0]
    return generation.isdigit() and int(generation) >= _AMPERE


def _flash_available(queries: Array, keys: Array, values: Array, *gradient: Array) -> bool:
    """Whether cuDNN's flash attention takes these: half precision, heads of little depth, a recent GPU."""
    arrays, depth = (queries, keys, values), queries.shape[3]
    if queries.dtype not in _HALF_PRECISION or any(array.dtype != queries.dtype for array in arrays):
        return False
    return depth % 8 == 0 and depth <= _MAX_DEPTH and all(array.size for array in arrays) and _ampere_or_later()


def _flash(queries: Array, keys: Array, values: Array) -> Array:
    """cuDNN's form. JAX refuses the gradients of odd numbers of tokens, such as a ViT's 197: one token of padding makes them even."""
    counts, lengths = (queries.shape[1], keys.shape[1]), {}
    if any(count % 2 for count in counts):
        even = lambda array: jnp.pad(array, ((0, 0), (0, array.shape[1] % 2), (0, 0), (0, 0)))  # noqa: E731
        names = ("query_seq_lengths", "key_value_seq_lengths")
        lengths = {name: jnp.full(len(queries), count, jnp.int32) for name, count in zip(names, counts)}
        queries, keys, values = even(queries), even(keys), even(values)
    return jax.nn.dot_product_attention(queries, keys, values, implementation="cudnn", **lengths)[:, : counts[0]]


def _flash_value(queries: Array, keys: Array, values: Array) -> Array:
    """As in the backward pass, with the softmax statistics: XLA merges the two calls into one."""
    return jax.vjp(_flash, queries, keys, values)[0]


def _flash_gradients(queries: Array, keys: Array, values: Array, gradient: Array) -> tuple[Array, ...]:
    return jax.vjp(_flash, queries, keys, values)[1](gradient)


_attend = Kernel(
    "attention",
    Form("cpu", _available, _by_kernel),
    Form("cuda", _flash_available, _flash_value),
    Form(None, always, _by_products),
    batched=True,
)
differentiable(
    _attend,
    tangent=Gradient(batched=True),
    gradients=Gradient((Form("cpu", _available, _gradients_by_kernel), Form("cuda", _flash_available, _flash_gradients)), batched=True),
)


def _three(joint: Array) -> tuple[Array, ...]:
    """Queries, keys and values [B, N, h, d] of [B, N, 3, h, d]."""
    return tuple(joint[:, :, index] for index in range(3))


def plain_self_attention(joint: Float[Array, "B N 3 h d"]) -> Float[Array, "B N h d"]:
    """``plain_attention`` of the queries, keys and values in ``joint``: the definition of ``self_attention``.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_self_attention(jnp.ones((1, 5, 3, 2, 4))).shape
    (1, 5, 2, 4)
    """
    return plain_attention(*_three(joint))


def _joint_available(joint: Array, *gradient: Array) -> bool:
    return native.available(joint, *gradient)


def _joint_by_kernel(joint: Array) -> Array:
    def part(joint):
        return native.call("jaxvision_self_attention", (*joint.shape[:2], *joint.shape[3:]))(joint)[0]

    return in_parts(part, "bntch -> bnch")(joint)


def _joint_gradient_by_kernel(joint: Array, gradient: Array) -> list[Array]:
    def part(joint, gradient):
        return native.call("jaxvision_self_attention_gradients", joint.shape)(joint, gradient)

    return in_parts(part, "bntch, bnch -> bntch")(joint, gradient)


_attend_jointly = Kernel(
    "self_attention",
    Form("cpu", _joint_available, _joint_by_kernel),
    Form(None, always, lambda joint: _by_products(*_three(joint))),
    batched=True,
)
differentiable(
    _attend_jointly,
    tangent=Gradient(batched=True),
    gradients=Gradient((Form("cpu", _joint_available, _joint_gradient_by_kernel),), batched=True),
)


def attention(
    queries: Float[Array, "B N h d"],
    keys: Float[Array, "B M h d"],
    values: Float[Array, "B M h d"],
    *,
    bias: Float[Array, "..."] | None = None,
) -> Float[Array, "B N h d"]:
    """softmax(queries keys^T / sqrt(d) + bias) values, head by head (Vaswani et al., 2017, equation 1).

    ``bias`` broadcasts to [B, h, N, M]. Scores and softmax are computed in at least float32, whatever the dtype of the arrays.
    Raises ValueError where the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> queries, keys = jnp.ones((1, 2, 1, 4)), jnp.ones((1, 3, 1, 4))
    >>> kernels.attention(queries, keys, keys).shape
    (1, 2, 1, 4)
    """
    _check(queries, keys, values)
    return _attend(queries, keys, values) if bias is None else _by_products(queries, keys, values, bias)


def self_attention(joint: Float[Array, "B N 3 h d"]) -> Float[Array, "B N h d"]:
    """``attention`` of N tokens among themselves; ``joint`` holds queries, keys and values, in that order.

    The compiled kernel reads ``joint`` in place, every other form gets three arrays. Raises ValueError where the shape does not fit.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.self_attention(jnp.ones((1, 5, 3, 2, 4))).shape
    (1, 5, 2, 4)
    """
    if joint.ndim != 5 or joint.shape[2] != 3:
        raise ValueError(f"joint: found {joint.shape}, expected [B, N, 3, h, d]")
    return _attend_jointly(joint) if _joint_available(joint) else attention(*_three(joint))
