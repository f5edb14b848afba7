"""Weights by the address "hf:owner/name": asked for by name, read like any file, and a clear line where that cannot be."""

import sys
import types

import numpy as np
import pytest

import jaxvision as jv


def hub(monkeypatch, files: dict[str, str]) -> list[tuple[str, str]]:
    """A huggingface_hub with ``files`` {name: path}; gives what is asked for."""
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        if name not in files:
            raise RuntimeError(f"404: no {name}\nmore lines")
        return files[name]

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    return asked


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_usual_files_are_tried(tmp_path, monkeypatch, name):
    path = jv.weights.write(tmp_path / "a.pth", {"a": np.arange(3.0)}).rename(tmp_path / name)
    asked = hub(monkeypatch, {name: str(path)})
    np.testing.assert_array_equal(jv.weights.read("hf:owner/net")["a"], np.arange(3.0))
    assert asked[0] == ("owner/net", "model.safetensors") and asked[-1] == ("owner/net", name)


def test_a_file_by_name_becomes_a_model(tmp_path, monkeypatch):
    model = jv.create_model("lenet5")
    variables = model.init(__import__("jax").random.key(0), np.zeros((1, 32, 32, 1), np.float32))
    path = jv.weights.write(tmp_path / "a.npz", jv.weights.to_torch(model, variables, layout="tutorial"))
    asked = hub(monkeypatch, {"sub/a.npz": str(path)})
    loaded = jv.weights.load(model, "hf:owner/net/sub/a.npz")
    assert asked == [("owner/net", "sub/a.npz")]
    np.testing.assert_array_equal(loaded["params"]["stem"]["kernel"], variables["params"]["stem"]["kernel"])


def test_hub_errors_name_the_address(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="^hf:owner/net: .*huggingface_hub"):
        jv.weights.read("hf:owner/net")
    with pytest.raises(ValueError, match="^path:"):
        jv.weights.read("hf:net")
    hub(monkeypatch, {})
    with pytest.raises(OSError, match="^hf:owner/net: .*model.safetensors.*pytorch_model.bin"):
        jv.weights.read("hf:owner/net")
