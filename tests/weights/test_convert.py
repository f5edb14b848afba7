"""`jaxvision convert`: from format to format, from layout to layout, and its refusals."""

import numpy as np
import pytest

import jaxvision as jv
from jaxvision import cli


def vit() -> dict[str, np.ndarray]:
    """Weights of a small Vision Transformer under timm's names."""
    import jax

    model = jv.create_model("vit_tiny_patch16_224", image_size=32, num_classes=3)
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    variables = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape).astype(np.float32), shapes)
    return jv.weights.to_torch(model, variables, layout="timm")


def test_formats_and_layouts(tmp_path, capsys):
    tensors = vit()
    begin = jv.weights.write(tmp_path / "a.pth", {f"module.{name}": tensor for name, tensor in tensors.items()})
    plain = tmp_path / "a.safetensors"
    assert cli.main(["convert", str(begin), str(plain), "--prefix", "module."]) == 0
    assert f"a.safetensors: {len(tensors)} tensors, " in capsys.readouterr().out
    options = ["--model", "vit_tiny_patch16_224", "--option", "num_classes=3", "--option", "image_size=32"]
    assert cli.main(["convert", str(plain), str(tmp_path / "b.npz"), *options, "--to", "torchvision"]) == 0
    assert "encoder.pos_embedding" in jv.weights.read(tmp_path / "b.npz")
    assert cli.main(["convert", str(tmp_path / "b.npz"), str(tmp_path / "c.pt"), *options, "--to", "timm"]) == 0
    found = jv.weights.read(tmp_path / "c.pt")
    assert found.keys() == tensors.keys() and all(np.array_equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npz", "b.npz", "--to", "timm"], "--model: missing"),
        (["a.npz", "a.npz"], "a.npz: it exists already"),
        (["a.npz", "b.bin"], "path: found 'b.bin', expected a name that ends in .safetensors"),
        (["missing.npz", "b.npz"], "missing.npz"),
        (["a.npz", "b.npz", "--model", "resnet18", "--to", "timm"], "none of the model's names is there"),
        (["a.npz", "b.npz", "--model", "resnet19"], "unknown model 'resnet19'"),
        (["a.npz", "b.npz", "--drop-head"], "--model: missing"),
        (["hf:net", "b.npz"], "path: found 'hf:net', expected 'hf:owner/name'"),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    jv.weights.write("a.npz", {"a": np.ones(2)})
    assert cli.main(["convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxvision convert: ") and message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_model_that_does_not_fit_is_told_in_one_line(tmp_path, capsys):
    path = jv.weights.write(tmp_path / "a.npz", vit())
    options = ["--model", "vit_tiny_patch16_224", "--to", "timm", "--option", "image_size=32"]
    arguments = ["convert", str(path), str(tmp_path / "b.npz"), *options]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "head.weight: found [3, 192], expected [1000, 192]; " in error and "num_classes=3" in error and error.count("\n") == 1
    assert cli.main([*arguments, "--drop-head"]) == 0
    assert set(jv.weights.read(tmp_path / "b.npz")) == {name for name in vit() if not name.startswith("head.")}
