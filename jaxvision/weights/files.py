"""Files of weights: ``read``, ``write`` and ``load``. The content decides the format to read, the suffix the format to write."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from jaxvision.weights import plain_files, releases, torch_files
from jaxvision.weights.errors import BrokenFile
from jaxvision.weights.torch_names import from_torch
from jaxvision.weights.zips import Archive

_WRITERS = {
    ".safetensors": plain_files.write_safetensors,
    ".npz": plain_files.write_npz,
    ".pth": torch_files.write_zip,
    ".pt": torch_files.write_zip,
}
_PICKLES = (b"\x80", b"(", b"}", b"]", b"c")  # first bytes of a pickle: of protocol 2 and later, and of older ones
_HUB, _HUB_FILES = "hf:", ("model.safetensors", "pytorch_model.bin")
_ARRAYS = (torch_files.Tensor, torch_files.NumpyArray, np.ndarray)


def _content(data: bytes) -> Any:
    """The content of a file, whose first bytes tell the format."""
    if data[:2] == b"PK":
        archive = Archive(data)
        numpy = any(name.endswith(".npy") for name in archive.members)
        return plain_files.read_npz(archive) if numpy else torch_files.read_zip(archive)
    pickled = data[:1] in _PICKLES
    # The first 8 bytes of safetensors are the length of its header; those of a pickle, read so, exceed the size of any file.
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
    """The dictionary of tensors in a checkpoint: the one under ``key``, else the checkpoint itself, the teacher's, or the only one."""
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
        if not inner:
            raise BrokenFile("the file holds no dictionary of tensors")
        raise ValueError(f"key: found None, but the file holds several dictionaries of tensors, expected {' or '.join(map(repr, names))}")
    return next(iter(inner.values()))


def _download(address: str) -> str:
    """Download "hf:owner/name" (its usual file) or "hf:owner/name/file" from the Hugging Face hub; the path of the file."""
    owner, _, rest = address.removeprefix(_HUB).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise ValueError(f"path: found {address!r}, expected 'hf:owner/name' or 'hf:owner/name/file'")
    try:
        import huggingface_hub
    except ImportError:
        hint = "install huggingface_hub (pip install huggingface_hub), or download the file and pass its path"
        raise ModuleNotFoundError(f"{address}: {hint}") from None
    reasons = []
    for file_name in [file] if file else _HUB_FILES:
        try:
            return huggingface_hub.hf_hub_download(f"{owner}/{name}", file_name)
        except Exception as error:  # the type depends on the version of the hub's client
            lines = str(error).strip().splitlines()
            reasons.append(f"{file_name}: {lines[0][:200] if lines else type(error).__name__}")
    raise OSError(f"{address}: not found, or no network to the hub ({'; '.join(reasons)})")


def read(path: str | PathLike, *, key: str | None = None) -> dict[str, np.ndarray]:
    """Read tensors by name from .pth or .pt (zip archive or older pickle), .safetensors or .npz, without running anything in the file.

    ``path`` may be "hf:owner/name" or "hf:owner/name/file" if huggingface_hub is installed. If the file holds one nested state dict
    ("state_dict", "model", ...), that is returned; if it holds several, ``key`` selects one. If there is a "student" and a "teacher",
    the default is the "teacher". Arrays are read-only views of the file's bytes (compressed npz takes up to 64 times the file's size).
    Raises BrokenFile for a damaged file, a TensorFlow checkpoint, or a pickle that asks for anything that weights do not need; ValueError
    if ``key`` is missing or wrong; OSError for a missing file.

    >>> import jaxvision as jv
    >>> import pathlib, tempfile, numpy
    >>> path = pathlib.Path(tempfile.mkdtemp(), "weights.npz")
    >>> numpy.savez(path, bias=numpy.zeros(3))
    >>> {name: array.shape for name, array in jv.weights.read(path).items()}
    {'bias': (3,)}
    """
    path = Path(_download(str(path)) if str(path).startswith(_HUB) else path)
    if releases.is_tensorflow(path):
        raise BrokenFile(releases.tensorflow_refusal(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"path: {path} cannot be read ({reason}), expected a PyTorch checkpoint, safetensors or npz") from None
    try:
        found = _selected(_content(data), key)
        return {name: value if isinstance(value, np.ndarray) else value.array(name) for name, value in found.items()}
    except BrokenFile as error:
        raise BrokenFile(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_suffix(path: Path) -> None:
    """Raise ValueError for a suffix that is not a format that ``write`` knows."""
    if path.suffix not in _WRITERS:
        raise ValueError(f"path: found {path.name!r}, expected a name that ends in {', '.join(_WRITERS)}")


def write(path: str | PathLike, tensors: dict[str, np.ndarray]) -> Path:
    """Write tensors by name as .safetensors, .npz, .pth or .pt, and return the path.

    The file appears complete or not at all. ``torch.load(weights_only=True)`` reads .pth and .pt. Raises ValueError for another suffix, or
    for a number type that the format lacks.

    >>> import jaxvision as jv
    >>> import pathlib, tempfile, numpy
    >>> path = jv.weights.write(pathlib.Path(tempfile.mkdtemp(), "weights.pth"), {"bias": numpy.arange(3.0)})
    >>> jv.weights.read(path)["bias"].tolist()
    [0.0, 1.0, 2.0]
    """
    path = Path(path)
    check_suffix(path)
    content = _WRITERS[path.suffix]({name: np.asarray(tensor) for name, tensor in tensors.items()})
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    return draft.replace(path)


def load(model: nn.Module, path: str | PathLike, *, key: str | None = None, **options: Any) -> dict:
    """Variables of ``model`` from a file: ``from_torch(model, read(path, key=key), **options)``, and raises what these raise.

    >>> import jaxvision as jv  # slow
    >>> import jax, pathlib, tempfile
    >>> model, path = jv.create_model("lenet5"), pathlib.Path(tempfile.mkdtemp(), "lenet.safetensors")
    >>> variables = model.init(jax.random.key(0), jax.numpy.ones((1, 32, 32, 1)))
    >>> path = jv.weights.write(path, jv.weights.to_torch(model, variables, layout="tutorial"))
    >>> jax.tree.map(lambda a, b: bool((a == b).all()), jv.weights.load(model, path), variables)["params"]["head"]
    {'bias': True, 'kernel': True}
    """
    return from_torch(model, read(path, key=key), **options)
