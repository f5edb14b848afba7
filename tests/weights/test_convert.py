"""`jaxvision convert`: from format to format, from layout to layout, and its refusals."""

import types

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


@pytest.mark.slow
def test_options_are_read_as_by_summary(tmp_path, monkeypatch, capsys):
    """``False`` is no text, which would be true: neither command builds the auxiliary classifiers."""
    made, create = [], jv.create_model

    def noted(name, **options):
        made.append(options)
        return create(name, **options)

    monkeypatch.setattr(jv, "create_model", noted, raising=False)
    path = jv.weights.write(tmp_path / "a.npz", {"a": np.ones(2)})
    options = [f"--option={pair}" for pair in ("auxiliary_heads=False", "drop_rate=0.5", "num-classes=3", "dtype=bfloat16")]
    for word in ("False", "false"):
        options[0] = f"--option=auxiliary_heads={word}"
        assert cli.main(["convert", str(path), str(tmp_path / "b.npz"), "--model", "googlenet", "--to", "timm", *options]) == 2
        assert made.pop() == {"auxiliary_heads": False, "drop_rate": 0.5, "num_classes": 3, "dtype": "bfloat16"}
    assert cli.main(["summary", "googlenet", "--depth", "1", "--image-size", "64", *options]) == 0
    assert "auxiliary" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npz", "b.npz", "--to", "timm"], "--model: "),
        (["a.npz", "a.npz"], "OUT: "),
        (["a.npz", "b.bin"], "path: "),
        (["missing.npz", "b.npz"], "IN: "),
        ([".", "b.npz"], "IN: "),
        (["missing", "b.npz"], "IN: "),
        (["a.npz", "none/b.npz"], "OUT: "),
        (["a.npz", "b.npz", "--prefix", "zzz."], "prefix: "),
        (["a.npz", "b.npz", "--model", "resnet18", "--to", "timm", "--prefix", "zzz."], "prefix: "),
        (["a.npz", "b.npz", "--model", "resnet18", "--to", "timm", "--layout", "keras"], "layout: "),
        (["a.npz", "b.npz", "--model", "resnet18", "--option", "stemm=cifar"], "stemm: "),
        (["a.npz", "b.npz", "--model", "resnet18", "--to", "timm"], "tensors: "),
        (["a.npz", "b.npz", "--model", "resnet19"], "resnet19"),
        (["a.npz", "b.npz", "--drop-head"], "--model: "),
        (["hf:net", "b.npz"], "path: "),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    jv.weights.write("a.npz", {"a": np.ones(2)})
    assert cli.main(["convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxvision convert: ") and message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_model_that_does_not_fit_is_a_one_line_error(tmp_path, capsys):
    path = jv.weights.write(tmp_path / "a.npz", vit())
    options = ["--model", "vit_tiny_patch16_224", "--to", "timm", "--option", "image_size=32"]
    arguments = ["convert", str(path), str(tmp_path / "b.npz"), *options]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "head.weight: found [3, 192], expected [1000, 192]; " in error and "num_classes=3" in error and error.count("\n") == 1
    assert cli.main([*[word for word in arguments if word not in ("--to", "timm")], "--drop-head"]) == 2
    assert "--to: " in capsys.readouterr().err
    assert cli.main([*arguments, "--drop-head"]) == 0
    assert set(jv.weights.read(tmp_path / "b.npz")) == {name for name in vit() if not name.startswith("head.")}


RECIPE = """
import jax.numpy as jnp
import optax

import jaxvision as jv

def config(*, width: int = 24) -> jv.train.Experiment:
    source = jv.data.subset(jv.data.digits("train"), range(16))
    encoder = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=16, num_classes=0).clone(width=width, depth=1)
    twice = lambda key, batch: batch | {"views": jnp.stack([batch["image"]] * 2, axis=1)}
    objective = jv.objectives.dino(encoder, prototypes=8, hidden=8, bottleneck=4)
    return jv.train.Experiment(encoder, objective, optax.sgd(0.1), source, epochs=1, batch_size=8, augment=twice)
"""


@pytest.mark.slow
def test_the_encoder_of_a_self_supervised_run(tmp_path, capsys):
    import importlib.util

    import jax

    (tmp_path / "recipe_of_dino.py").write_text(RECIPE)
    spec = importlib.util.spec_from_file_location("recipe_of_dino", tmp_path / "recipe_of_dino.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    experiment, run = recipe.config(), tmp_path / "run"
    jv.train.run(experiment, run, origin=jv.train.run_folder.origin_of(recipe.config, {}))
    _, state = jv.train.load(run)
    capsys.readouterr()
    assert cli.main(["convert", str(run), str(tmp_path / "encoder.safetensors")]) == 0
    assert cli.main(["convert", str(run / "checkpoints" / "2"), str(tmp_path / "teacher.pth"), "--key", "teacher", "--to", "timm"]) == 0
    trained = {"encoder.safetensors": state.params["encoder"], "teacher.pth": state.carry.memory["teacher"]["encoder"]}
    for name, params in trained.items():
        found = jv.weights.load(experiment.model, tmp_path / name)
        assert jax.tree.all(jax.tree.map(np.array_equal, found, {"params": params}))
        assert "cls_token" in jv.weights.read(tmp_path / name)
    capsys.readouterr()
    for options, message in (
        (["--model", "resnet18"], "--model: "),
        (["--to", "keras"], "--to: "),
        (["--key", "ema"], "--key: "),
    ):
        assert cli.main(["convert", str(run), str(tmp_path / "no.npz"), *options]) == 2
        assert message in capsys.readouterr().err


def test_a_wrong_suffix_is_an_error_before_the_run_is_loaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").touch()
    monkeypatch.setattr(jv.train, "load", lambda *given, **options: pytest.fail("the run was loaded"))
    assert cli.main(["convert", str(tmp_path), str(tmp_path / "b.bin")]) == 2
    assert "path: " in capsys.readouterr().err


def test_the_classifier_of_a_supervised_run_can_be_dropped(tmp_path, monkeypatch):
    model, tensors = jv.create_model("vit_tiny_patch16_224", image_size=32, num_classes=3), vit()
    (tmp_path / "config.json").touch()
    monkeypatch.setattr(jv.train, "load", lambda *given, **options: (types.SimpleNamespace(model=model, evaluated=None), None))
    monkeypatch.setattr(jv.train, "variables", lambda state, module: jv.weights.from_torch(model, tensors))
    for name, options in (("whole.npz", []), ("bare.npz", ["--drop-head"])):
        assert cli.main(["convert", str(tmp_path), str(tmp_path / name), *options]) == 0
    whole, bare = (set(jv.weights.read(tmp_path / name)) for name in ("whole.npz", "bare.npz"))
    assert whole == set(tensors) and whole - bare == {"head.weight", "head.bias"}
