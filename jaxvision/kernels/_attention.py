"""Scaled dot-product attention: a compiled kernel on a CPU, cuDNN's on a GPU in half precision, else one batch of matrix products.

The first two hold the weights of a few queries at a time; on the way back they compute them again.
"""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled, compiled_function
from jaxvision.typing import Array, Float

_HALF = (jnp.bfloat16, jnp.float16)
_AMPERE, _DEEPEST = 8, 128  # what cuDNN asks for: compute capability, numbers of a head


def _check(queries: Array, keys: Array, values: Array) -> None:
    if queries.ndim != 4 or keys.shape != values.shape or queries.shape[0::2] != keys.shape[0::2] or queries.shape[3] != keys.shape[3]:
        found = f"{queries.shape}, {keys.shape}, {values.shape}"
        raise ValueError(f"queries, keys, values: found {found}, expected [B, N, h, d], [B, M, h, d] and [B, M, h, d]")


def plain_attention(queries: Array, keys: Array, values: Array, *, bias: Array | None = None) -> Array:
    """The definition as XLA reads it: the twin that every other form must equal."""
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    scores = jnp.einsum("bnhd,bmhd->bhnm", queries * queries.shape[-1] ** -0.5, keys, preferred_element_type=wide)
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(values.dtype), values)


def _by_products(queries: Array, keys: Array, values: Array, bias: Array | None) -> Array:
    """Heads moved in front before the products, which XLA copies least for."""
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    queries, keys, values = (array.swapaxes(1, 2) for array in (queries * queries.shape[-1] ** -0.5, keys, values))  # [B, h, N, d]
    scores = jax.lax.dot_general(queries, keys, (((3,), (3,)), ((0, 1), (0, 1))), preferred_element_type=wide)  # [B, h, N, M]
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1).astype(values.dtype)
    return jax.lax.dot_general(weights, values, (((3,), (2,)), ((0, 1), (0, 1)))).swapaxes(1, 2)


_attend = compiled_function(
    "attention",
    plain_attention,
    compiled("jaxvision_attention", (0,), "bnch, bmch, bmch -> bnch"),
    compiled("jaxvision_attention_gradients", (0, 1, 2), "bnch, bmch, bmch, bnch -> bnch, bmch, bmch"),
    joins=True,
)


def _three(joint: Array) -> tuple[Array, ...]:
    """Queries, keys and values [B, N, h, d] of [B, N, 3, h, d]."""
    return tuple(joint[:, :, index] for index in range(3))


def plain_self_attention(joint: Array) -> Array:
    """``plain_attention`` of what ``joint`` [B, N, 3, h, d] holds: the twin of ``self_attention``."""
    return plain_attention(*_three(joint))


_attend_jointly = compiled_function(
    "self_attention",
    plain_self_attention,
    compiled("jaxvision_self_attention", (lambda joint: (*joint.shape[:2], *joint.shape[3:]),), "bntch -> bnch"),
    compiled("jaxvision_self_attention_gradients", (0,), "bntch, bnch -> bntch"),
    joins=True,
)


def _flash(*arrays: Array) -> bool:
    """Whether cuDNN's flash attention takes these: half precision, heads of few numbers, a GPU of Ampere's generation or later."""
    if jax.default_backend() != "gpu" or arrays[0].dtype not in _HALF or any(array.dtype != arrays[0].dtype for array in arrays):
        return False
    generation = str(getattr(jax.local_devices()[0], "compute_capability", "")).partition(".")[0]  # AMD's have a name there
    depth = arrays[0].shape[3]
    return generation.isdigit() and int(generation) >= _AMPERE and depth % 8 == 0 and depth <= _DEEPEST and all(a.size for a in arrays)


def _by_cudnn(queries: Array, keys: Array, values: Array) -> Array:
    """JAX refuses the gradients of odd numbers of tokens, a ViT's 197: there one more is added, which the lengths say does not count."""
    counts, lengths = (queries.shape[1], keys.shape[1]), {}
    if any(count % 2 for count in counts):
        even = lambda array: jnp.pad(array, ((0, 0), (0, array.shape[1] % 2), (0, 0), (0, 0)))  # noqa: E731
        names = ("query_seq_lengths", "key_value_seq_lengths")
        lengths = {name: jnp.full(len(queries), count, jnp.int32) for name, count in zip(names, counts)}
        queries, keys, values = even(queries), even(keys), even(values)
    return jax.nn.dot_product_attention(queries, keys, values, implementation="cudnn", **lengths)[:, : counts[0]]


def attention(
    queries: Float[Array, "B N h d"],
    keys: Float[Array, "B M h d"],
    values: Float[Array, "B M h d"],
    *,
    bias: Float[Array, "..."] | None = None,
) -> Float[Array, "B N h d"]:
    """softmax(queries keys^T / sqrt(d) + bias) values, head by head (Vaswani et al., 2017, equation 1).

    ``bias`` is anything that broadcasts to [B, h, N, M]. Scores and softmax are in float32 or wider, whatever the inputs are. cuDNN's form
    has gradients in reverse alone, once. Raises ValueError where the shapes do not fit.
    """
    _check(queries, keys, values)
    if bias is None and keys.size and native.wanted(queries, keys, values):
        return _attend(queries, keys, values)
    if bias is None and _flash(queries, keys, values):
        return _by_cudnn(queries, keys, values)
    return _by_products(queries, keys, values, bias)


def self_attention(joint: Float[Array, "B N 3 h d"]) -> Float[Array, "B N h d"]:
    """``attention`` of N tokens among themselves, whose queries, keys and values come as one array, in that order.

    The compiled kernel reads them where they lie; every other form gets three arrays. Raises ValueError where the shape does not fit.
    """
    if joint.ndim != 5 or joint.shape[2] != 3:
        raise ValueError(f"joint: found {joint.shape}, expected [B, N, 3, h, d]")
    if joint.size and native.wanted(joint):
        return _attend_jointly(joint)
    return attention(*_three(joint))
