"""Public releases of self-supervised methods: detect the release, and rename its encoder's weights to a library's names.

Names and shapes are those of facebookresearch/dino, dinov2, mae and ConvNeXt-V2, lightly-ai/lightly and vturrisi/solo-learn. Heads,
decoders and projectors are not part of the encoder; ``method_from_torch`` reads them.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.typing import Array

_GOOGLE = "base_model/"  # prefix of the names in Google's TensorFlow release of SimCLR
_TENSORFLOW = (
    "TensorFlow's checkpoints (Google's SimCLR) are not supported; expected PyTorch's, safetensors or npz, such as SimCLR by lightly or "
    "solo-learn"
)
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
_COUNTED = re.compile(r"\d+\.\d+\.conv1\.")  # stage and block by number: lightly's names of residual networks
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..*)")  # with the number of a chunk: DINOv2's training checkpoints


class Release(NamedTuple):
    """One release: ``known(names)`` detects it, ``encoder(model, tensors)`` renames the encoder's tensors to a library's names.

    ``plain``: names in files of the release that use a library's own names; such a file is accepted if the release is named.
    """

    known: Callable[[list[str]], bool]
    encoder: Callable[[Any, dict], dict]
    plain: tuple[str, ...] = ()


def refuse_tensorflow(names: list[str]) -> None:
    """Raise ValueError for the names of a TensorFlow checkpoint."""
    if any(name.startswith(_GOOGLE) for name in names):
        raise ValueError(f"tensors: {_TENSORFLOW}")


def is_tensorflow(path: Path) -> bool:
    """Whether ``path`` is a file of a TensorFlow checkpoint, the common prefix of its files, or a folder with one."""
    if path.is_dir():
        return any(_SHARD.search(part.name) or part.name == "saved_model.pb" for part in path.iterdir())
    if path.exists():
        return path.suffix in (".index", ".meta", ".pb") or bool(_SHARD.search(path.name))
    return path.with_name(f"{path.name}.index").exists()


def tensorflow_refusal(path: Path) -> str:
    """The error message for such a path."""
    return f"path: {path}: {_TENSORFLOW}"


def part(tensors: dict, *prefixes: str) -> dict:
    """The tensors with the first of ``prefixes`` that any name has, which is removed; {} if no name has one."""
    for prefix in prefixes:
        if found := {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}:
            return found
    return {}


def _begins(names: list[str], *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _dino(model: Any, tensors: dict) -> dict:
    return part(tensors, "module.backbone.", "backbone.") or tensors


def _dinov2(model: Any, tensors: dict) -> dict:
    """With registers, the file has a position for the class token and our table has none: the two are summed."""
    tensors = part(tensors, "backbone.") or tensors
    found = {_CHUNKED.sub(r"blocks.\1", name): tensor for name, tensor in tensors.items() if name != "mask_token"}
    found = {name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."): tensor for name, tensor in found.items()}
    if "register_tokens" in found:
        found["reg_token"] = found.pop("register_tokens")
        position = found["pos_embed"]
        found["cls_token"] = np.asarray(found["cls_token"], np.float32) + np.asarray(position[:, :1], np.float32)
        found["pos_embed"] = position[:, 1:]
    return found


def _mae(model: Any, tensors: dict) -> dict:
    """With mean pooling, timm calls the norm ``fc_norm``."""
    found = {name: tensor for name, tensor in tensors.items() if name != "mask_token" and not name.startswith("decoder_")}
    if getattr(model, "pool", "token") == "mean":
        found = {re.sub(r"^norm\.", "fc_norm.", name): tensor for name, tensor in found.items()}
    return found


def dense(name: str, tensor: Array) -> tuple[str, Array]:
    """Name and shape, in the dense network, of a tensor of the sparse network.

    A kernel is [positions, in, out] or, depthwise, [positions, C]; the positions are in column order.
    """
    name = re.sub(r"\.(ln|linear)\.", ".", name)
    if name.endswith(".kernel"):
        side = math.isqrt(len(tensor))
        tensor = tensor[:, None] if tensor.ndim == 2 else tensor  # [positions, in, out]
        tensor = tensor.reshape(side, side, *tensor.shape[1:]).transpose(3, 2, 1, 0)  # [out, in, rows, columns]
        return f"{name.removesuffix('kernel')}weight", tensor
    if ".grn." in name:
        return name, tensor.reshape(1, 1, 1, -1)
    return name, tensor.reshape(-1) if name.endswith(".bias") else tensor


def _fcmae(model: Any, tensors: dict) -> dict:
    """Files of the pre-training have no last norm: it is the identity, as at the beginning of fine-tuning."""
    tensors = part(tensors, "encoder.") or tensors
    found = dict(dense(name, tensor) for name, tensor in tensors.items() if name.startswith(("downsample_layers.", "stages.")))
    width = getattr(model, "widths", (0,))[-1]
    return found | {"norm.weight": np.ones(width, np.float32), "norm.bias": np.zeros(width, np.float32)}


def _sequential(tensors: dict) -> dict:
    """A residual network with numbered layers (convolution, norm, four stages) under torchvision's names."""
    stages = sorted({int(name.split(".")[0]) for name in tensors if _COUNTED.match(name)})
    layers = {"0": "conv1", "1": "bn1"} | {str(place): f"layer{index}" for index, place in enumerate(stages, 1)}
    found = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        found[f"{layers.get(first, first)}.{rest.replace('shortcut.', 'downsample.')}"] = tensor
    return found


def _lightly(model: Any, tensors: dict) -> dict:
    found = part(tensors, "backbone.") or tensors
    return _sequential(found) if "0.weight" in found else found


def _solo(model: Any, tensors: dict) -> dict:
    """solo-learn pads the small stem by two pixels."""
    found = part(tensors, "backbone.", "encoder.")
    small = np.shape(found.get("conv1.weight", ()))[2:] == (3, 3)
    if small and getattr(model, "stem_kind", "padded") != "padded":
        raise ValueError("tensors: solo-learn pads the 3 x 3 stem by 2 pixels; pass stem='padded' to create_model")
    return found


RELEASES = {  # the first whose ``known`` is true is used
    "dinov2": Release(
        lambda names: (
            ("cls_token" in names and (_begins(names, "register_tokens") or any(map(_CHUNKED.match, names))))
            or ("mask_token" in names and any(".ls1." in name for name in names))
            or ("backbone.cls_token" in names and _begins(names, "dino_head.", "ibot_head."))
        ),
        _dinov2,
    ),
    "dino": Release(
        lambda names: _begins(names, "module.backbone.") or _begins(names, "backbone.") and _begins(names, "head.last_layer.", "head.mlp."),
        _dino,
        ("cls_token", "conv1.weight"),
    ),
    "mae": Release(lambda names: _begins(names, "decoder_embed."), _mae, ("cls_token",)),
    "fcmae": Release(
        lambda names: _begins(names, "encoder.downsample_layers.") or _begins(names, "downsample_layers.") and "norm.weight" not in names,
        _fcmae,
    ),
    "lightly": Release(
        lambda names: (
            "backbone.0.weight" in names or _begins(names, "projection_head.") or "0.weight" in names and any(map(_COUNTED.match, names))
        ),
        _lightly,
    ),
    "solo-learn": Release(
        lambda names: _begins(names, "backbone.conv1.", "encoder.conv1.") and _begins(names, "projector.", "classifier."), _solo
    ),
}


def release_of(names: list[str]) -> str | None:
    """The release with these names, a key of ``RELEASES``, or None for a plain network of a library."""
    return next((name for name, release in RELEASES.items() if release.known(names)), None)


def encoder_of(model: Any, tensors: dict, layout: str | None) -> tuple[dict, str | None]:
    """(tensors, layout) with the encoder of a release under a library's names; other tensors are returned unchanged.

    Raises ValueError for TensorFlow's names, and if ``layout`` names a release that does not fit the names.
    """
    refuse_tensorflow(list(tensors))
    if layout is not None and layout not in RELEASES:
        return tensors, layout
    found = release_of(list(tensors))
    if found is None and layout is not None and any(name in tensors for name in RELEASES[layout].plain):
        found = layout
    if layout is not None and found != layout:
        raise ValueError(f"layout: found {layout!r}, but the names are {f'those of {found!r}' if found else 'of no known release'}")
    return (RELEASES[found].encoder(model, tensors) if found else tensors), None
