"""The package as users see it: public names, imports, installs, missing optional packages, the command line."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import jaxvision as jv
from experiments import lenet_digits
from jaxvision import cli
from tests.compilation import ONE_DEVICE
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
def test_an_import_loads_no_heavy_package(code):
    found = python(f"{code}\nimport sys, json\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.splitlines()[-1]) == []


PACKAGES = [name for name in jv.__all__ if isinstance(getattr(jv, name), ModuleType)]


@pytest.mark.parametrize("package", [jv, *(getattr(jv, name) for name in PACKAGES)], ids=lambda module: module.__name__)
def test_a_package_lists_its_public_names_and_suggests_the_nearest(package):
    assert dir(package) == sorted(package.__all__) and len(set(package.__all__)) == len(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    name = max(package.__all__, key=len)
    with pytest.raises(AttributeError, match=f"'{name}x'.*{name}"):
        getattr(package, f"{name}x")
    with pytest.raises(AttributeError, match=name):  # nothing is near: all names are listed
        getattr(package, "qqqqqqqq")


def test_submodules_stay_importable():
    from jaxvision.losses import nt_xent
    from jaxvision.models import inspection, vit

    assert nt_xent is jv.losses.nt_xent and jv.models.vit is vit
    assert jv.models.class_attention is inspection.class_attention


def test_the_version_is_the_same_everywhere():
    citation = dict(line.split(": ", 1) for line in (ROOT / "CITATION.cff").read_text().splitlines() if line.count(": ") == 1)
    assert citation["version"] == jv.__version__
    assert f"## {jv.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]  # read from jaxvision/__init__.py


def pip(*arguments, **environment) -> str:
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def isolated(code: str, site: Path, folder: Path) -> str:
    """What a program prints in ``folder``, whose only jaxvision is that in ``site``."""
    found = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: without it an editable install of jaxvision comes first
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), sysconfig.get_path("purelib")]), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


FORWARD = """
import jax, jax.numpy as jnp, jaxvision as jv
from jaxvision.kernels import native
model, image = jv.create_model("lenet5", num_classes=3), jnp.ones((1, 32, 32, 1))
print(jv.__file__, native.instructions(), model.apply(model.init(jax.random.key(0), image), image).shape[1])
print(float(jv.kernels.conv2d(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 1)), padding=1).sum()))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "c++")) is None, reason="no C++ compiler: the wheel with kernels is NOT built")
def test_a_wheel_holds_the_library_and_no_sources(tmp_path):
    settings = f"--config-settings=build-dir={tmp_path / 'build'}"
    pip("wheel", "--no-deps", "--no-build-isolation", settings, "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob(f"jaxvision-{jv.__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"jaxvision-{jv.__version__}.dist-info/METADATA").decode()
    files = {name for name in names if name.startswith("jaxvision/") and not name.endswith(".py")}
    assert files == {"jaxvision/py.typed", "jaxvision/kernels/libjaxvision_kernels.so"}
    assert {name.split("/")[0] for name in names} == {"jaxvision", f"jaxvision-{jv.__version__}.dist-info"}
    assert "License-Expression: Apache-2.0" in metadata and any(name.endswith("licenses/LICENSE") for name in names)
    pip("install", "--no-deps", "--target", tmp_path / "site", wheel)
    file, instructions, classes, total = isolated(FORWARD, tmp_path / "site", tmp_path).split()
    assert Path(file).is_relative_to(tmp_path / "site") and instructions != "None" and classes == "3" and float(total) == 2 * 10**2


@pytest.mark.slow
def test_a_source_distribution_installs_without_a_compiler(tmp_path):
    build = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("jaxvision-*.tar.gz")
    with tarfile.open(archive) as members:
        names = {name.partition("/")[2] for name in members.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "jaxvision/kernels/native/CMakeLists.txt", "jaxvision/py.typed"} <= names
    assert not any(name.endswith(".so") for name in names)
    pip("install", "--no-deps", "--no-build-isolation", "--target", tmp_path / "site", archive, CXX=str(tmp_path / "none"), CC="false")
    assert (tmp_path / "site" / "jaxvision" / "kernels" / "native" / "__init__.py").is_file()
    assert not list((tmp_path / "site").rglob("*.so"))
    file, instructions, classes, total = isolated(FORWARD, tmp_path / "site", tmp_path).split()
    assert Path(file).is_relative_to(tmp_path / "site") and instructions == "None" and classes == "3" and float(total) == 2 * 10**2


def processor_seconds(code: str) -> float:
    """What a program takes of a processor; other programs on this machine do not count."""
    found = python(f"{code}\nimport time; print(time.process_time())")
    assert found.returncode == 0, found.stderr
    return float(found.stdout)


def test_the_import_is_fast():
    took = min(processor_seconds("import jaxvision; jaxvision.list_models()") for _ in range(3))
    assert took - processor_seconds("") < 0.5


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
    except ModuleNotFoundError as error: print("ERROR", error)
    else: raise SystemExit("no error")
"""
    )
    found = python(code, XLA_FLAGS=ONE_DEVICE)
    assert found.returncode == 0, found.stdout + found.stderr
    output = [line for line in found.stdout.splitlines() if line.startswith("ERROR")]
    assert len(output) == 4 and all("pip install" in line for line in output)
    assert "jv.plots" in found.stdout and "TensorBoard" in found.stdout


def test_a_missing_command_line_package_is_named():
    code = "from experiments import lenet_digits\nimport jaxvision as jv\njv.train.main(lenet_digits.config, [])"
    found = python(without(["tyro"]) + code)
    assert found.returncode == 1 and "pip install tyro" in found.stderr


def test_unknown_model_names_are_an_error(capsys):
    assert cli.main(["models", "nothing*"]) == 2
    assert "nothing*" in capsys.readouterr().err
    assert cli.main(["models", "resnet1*"]) == 0
    assert capsys.readouterr().out.split() == ["resnet101", "resnet110", "resnet152", "resnet18"]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A finished smoke run of the first experiment."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    jv.train.main(lenet_digits.config, ["--smoke", "--workdir", str(folder)])
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
        (["{run}", "missing.png"], "missing.png"),
        (["nowhere", "{picture}"], "nowhere"),
        (["{folder}", "{picture}"], "config.json"),
        (["{run}/checkpoints/999", "{picture}"], "999"),
        (["{run}", "{picture}", "--option", "seed"], "--option"),
    ],
)
def test_predict_names_a_wrong_argument(digits_run, tmp_path, capsys, arguments, words):
    from PIL import Image

    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    known = {"run": digits_run, "picture": tmp_path / "a.png", "folder": tmp_path}
    assert cli.main(["predict", *(argument.format(**known) for argument in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_doctor_reports_no_problems_and_then_three(digits_run, tmp_path, capsys):
    run = shutil.copytree(digits_run, tmp_path / "run")
    assert cli.main(["doctor", "--run", str(run)]) == 0
    output = capsys.readouterr().out
    assert "jax " in output and "checkpoint" in output
    victim = next((run / "checkpoints").glob("*/state/_METADATA"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    (run / "config.json").write_text("{")
    assert cli.main(["doctor", "--run", str(run), "--data", str(tmp_path / "none")]) == 1
    output = capsys.readouterr().out
    for words in ("_METADATA", "config.json", str(tmp_path / "none"), "3 problems"):
        assert words in output


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
    output = capsys.readouterr().out
    assert not left.value.code
    options = [line for line in output.replace("│", " ").splitlines() if line.strip().startswith("--")]
    assert len(options) > 8 and f"python -m experiments.{name}" in output
    for option in ("--workdir", "--driver", "--epochs", "--smoke"):
        assert option in output


def test_a_wrong_option_or_path_is_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.lenet_mnist", "--workdir", str(tmp_path / "run"), "--data", str(tmp_path / "none")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and len(found.stderr.strip().splitlines()) == 1
    assert str(tmp_path / "none") in found.stderr and not (tmp_path / "run").exists()
