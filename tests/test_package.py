"""The package from outside: what an import loads, what works without the optional packages, what the command says."""

import json
import os
import runpy
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import jaxvision as jv
from jaxvision import cli
from tests.packages import OPTIONAL, without

ROOT = Path(__file__).parents[1]
HEAVY = ("jax", "flax", "tensorflow", "tensorflow_datasets", "matplotlib", "sklearn", "PIL", "rich", "tyro")


def python(code: str, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    )


@pytest.mark.parametrize(
    "code",
    [
        "import jaxvision",
        "import jaxvision as jv; assert 'resnet50' in jv.list_models(); dir(jv)",
        "from jaxvision.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from jaxvision.cli import main; main(['models', 'vit*'])",
    ],
)
def test_light_things_load_nothing_heavy(code):
    found = python(f"{code}\nimport sys, json\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.splitlines()[-1]) == []


@pytest.mark.slow
def test_an_install_without_a_compiler_computes_by_the_twins(tmp_path):
    """The build finds no compiler, ends without kernels, and whoever imports it computes."""
    site, environment = tmp_path / "site", os.environ | {"CXX": str(tmp_path / "none")}
    options = ["--no-deps", "--no-build-isolation", f"--config-settings=build-dir={tmp_path / 'build'}", "--target", site]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, ROOT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site / "jaxvision" / "kernels" / "native" / "__init__.py").is_file() and not list(site.rglob("*.so"))
    code = """
import jax.numpy as jnp, jaxvision as jv
from jaxvision.kernels import native
assert native.instructions() is None
print(jv.__file__, float(jv.kernels.conv2d(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 1)), padding=1).sum()))
"""
    found = subprocess.run(  # -S: what makes an editable install found is not read
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), sysconfig.get_path("purelib")]), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    file, value = found.stdout.split()
    assert Path(file).is_relative_to(site) and float(value) == 2 * 10**2


def test_the_import_is_fast():
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        assert python("import jaxvision; jaxvision.list_models()").returncode == 0
        took.append(time.perf_counter() - begun)
    empty = time.perf_counter()
    python("")
    assert min(took) - (time.perf_counter() - empty) < 0.5


def test_a_run_needs_only_the_core_packages(tmp_path):
    code = (
        without(OPTIONAL)
        + f"""
import jaxvision as jv, flax.linen as nn
class Linear(nn.Module):
    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(3, name="head")(image.reshape(len(image), -1))
source = jv.data.synthetic(32, image_shape=(8, 8, 1), num_classes=3)
model = Linear()
augment = jv.augment.each(jv.augment.random_crop(8, padding=1))
jv.train.run(jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), source, test=source, epochs=2, batch_size=8,
                                 augment=augment), {str(tmp_path / "run")!r})
for call in (lambda: jv.data.digits("train"), lambda: jv.plots.confusion([[1]], ["a"], "x.png"), lambda: jv.data.image_folder("."),
             lambda: jv.data.tfds("cifar10", "train")):
    try: call()
    except ModuleNotFoundError as error: print("SAYS", error)
    else: raise SystemExit("nothing was said")
"""
    )
    found = python(code, XLA_FLAGS="")
    assert found.returncode == 0, found.stdout + found.stderr
    said = [line for line in found.stdout.splitlines() if line.startswith("SAYS")]
    assert len(said) == 4 and all("pip install" in line for line in said)
    assert "no pictures: jv.plots" in found.stdout and "no TensorBoard events" in found.stdout


def test_a_missing_command_line_package_is_named():
    code = "from experiments import lenet_digits\nimport jaxvision as jv\njv.train.main(lenet_digits.config, [])"
    found = python(without(["tyro"]) + code)
    assert found.returncode == 1 and "pip install tyro" in found.stderr


def test_wrong_names_are_answered(capsys):
    with pytest.raises(AttributeError, match="no attribute 'crate_model'"):
        jv.crate_model  # noqa: B018
    assert cli.main(["models", "nothing*"]) == 2
    assert "no model is called 'nothing*'" in capsys.readouterr().err
    assert cli.main(["models", "resnet1*"]) == 0
    assert capsys.readouterr().out.split() == ["resnet101", "resnet110", "resnet152", "resnet18"]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A finished smoke run of the first experiment, by its command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = [sys.executable, "-m", "experiments.lenet_digits", "--smoke", "--workdir", str(folder)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": ""})
    assert found.returncode == 0, found.stderr
    return folder


def test_predict_prints_a_table_and_json(digits_run, tmp_path, capsys):
    from PIL import Image

    picture = tmp_path / "digit.png"
    Image.fromarray(jv.data.digits("test")[0]["image"][..., 0]).resize((50, 40)).save(picture)
    assert cli.main(["predict", str(digits_run), str(picture), "--top", "3"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0] == str(picture) and len(table.splitlines()) == 4 and "%" in table
    assert cli.main(["predict", str(digits_run), str(picture), str(picture), "--json", "--top", "10"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 2 and len(found[0]["classes"]) == 10
    assert sum(entry["probability"] for entry in found[0]["classes"]) == pytest.approx(1, abs=1e-5)
    step = max((digits_run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert cli.main(["predict", str(step), str(picture), "--json"]) == 0
    alone, beside = json.loads(capsys.readouterr().out)[0]["classes"][0], found[0]["classes"][0]
    assert alone == {**beside, "probability": pytest.approx(beside["probability"], rel=1e-5)}  # a batch of one and of two round differently


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "missing.png"], "missing.png is no file"),
        (["nowhere", "{picture}"], "nowhere: no such folder; expected a run folder"),
        (["{folder}", "{picture}"], "not a run folder: it has no config.json"),
        (["{run}/checkpoints/999", "{picture}"], "expected step 999"),
        (["{run}", "{picture}", "--option", "seed"], "--option: found 'seed', expected name=value"),
    ],
)
def test_predict_names_mistakes(digits_run, tmp_path, capsys, arguments, words):
    from PIL import Image

    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    known = {"run": digits_run, "picture": tmp_path / "a.png", "folder": tmp_path}
    assert cli.main(["predict", *(argument.format(**known) for argument in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_doctor_finds_nothing_wrong_and_then_what_is(digits_run, tmp_path, capsys):
    import shutil

    run = shutil.copytree(digits_run, tmp_path / "run")
    assert cli.main(["doctor", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "no problems found" in said and "jax " in said and "is sound" in said and "GiB free" in said
    victim = next((run / "checkpoints").glob("*/state/_METADATA"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    (run / "config.json").write_text("{")
    assert cli.main(["doctor", "--run", str(run), "--data", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    for words in ("_METADATA: its contents are not what was written", "config.json: not valid JSON", "does not exist", "3 problems found"):
        assert words in said


def test_a_run_is_loaded_with_its_experiment(digits_run):
    experiment, state = jv.train.load(digits_run)
    assert len(experiment.train) == 128 and int(state.step) == experiment.steps
    other, _ = jv.train.load(digits_run, step=experiment.steps)
    assert other.seed == experiment.seed


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py")))
def test_help_explains_every_option(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    said = capsys.readouterr().out
    assert not left.value.code
    options = [line for line in said.replace("│", " ").splitlines() if line.strip().startswith("--")]
    assert len(options) > 8 and f"python -m experiments.{name}" in said
    for option in ("--workdir", "--driver", "--epochs", "--smoke"):
        assert option in said


def test_a_wrong_option_or_path_is_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.lenet_mnist", "--workdir", str(tmp_path / "run"), "--data", str(tmp_path / "none")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and len(found.stderr.strip().splitlines()) == 1
    assert "none does not exist" in found.stderr and not (tmp_path / "run").exists()
