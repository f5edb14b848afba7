"""What a channel looks for: the patches that excite it most, and gradients of it with respect to pixels (Zeiler & Fergus, 2014)."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxvision.typing import Array, to_float

_RUNS = ("jit", "pjit", "closed_call", "remat", "checkpoint")  # equations that run one program, and nothing more


def _map(model, variables: dict, image: Array, name: str) -> Array:
    """The map ``name`` [B, h, w, C] of images [B, H, W, C]; "tokens" are a transformer's patches on their grid."""
    features = model.apply(variables, image, method="features")
    if name == "tokens" and features.tokens is not None:
        rows, columns = (side // model.patch_size for side in image.shape[1:3])
        return features.tokens.reshape(len(image), rows, columns, -1)
    if name not in features.maps:
        known = [*features.maps, *(["tokens"] if features.tokens is not None else [])]
        raise ValueError(f"map_name: found {name!r}, expected {' or '.join(map(repr, known)) or 'nothing: this model has no maps'}")
    return features.maps[name]


def _cut(image: np.ndarray, place: tuple[int, int], grid: tuple[int, int], size: int) -> np.ndarray:
    """The window [size, size, C] around a place of a grid, moved into the image where it would leave it."""
    starts = []
    for index, count, side in zip(place, grid, image.shape[:2], strict=True):
        center = (index + 0.5) * side / count
        starts.append(int(np.clip(round(center - size / 2), 0, side - size)))
    return image[starts[0] : starts[0] + size, starts[1] : starts[1] + size]


def top_patches(
    model, variables: dict, images: np.ndarray, map_name: str, channels: Sequence[int], *, size: int, count: int = 9, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """(patches [channels, count, size, size, C], activations [channels, count]) that excite each channel most, the strongest first.

    ``images`` [N, H, W, C], uint8 or float as the model reads them; each gives at most one patch, around the place where the channel of
    the map (``features(...).maps``, or "tokens") is largest. ``size``: pixels of a side, most fitting the receptive field that
    ``jv.report`` prints. Raises ValueError for a map that the model does not have, a channel that the map does not have, fewer images than
    ``count``, or a ``size`` larger than the images.
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
    values, places = [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.concatenate([batch, np.repeat(batch[:1], min(batch_size, len(images)) - len(batch), axis=0)])
        for kept, found in zip((values, places), strongest(variables, padded), strict=True):
            kept.append(np.asarray(found)[: len(batch)])
    values, places = np.concatenate(values)[:, list(channels)], np.concatenate(places)[:, list(channels)]  # [N, channels]
    order = np.argsort(-values, axis=0, kind="stable")[:count]  # [count, channels]
    patches = [
        [_cut(images[index], divmod(int(places[index, column]), grid[1]), grid[:2], size) for index in order[:, column]]
        for column in range(len(channels))
    ]
    return np.stack(patches), np.take_along_axis(values, order, axis=0).T


def _rectified(x: Array, *, gated: bool) -> Array:
    """ReLU whose backward signal is rectified; ``gated``: it also stops where the forward signal did, as a gradient does."""

    @jax.custom_vjp
    def relu(x: Array) -> Array:
        return jnp.maximum(x, 0)

    def back(x: Array, signal: Array) -> tuple[Array]:
        signal = jnp.maximum(signal, 0)
        return (jnp.where(x > 0, signal, 0) if gated else signal,)

    relu.defvjp(lambda x: (relu(x), x), back)
    return relu(x)


def _is_relu(program: core.ClosedJaxpr) -> bool:
    """Whether a function with a derivative of its own is ``jax.nn.relu``."""
    return [equation.params.get("name") for equation in program.jaxpr.eqns] == ["relu"]


def _run(jaxpr, constants: Sequence, inputs: Sequence, relu: Callable, replaced: list) -> list:
    """Compute a program with another ReLU; each one found is noted in ``replaced``."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))
    read = lambda atom: atom.val if isinstance(atom, core.Literal) else values[atom]  # noqa: E731
    for equation in jaxpr.eqns:
        given, params = [read(atom) for atom in equation.invars], equation.params
        kind = equation.primitive.name
        if kind == "custom_jvp_call" and _is_relu(params["call_jaxpr"]):
            replaced.append(equation)
            results = [relu(*given)]
        elif kind in _RUNS and "jaxpr" in params:
            inner = params["jaxpr"]
            inner, constants_inside = (inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())
            results = _run(inner, constants_inside, given, relu, replaced)
        else:
            results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(params))
            results = results if equation.primitive.multiple_results else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def feature_gradient(model, variables: dict, image: Array, map_name: str, channel: int, *, backward: str = "gradient") -> Array:
    """The gradient [H, W, C] of a channel's strongest activation with respect to the pixels of an ``image`` [H, W, C].

    ``backward`` says what ReLU does to the signal on its way back: "gradient" stops it where the activation was zero; "deconvnet" where
    the signal is negative (Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014; max pooling sends it to the
    places that were largest, the paper's switches); "guided" does both (Springenberg et al., "Striving for Simplicity", 2015).
    Raises ValueError for another way back, a map or channel that the model does not have, and for the last two in a network without ReLU.
    """
    ways = {"gradient": None, "deconvnet": partial(_rectified, gated=False), "guided": partial(_rectified, gated=True)}
    if backward not in ways:
        raise ValueError(f"backward: found {backward!r}, expected {' or '.join(map(repr, ways))}")
    if np.ndim(image) != 3:
        raise ValueError(f"image: found shape {np.shape(image)}, expected one image [H, W, C]")
    image = to_float(jnp.asarray(image))
    shape = jax.eval_shape(lambda image: _map(model, variables, image[None], map_name), image).shape
    if not 0 <= channel < shape[-1]:
        raise ValueError(f"channel: found {channel}, expected a number from 0 to {shape[-1] - 1} of {map_name!r}")

    def activation(image):
        places = _map(model, variables, image[None], map_name)[..., channel].ravel()
        return places[jnp.argmax(places)]  # jnp.max divides by how many equal it: none, if XLA computes them twice and rounds anew

    relu = ways[backward]
    if relu is None:
        return jax.jit(jax.grad(activation))(image)
    program, replaced = jax.make_jaxpr(activation)(image), []
    gradient = jax.jit(jax.grad(lambda image: _run(program.jaxpr, program.consts, (image,), relu, replaced)[0]))(image)
    if not replaced:
        kind = type(model).__name__
        raise ValueError(f"backward: {backward!r} changes what ReLU sends back, and this {kind} has none; expected 'gradient'")
    return gradient
