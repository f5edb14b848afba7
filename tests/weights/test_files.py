"""Files of weights: what PyTorch, safetensors and numpy write is read to the last bit, and what we write they read."""

import argparse
import collections
import pickle
import re
import sys
import types
import typing
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import BrokenFile

torch = pytest.importorskip("torch", reason="PyTorch is not installed: its files are NOT checked here")

KINDS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64")


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))


def same(found: dict, wanted: dict) -> None:
    """Names, types and bits of our arrays and PyTorch's tensors."""
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert str(found[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        assert found[name].shape == tuple(tensor.shape)
        bits = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy() if tensor.numel() else np.zeros(0, np.uint8)
        np.testing.assert_array_equal(np.frombuffer(np.ascontiguousarray(found[name]).tobytes(), np.uint8), bits)


@pytest.mark.parametrize("modern", [True, False])
def test_state_dicts_of_both_forms(tmp_path, modern):
    torch.save(network().state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=modern)
    same(jv.weights.read(tmp_path / "a.pth"), network().state_dict())


@pytest.mark.parametrize("modern", [True, False])
def test_every_type_and_any_strides(tmp_path, modern):
    numbers = torch.arange(-60, 60)
    tensors = {kind: numbers.to(getattr(torch, kind)) for kind in KINDS}
    block = torch.randn(4, 5, 6)
    tensors |= {
        "turned": block.permute(2, 0, 1),
        "part": block[1:3, ::2, 3],
        "shared": block.view(-1)[7:19],
        "expanded": torch.randn(3, 1).expand(3, 4),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    torch.save(tensors, tmp_path / "a.pt", _use_new_zipfile_serialization=modern)
    found = jv.weights.read(tmp_path / "a.pt")
    same(found, tensors)
    assert np.shares_memory(found["turned"], found["shared"])
    assert not any(array.flags.writeable for array in found.values() if array.size)


def test_tensors_without_a_typed_storage(tmp_path):
    tensors = {"a": torch.arange(5).to(torch.uint16), "b": torch.arange(5).to(torch.float8_e4m3fn)[1:]}
    torch.save(tensors, tmp_path / "a.pt")
    same(jv.weights.read(tmp_path / "a.pt"), tensors)


def test_checkpoints_that_nest_the_state_dict(tmp_path):
    state = network().state_dict()
    optimizer = torch.optim.AdamW(network().parameters())
    arguments = argparse.Namespace(lr=0.1, model="small")
    rest = {"epoch": 3, "args": arguments, "optimizer": optimizer.state_dict(), "best": np.float64(0.5), "curve": np.arange(3.0)[None]}
    torch.save({"state_dict": state, "epoch": 3, "args": arguments}, tmp_path / "one.pth")
    same(jv.weights.read(tmp_path / "one.pth"), state)
    torch.save({"model": state, "model_ema": {"a": torch.ones(2)}, **{k: v for k, v in rest.items() if k != "curve"}}, tmp_path / "two.pth")
    with pytest.raises(ValueError, match="two.pth: key:"):
        jv.weights.read(tmp_path / "two.pth")
    same(jv.weights.read(tmp_path / "two.pth", key="model"), state)
    with pytest.raises(ValueError, match="key:"):
        jv.weights.read(tmp_path / "two.pth", key="ema")
    torch.save(collections.OrderedDict(rest), tmp_path / "three.pth")
    np.testing.assert_array_equal(jv.weights.read(tmp_path / "three.pth")["curve"], np.arange(3.0)[None])


def made_in(monkeypatch, module: str, name: str, **members) -> type:
    """A class that a pickle will name as one of a library that is not here."""
    kind = type(name, (members.pop("base", object),), members | {"__module__": module})
    for end in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, sys.modules.get(part) or types.ModuleType(part))
    monkeypatch.setattr(sys.modules[module], name, kind, raising=False)
    return kind


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_lightning_saves_beside_the_weights_is_left_out(tmp_path, monkeypatch, protocol):
    options = made_in(monkeypatch, "pytorch_lightning.utilities.parsing", "AttributeDict", base=dict)
    config = made_in(monkeypatch, "omegaconf.dictconfig", "DictConfig")
    node = made_in(monkeypatch, "omegaconf.nodes", "AnyNode")
    settings = config()
    settings.__dict__ |= {"_content": {"lr": node()}, "_metadata": {"object_type": dict, "element": typing.Any}}
    beside = {
        "hyper_parameters": options(lr=0.1, config=settings, folder=Path("a") / "b"),
        "callbacks": {"Best": {"path": "x", "k": [1, 2]}},
    }
    beside |= {"loops": collections.defaultdict(list, {"a": [1]}), "epoch": 3, "pytorch-lightning_version": "1.9"}
    state = {"backbone.conv1.weight": torch.randn(2, 3)}
    torch.save({"state_dict": state, **beside}, tmp_path / "a.ckpt", pickle_protocol=protocol)
    same(jv.weights.read(tmp_path / "a.ckpt"), state)


@pytest.mark.parametrize("protocol", range(5))
def test_a_plain_pickle_of_numpy_arrays(tmp_path, protocol):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))}
    (tmp_path / "a.pth").write_bytes(pickle.dumps(arrays, protocol))
    found = jv.weights.read(tmp_path / "a.pth")
    assert all(np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in arrays.items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    generator = np.random.default_rng(0)
    arrays = {"a.weight": generator.standard_normal((3, 4)).astype(np.float32), "a.count": np.array(7), "empty": np.zeros((0, 2))}
    arrays["turned"] = arrays["a.weight"].T
    if suffix != ".npz":
        arrays["half"] = arrays["a.weight"].astype(ml_dtypes.bfloat16)
    path = jv.weights.write(tmp_path / f"a{suffix}", arrays)
    found = jv.weights.read(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    theirs = None
    if suffix in (".pth", ".pt"):
        theirs = torch.load(path, weights_only=True)
    elif suffix == ".safetensors":
        theirs = pytest.importorskip("safetensors.torch").load_file(path)
    if theirs is not None:
        same({name: found[name] for name in theirs}, theirs)
    else:
        assert all(np.array_equal(np.load(path)[name], array) for name, array in arrays.items())


def test_safetensors_and_npz_of_other_writers(tmp_path):
    writer = pytest.importorskip("safetensors.torch")
    tensors = {"a": torch.randn(3, 2), "b": torch.randn(5).to(torch.bfloat16), "c": torch.arange(3)}
    writer.save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = jv.weights.read(tmp_path / "a.safetensors")
    same({name: found[name] for name in tensors}, tensors)
    arrays = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "zeros": np.zeros((1000, 1000))}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = jv.weights.read(tmp_path / "a.npz")
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_a_header_may_be_as_long_as_a_pickle_begins(tmp_path):
    for name in (f"{'a' * count}" for count in range(1, 120)):  # some are 0x80 or 0x28 long
        found = jv.weights.read(jv.weights.write(tmp_path / "a.safetensors", {name: np.ones(1)}))
        assert list(found) == [name]


def test_a_file_becomes_a_model_and_a_model_a_file(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    model = jv.create_model("resnet18", num_classes=3)
    variables = jv.weights.load(model, tmp_path / "a.pth")
    tensors = jv.weights.to_torch(model, variables, layout="torchvision")
    jv.weights.write(tmp_path / "b.pth", tensors)
    other = torchvision.models.resnet18(num_classes=3).eval()
    other.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True))
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in other.state_dict().items())


class Evil:
    """A pickle that would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_by_name_and_does_nothing(tmp_path, form, protocol):
    target, path = tmp_path / "created", tmp_path / "a.pth"
    held = {"a": torch.ones(2), "b": Evil(target)}
    if form == "plain":
        path.write_bytes(pickle.dumps(Evil(target), protocol))
    else:
        torch.save(held, path, pickle_protocol=max(protocol, 1) if form == "zip" else 2, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(BrokenFile, match=r"a.pth: .*(io|_io|builtins|__builtin__).open"):
        jv.weights.read(path)
    assert not target.exists()


@pytest.mark.parametrize("name", ["os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_qtensor", "torch.nn\nConv2d"])
def test_names_off_the_list_are_refused(tmp_path, name):
    (tmp_path / "a.pth").write_bytes(b"\x80\x02c" + name.encode() + b"\n(U\x04truetR.")
    with pytest.raises(BrokenFile, match=re.escape(name.replace(chr(10), "."))):
        jv.weights.read(tmp_path / "a.pth")


def test_objects_of_numpy_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([Evil(tmp_path / "created")], object))
    with pytest.raises(BrokenFile, match=r"\|O"):
        jv.weights.read(tmp_path / "a.npz")
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02X\xff\xff\xff\x7fa.",  # a text of 2 GiB
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",  # bytes of 8 EiB
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a place in the memo that a table would need 16 GiB for
        b"\x80\x02" + b"(" * 20_000 + b"t" * 20_000 + b".",
        b"\x80\x02}" + b")" + b"\x85" * 50_000 + b"Ns.",  # a key that is nested too deep to hash
    ],
)
def test_pickles_that_claim_much_are_refused_cheaply(tmp_path, pickled):
    import tracemalloc

    (tmp_path / "a.pth").write_bytes(pickled)
    tracemalloc.start()
    with pytest.raises(BrokenFile, match="a.pth: "):
        jv.weights.read(tmp_path / "a.pth")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\xff" * 8 + b"{}",  # a header longer than the file
        (2).to_bytes(8, "little") + b"{]",
        (10).to_bytes(8, "little") + b'{"a":1}   ',
        (70).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}'.ljust(70) + b"abcd",
        (70).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000000]}}'.ljust(70) + b"abcd",
        (100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 100_000,
        b"PK\x03\x04 and no archive",
    ],
)
def test_damaged_files_give_one_error(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(BrokenFile, match="a.bin: "):
        jv.weights.read(tmp_path / "a.bin")


def test_a_zip_bomb_is_refused_before_it_is_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(200_000_000))
    with pytest.raises(BrokenFile, match="200,000,000 bytes"):
        jv.weights.read(tmp_path / "a.npz")


def test_what_a_format_lacks_is_refused_in_writing(tmp_path):
    with pytest.raises(ValueError, match="^path:"):
        jv.weights.write(tmp_path / "a.bin", {})
    half = {"a": np.ones(2, ml_dtypes.bfloat16)}
    with pytest.raises(ValueError, match="^tensors:"):
        jv.weights.write(tmp_path / "a.npz", half)
    with pytest.raises(ValueError, match="^tensors:"):
        jv.weights.write(tmp_path / "a.pth", {"a": np.ones(2, np.uint16)})
    with pytest.raises(ValueError, match="^tensors:"):
        jv.weights.write(tmp_path / "a.safetensors", {"a": np.ones(2, complex)})
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_opened_raises_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="^path:"):
        jv.weights.read(tmp_path / "none.pth")
    with pytest.raises(IsADirectoryError, match="^path:"):
        jv.weights.read(tmp_path)
