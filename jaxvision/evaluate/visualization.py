"""Visualization of one channel: the image patches with its largest activations, and its gradient with respect to the pixels."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend import core

from jaxvision.typing import Array, to_float

_CALL_PRIMITIVES = ("jit", "pjit", "closed_call", "remat", "checkpoint")  # equations that only call one jaxpr


def _map(model: nn.Module, variables: Mapping, image: Array, name: str) -> Array:
    """The map ``name`` [B, h, w, C] of images [B, H, W, C]; "tokens" are a transformer's patches on their grid."""
    features = model.apply(variables, image, method="features")
    if name == "tokens" and features.tokens is not None:
        rows, columns = (side // model.patch_size for side in image.shape[1:3])
        return features.tokens.reshape(len(image), rows, columns, -1)
    if name not in features.maps:
        known = [*features.maps, *(["tokens"] if features.tokens is not None else [])]
        raise ValueError(f"map_name: found {name!r}, expected {' or '.join(map(repr, known)) or 'nothing: this model has no maps'}")
    return features.maps[name]


def _cut(image: np.ndarray, position: tuple[int, int], grid: tuple[int, int], size: int) -> np.ndarray:
    """The window [size, size, C] around a position of the grid, moved so that it lies inside the image."""
    starts = []
    for index, count, side in zip(position, grid, image.shape[:2], strict=True):
        center = (index + 0.5) * side / count
        starts.append(int(np.clip(round(center - size / 2), 0, side - size)))
    return image[starts[0] : starts[0] + size, starts[1] : starts[1] + size]


def top_patches(
    model: nn.Module,
    variables: Mapping,
    images: np.ndarray,
    map_name: str,
    channels: Sequence[int],
    *,
    size: int,
    count: int = 9,
    batch_size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """The patches with the largest activations of each channel: (patches [channels, count, size, size, C], activations [channels, count]).

    ``images`` [N, H, W, C]: uint8 or float, as the model reads them. Each image gives at most one patch, around the position where the
    channel of the map is largest. ``map_name``: a key of ``features(...).maps``, or "tokens". ``size``: side of a patch in pixels, for
    example the receptive field that ``jv.report`` prints. Raises ValueError for an unknown map or channel, fewer images than ``count``,
    and a ``size`` larger than the images.
    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 4.

    >>> import jaxvision as jv  # slow
    >>> import jax, numpy as np
    >>> model, images = jv.create_model("lenet5", num_classes=0), np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    >>> variables = model.init(jax.random.key(0), images, method="features")
    >>> patches, activations = jv.evaluate.top_patches(model, variables, images, "stride2", (0, 1), size=16, count=3)
    >>> patches.shape, activations.shape
    ((2, 3, 16, 16, 1), (2, 3))
    """
    images = np.asarray(images)
    if images.ndim != 4 or not 0 < count <= len(images):
        raise ValueError(f"images: found shape {images.shape}, expected [N, H, W, C] with N of {count} (count) or more")
    if not 0 < size <= min(images.shape[1:3]):
        raise ValueError(f"size: found {size}, expected 1 to {min(images.shape[1:3])}, the side of the images")

    @jax.jit
    def strongest(variables: dict, image: Array) -> tuple[Array, Array]:
        found = _map(model, variables, to_float(image), map_name)
        flat = found.reshape(len(found), -1, found.shape[-1])  # [B, h w, C]
        return jnp.max(flat, axis=1), jnp.argmax(flat, axis=1)

    grid = jax.eval_shape(lambda image: _map(model, variables, to_float(image), map_name), images[:1]).shape[1:]
    if wrong := [channel for channel in channels if not 0 <= channel < grid[2]]:
        raise ValueError(f"channels: found {wrong}, expected numbers from 0 to {grid[2] - 1} of {map_name!r}")
    values, positions = [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.concatenate([batch, np.repeat(batch[:1], min(batch_size, len(images)) - len(batch), axis=0)])
        for kept, found in zip((values, positions), strongest(variables, padded), strict=True):
            kept.append(np.asarray(found)[: len(batch)])
    values, positions = np.concatenate(values)[:, list(channels)], np.concatenate(positions)[:, list(channels)]  # [N, channels]
    order = np.argsort(-values, axis=0, kind="stable")[:count]  # [count, channels]
    patches = [
        [_cut(images[index], divmod(int(positions[index, column]), grid[1]), grid[:2], size) for index in order[:, column]]
        for column in range(len(channels))
    ]
    return np.stack(patches), np.take_along_axis(values, order, axis=0).T


def _rectified(x: Array, *, gated: bool) -> Array:
    """ReLU whose backward pass rectifies the gradient; ``gated``: it also zeroes it where the input was negative, as usual."""

    @jax.custom_vjp
    def relu(x: Array) -> Array:
        return jnp.maximum(x, 0)

    def backward(x: Array, signal: Array) -> tuple[Array]:
        signal = jnp.maximum(signal, 0)
        return (jnp.where(x > 0, signal, 0) if gated else signal,)

    relu.defvjp(lambda x: (relu(x), x), backward)
    return relu(x)


def _is_relu(program: core.ClosedJaxpr) -> bool:
    """Whether a function with a custom derivative is ``jax.nn.relu``."""
    return [equation.params.get("name") for equation in program.jaxpr.eqns] == ["relu"]


def _run(jaxpr, constants: Sequence, inputs: Sequence, relu: Callable, replaced: list) -> list:
    """Evaluate a jaxpr with another ReLU. Every replaced equation is appended to ``replaced``."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))
    read = lambda atom: atom.val if isinstance(atom, core.Literal) else values[atom]  # noqa: E731
    for equation in jaxpr.eqns:
        given, params = [read(atom) for atom in equation.invars], equation.params
        kind = equation.primitive.name
        if kind == "custom_jvp_call" and _is_relu(params["call_jaxpr"]):
            replaced.append(equation)
            results = [relu(*given)]
        elif kind in _CALL_PRIMITIVES and "jaxpr" in params:
            inner = params["jaxpr"]
            inner, constants_inside = (inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())
            results = _run(inner, constants_inside, given, relu, replaced)
        else:
            results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(params))
            results = results if equation.primitive.multiple_results else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def feature_gradient(
    model: nn.Module, variables: Mapping, image: Array, map_name: str, channel: int, *, backward: str = "gradient"
) -> Array:
    """The gradient [H, W, C] of the largest activation of a channel with respect to the pixels of an ``image`` [H, W, C].

    ``backward`` selects the backward pass of ReLU: "gradient" zeroes the gradient where the input was negative; "deconvnet" where the
    gradient is negative; "guided" in both cases. Max pooling passes the gradient to the position of the maximum (the "switches" of Zeiler &
    Fergus). Raises ValueError for another ``backward``, for an unknown map or channel, and for the last two in a network without ReLU.
    Sources: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014; Springenberg et al., "Striving for
    Simplicity", 2015.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> model, image = jv.create_model("lenet5", num_classes=0), jnp.ones((32, 32, 1))
    >>> variables = model.init(jax.random.key(0), image[None], method="features")
    >>> jv.evaluate.feature_gradient(model, variables, image, "stride2", 0).shape
    (32, 32, 1)
    """
    relus = {"gradient": None, "deconvnet": partial(_rectified, gated=False), "guided": partial(_rectified, gated=True)}
    if backward not in relus:
        raise ValueError(f"backward: found {backward!r}, expected {' or '.join(map(repr, relus))}")
    if np.ndim(image) != 3:
        raise ValueError(f"image: found shape {np.shape(image)}, expected one image [H, W, C]")
    image = to_float(jnp.asarray(image))
    shape = jax.eval_shape(lambda image: _map(model, variables, image[None], map_name), image).shape
    if not 0 <= channel < shape[-1]:
        raise ValueError(f"channel: found {channel}, expected a number from 0 to {shape[-1] - 1} of {map_name!r}")

    def activation(image):
        values = _map(model, variables, image[None], map_name)[..., channel].ravel()
        # Not jnp.max: its gradient divides by the number of equal maxima, which is 0 if XLA computes the map twice and rounds differently.
        return values[jnp.argmax(values)]

    relu = relus[backward]
    if relu is None:
        return jax.jit(jax.grad(activation))(image)
    program, replaced = jax.make_jaxpr(activation)(image), []
    gradient = jax.jit(jax.grad(lambda image: _run(program.jaxpr, program.consts, (image,), relu, replaced)[0]))(image)
    if not replaced:
        kind = type(model).__name__
        raise ValueError(f"backward: {backward!r} replaces the backward pass of ReLU, and this {kind} has no ReLU; expected 'gradient'")
    return gradient
