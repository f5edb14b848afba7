"""Files of weights: ``read``, ``write`` and ``load``. What a file is, its content says; what to write, its name."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.weights import plain_files, releases, torch_files
from jaxvision.weights.errors import BrokenFile
from jaxvision.weights.torch_names import from_torch
from jaxvision.weights.zips import Archive

_WRITERS = {
    ".safetensors": plain_files.write_safetensors,
    ".npz": plain_files.write_npz,
    ".pth": torch_files.written,
    ".pt": torch_files.written,
}
_PICKLES = (b"\x80", b"(", b"}", b"]", b"c")  # how they begin, from protocol 2 on and before
_HUB, _HUB_FILES = "hf:", ("model.safetensors", "pytorch_model.bin")
_ARRAYS = (torch_files.Tensor, torch_files.NumpyArray, np.ndarray)


def _content(data: bytes) -> Any:
    """What the bytes hold, by how they begin."""
    if data[:2] == b"PK":
        archive = Archive(data)
        numpy = any(name.endswith(".npy") for name in archive.members)
        return plain_files.read_npz(archive) if numpy else torch_files.read_zip(archive)
    pickled = data[:1] in _PICKLES
    # The first 8 bytes of safetensors are the length of what follows: of a pickle they are far more than any file has.
    if data[8:9] == b"{" and (not pickled or int.from_bytes(data[:8], "little") < len(data)):
        return plain_files.read_safetensors(data)
    if pickled:
        return torch_files.read_legacy(data)
    begin = f"begins with {data[:8]!r}" if data else "is empty"
    raise BrokenFile(f"the file {begin}; expected a PyTorch checkpoint, safetensors or npz")


def _arrays(found: Any) -> dict:
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, _ARRAYS)}


def _selected(found: Any, key: str | None) -> dict:
    """The dictionary of tensors in a checkpoint: itself, or the only one in it, or the teacher, or the one that is asked for."""
    inner = {name: _arrays(value) for name, value in found.items() if _arrays(value)} if isinstance(found, dict) else {}
    if key is not None:
        if key not in inner:
            raise ValueError(f"key: found {key!r}, expected {' or '.join(map(repr, inner)) or 'None: nothing is nested in this file'}")
        return inner[key]
    if direct := _arrays(found):
        return direct
    if {"student", "teacher"} <= set(inner):  # self-distillation; the teacher is the better encoder
        return inner["teacher"]
    if len(inner) != 1:
        names = [str(name)[:80] for name in inner]
        told = f"several dictionaries of tensors: choose by key={' or '.join(map(repr, names))}" if inner else "no dictionary of tensors"
        raise (ValueError if inner else BrokenFile)(f"the file holds {told}")
    return next(iter(inner.values()))


def _fetched(address: str) -> str:
    """The file that "hf:owner/name" (its usual one) or "hf:owner/name/file" names on the Hugging Face hub, as a path."""
    owner, _, rest = address.removeprefix(_HUB).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise ValueError(f"path: found {address!r}, expected 'hf:owner/name' or 'hf:owner/name/file'")
    try:
        import huggingface_hub
    except ImportError:
        told = "install huggingface_hub (pip install 'jaxvision[hub]'), or download the file and give its path"
        raise ModuleNotFoundError(f"{address}: {told}") from None
    reasons = []
    for file_name in [file] if file else _HUB_FILES:
        try:
            return huggingface_hub.hf_hub_download(f"{owner}/{name}", file_name)
        except Exception as error:  # of requests, httpx or the hub, by its version
            lines = str(error).strip().splitlines()
            reasons.append(f"{file_name}: {lines[0][:200] if lines else type(error).__name__}")
    raise OSError(f"{address}: not found, or no network to the hub ({'; '.join(reasons)})")


def read(path: str | PathLike, *, key: str | None = None) -> dict[str, np.ndarray]:
    """Tensors by name from .pth or .pt (zip archive or the older pickle), .safetensors or .npz; nothing in the file is run.

    ``path`` may be "hf:owner/name" or "hf:owner/name/file" where huggingface_hub is installed and the network allows.

    A checkpoint that nests its only state dict ("state_dict", "model", ...) is opened; of several, ``key`` names one ("student"; beside
    a student, the teacher is taken where none is named). TensorFlow's checkpoints are refused.
    Arrays are read-only and take no more memory than the file (compressed npz: 64 times). Raises BrokenFile for a damaged file, and with
    its name for anything in a pickle that is not on the list of what weights need; ValueError where ``key`` is missing or wrong; OSError
    for a file that is not there.
    """
    path = Path(_fetched(str(path)) if str(path).startswith(_HUB) else path)
    if releases.is_tensorflow(path):
        raise BrokenFile(releases.tensorflow_refusal(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        told = f"cannot be read ({error.strerror or error}), expected a PyTorch checkpoint, safetensors or npz"
        raise type(error)(f"path: {path} {told}") from None
    try:
        found = _selected(_content(data), key)
        return {name: value if isinstance(value, np.ndarray) else value.array(name) for name, value in found.items()}
    except BrokenFile as error:
        raise BrokenFile(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_suffix(path: Path) -> None:
    """Raises ValueError for a name whose end is no format to write."""
    if path.suffix not in _WRITERS:
        raise ValueError(f"path: found {path.name!r}, expected a name that ends in {', '.join(_WRITERS)}")


def write(path: str | PathLike, tensors: dict[str, np.ndarray]) -> Path:
    """Write ``tensors`` as .safetensors, .npz, .pth or .pt, whole or not at all; ``torch.load(weights_only=True)`` reads the last two."""
    path = Path(path)
    check_suffix(path)
    content = _WRITERS[path.suffix]({name: np.asarray(tensor) for name, tensor in tensors.items()})
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    return draft.replace(path)


def load(model: Any, path: str | PathLike, *, key: str | None = None, **options) -> dict:
    """Variables of ``model`` from a file or "hf:owner/name": ``read`` and ``from_torch``, whose options it takes."""
    return from_torch(model, read(path, key=key), **options)
