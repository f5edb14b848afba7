"""Decoders, heads and projectors in the public releases of self-supervised methods, as the parameters of our objectives.

A row of a table is (our module or parameter, the name in the file, the leaves of a module). ``{i}`` counts blocks from 1, ``{i-1}`` from 0.
Every name in the file must be used; others raise an error.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.layers import blocked_grid_position
from jaxvision.typing import Array
from jaxvision.weights.releases import part, release_of
from jaxvision.weights.torch_names import behind, from_torch
from jaxvision.weights.transforms import default

_DENSE, _UNBIASED, _NORM = {"kernel": ".weight", "bias": ".bias"}, {"kernel": ".weight"}, {"scale": ".weight", "bias": ".bias"}
_LISTED_NAMES = 6


class Parts(NamedTuple):
    """The module that follows the encoder in one release: its name in the objective, its rows, its tensors, and a check of their values."""

    module: str
    rows: tuple
    own: Callable[[dict], dict]  # selects the tensors of the module
    check: Callable[[dict], dict] = lambda tensors: tensors  # returns the tensors without those that are only checked


def _mae_positions(tensors: dict) -> dict:
    """Our decoder computes its positions; those in the file must be the same sines and cosines."""
    if "decoder_pos_embed" not in tensors:
        return tensors
    table = np.asarray(tensors["decoder_pos_embed"], np.float32)
    side = math.isqrt(max(table.shape[1] - 1, 0)) if table.ndim == 3 else 0
    if not side or 1 + side**2 != table.shape[1] or table.shape[2] % 4:
        raise ValueError(f"decoder_pos_embed: found shape {table.shape}, expected [1, 1 + a square number, a multiple of 4]")
    fixed = np.pad(np.asarray(blocked_grid_position(side, side, table.shape[2])), ((1, 0), (0, 0)))
    if np.abs(table[0] - fixed).max() > 1e-4:
        raise ValueError("decoder_pos_embed: found learned positions, but mae's decoder has fixed sines and cosines")
    return {name: tensor for name, tensor in tensors.items() if name != "decoder_pos_embed"}


def _dino_gains(tensors: dict) -> dict:
    """Weight normalization stores directions and gains separately; our prototypes have a gain of 1."""
    named = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    found = dict(tensors)
    for theirs, ours in named.items():
        found = {name.replace(theirs, ours): tensor for name, tensor in found.items()}
    gains = np.asarray(found.pop("last_layer.weight_g", 1.0), np.float32)
    if np.abs(gains - 1).max() > 1e-6:
        raise ValueError("last_layer.weight_g: found gains other than 1, but dino's prototypes have unit length")
    return found


def _without_statistics(tensors: dict) -> dict:
    """Without BatchNorm's running statistics: the heads of an objective use those of the batch."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(statistics)}


def _simclr_norms(tensors: dict) -> dict:
    if "layers.0.bias" in tensors:
        raise ValueError("projection_head: found a bias in its first layer and no norm after it, but simclr's projector has norms")
    return _without_statistics(tensors)


def _dino_head(tensors: dict) -> dict:
    return part(tensors, "module.head.", "head.")


_BLOCK = "decoder_blocks.{i-1}"
_TABLES = {
    "mae": Parts(
        "decoder",
        (
            ("embed", "decoder_embed", _DENSE),
            ("mask_token", "mask_token", None),
            ("block{i}/norm1", f"{_BLOCK}.norm1", _NORM),
            ("block{i}/attention/qkv", f"{_BLOCK}.attn.qkv", _DENSE),
            ("block{i}/attention/project", f"{_BLOCK}.attn.proj", _DENSE),
            ("block{i}/norm2", f"{_BLOCK}.norm2", _NORM),
            ("block{i}/mlp/expand", f"{_BLOCK}.mlp.fc1", _DENSE),
            ("block{i}/mlp/contract", f"{_BLOCK}.mlp.fc2", _DENSE),
            ("norm", "decoder_norm", _NORM),
            ("predict", "decoder_pred", _DENSE),
        ),
        lambda tensors: {name: tensor for name, tensor in tensors.items() if name.startswith("decoder_") or name == "mask_token"},
        _mae_positions,
    ),
    "fcmae": Parts(
        "decoder",
        (
            ("project", "proj", _DENSE),
            ("mask_token", "mask_token", None),
            ("block{i}/depthwise", "decoder.{i-1}.dwconv", _DENSE),
            ("block{i}/norm", "decoder.{i-1}.norm", _NORM),
            ("block{i}/expand", "decoder.{i-1}.pwconv1", _DENSE),
            ("block{i}/response/scale", "decoder.{i-1}.grn.gamma", None),
            ("block{i}/response/bias", "decoder.{i-1}.grn.beta", None),
            ("block{i}/contract", "decoder.{i-1}.pwconv2", _DENSE),
            ("predict", "pred", _DENSE),
        ),
        lambda tensors: {name: tensor for name, tensor in tensors.items() if re.match(r"(decoder|proj|pred)\.|mask_token$", name)},
    ),
    "dino": Parts(
        "head",
        (
            ("dense1", "mlp.0", _DENSE),
            ("dense2", "mlp.2", _DENSE),
            ("dense3", "mlp.4", _DENSE),
            ("prototypes", "last_layer.weight_v", None),
        ),
        _dino_head,
        _dino_gains,
    ),
    "dino with norms": Parts(  # use_bn_in_head
        "head",
        (
            ("dense1", "mlp.0", _DENSE),
            ("norm1", "mlp.1", _NORM),
            ("dense2", "mlp.3", _DENSE),
            ("norm2", "mlp.4", _NORM),
            ("dense3", "mlp.6", _DENSE),
            ("prototypes", "last_layer.weight_v", None),
        ),
        _dino_head,
        lambda tensors: _dino_gains(_without_statistics(tensors)),
    ),
    "lightly": Parts(
        "projector",
        (
            ("dense1", "layers.0", _UNBIASED),
            ("norm1", "layers.1", _NORM),
            ("dense2", "layers.3", _UNBIASED),
            ("norm2", "layers.4", _NORM),
        ),
        lambda tensors: part(tensors, "projection_head."),
        _simclr_norms,
    ),
}
_UNSUPPORTED = {  # release: why its module cannot be read
    "dinov2": "found DINOv2's heads, whose sizes differ from dino's",
    "solo-learn": "found solo-learn's projector, which has no norms; simclr's has",
    None: "found no decoder, head or projector in the layout of mae, fcmae, dino or lightly. Reconstruction needs the decoder, which MAE's "
    "mae_pretrain files do not have and its mae_visualize files have",
}


def _filled(rows: tuple, depth: int) -> dict[tuple[str, ...], str]:
    """{our path: the name in the file} of every leaf."""
    found = {}
    for ours, theirs, leaves in rows:
        for block in range(1, depth + 1) if "{i}" in ours else (0,):
            path, name = ours.replace("{i}", str(block)), theirs.replace("{i-1}", str(block - 1))
            ends = {(): ""} if leaves is None else {(leaf,): end for leaf, end in leaves.items()}
            found |= {(*path.split("/"), *leaf): name + end for leaf, end in ends.items()}
    return found


def _ours(leaf: str, tensor: Array) -> Array:
    """A tensor as our parameter: kernels are transposed; biases, scales and mask tokens lose their extra axes."""
    tensor = np.asarray(tensor, np.float32)
    if leaf == "mask_token":
        return tensor.reshape(1, -1)
    return default(leaf, tensor.ndim).read(tensor, tensor.shape) if leaf in ("kernel", "prototypes") else tensor.reshape(-1)


def _tree(release: str, tensors: dict) -> dict:
    """The parameters of the module that follows the encoder. Raises ValueError that lists the missing and unexpected names."""
    parts = _TABLES[release]
    tensors = parts.check(parts.own(tensors))
    blocks = [int(found[1]) + 1 for name in tensors if (found := re.match(r"(?:decoder_blocks|decoder)\.(\d+)\.", name))]
    names = _filled(parts.rows, max(blocks, default=0))
    missing, unexpected = sorted(set(names.values()) - set(tensors)), sorted(set(tensors) - set(names.values()))
    if missing or unexpected:
        listed = {"missing": missing, "unexpected": unexpected}
        text = "; ".join(f"{what} ({len(some)}): {', '.join(some[:_LISTED_NAMES])}" for what, some in listed.items() if some)
        raise ValueError(f"tensors: they do not fit the {parts.module} of {release}: {text}")
    tree: dict = {}
    for path, name in names.items():
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = jnp.array(np.ascontiguousarray(_ours(path[-1], tensors[name])))
    return tree


def method_from_torch(encoder: nn.Module, tensors: dict[str, np.ndarray], *, prefix: str = "", **options: Any) -> dict[str, dict]:
    """Parameters of an objective by module name, from a release that holds an encoder and its decoder, head or projector.

    MAE and FCMAE: {"encoder", "decoder"}; DINO: {"encoder", "head"}; SimCLR by lightly: {"encoder", "projector"}. ``Experiment(given=...)``
    and ``mae_reconstruction`` take them. An encoder with BatchNorm is {"params": ..., "batch_stats": ...}; the statistics of a projector
    are omitted. ``options`` go to ``from_torch``. Raises ValueError as ``from_torch`` does, and for a file without such a module or with
    one that our objective cannot compute.

    >>> import jax, numpy, jaxvision as jv  # slow
    >>> encoder = jv.create_model("resnet18", num_classes=0, stem="cifar").clone(depths=(1, 1, 1, 1))
    >>> tensors = jv.weights.to_torch(encoder, encoder.init(jax.random.key(0), jax.numpy.ones((1, 8, 8, 3))), layout="torchvision")
    >>> dense = {f"projection_head.layers.{i}.weight": numpy.ones((512, 512)) for i in (0, 3)}
    >>> norms = {f"projection_head.layers.{i}.{leaf}": numpy.ones(512) for i in (1, 4) for leaf in ("weight", "bias")}
    >>> sorted(jv.weights.method_from_torch(encoder, {f"backbone.{name}": array for name, array in tensors.items()} | dense | norms))
    ['encoder', 'projector']
    """
    tensors = behind(prefix, tensors)
    release = release_of(list(tensors))
    if release == "fcmae" and not any(name.startswith("decoder.") for name in tensors):
        release = None
    if release == "dino" and "mlp.6.weight" in _dino_head(tensors):
        release = "dino with norms"
    if release not in _TABLES:
        raise ValueError(f"tensors: {_UNSUPPORTED[release]}; from_torch reads the encoder")
    variables = from_torch(encoder, tensors, **options)
    return {"encoder": variables if "batch_stats" in variables else variables["params"], _TABLES[release].module: _tree(release, tensors)}
