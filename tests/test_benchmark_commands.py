"""The benchmarks as their user meets them: help, mistakes that are one line, an install without the optional packages, Ctrl-C."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import command, compile_time, reference, side_by_side, step_time
from tests.conftest import HAS_TORCH
from tests.packages import OPTIONAL, without

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "command.run" in path.read_text())
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: the benchmark's command is NOT run")


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_torch) if name == "cifar10_accuracy" else name for name in COMMANDS])
def test_help_shows_the_command(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert not left.value.code and f"python -m benchmarks.{name}" in capsys.readouterr().out


def test_every_command_is_found():
    programs = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert programs == set(COMMANDS) and len(programs) > 20


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("kernel_time", ["--turns", "0"], "argument --turns: found '0'"),
        ("loss_time", ["--turns", "ten"], "argument --turns: found 'ten'"),
        ("compile_time", ["--models", "resnet51"], "argument --models: unknown model 'resnet51'"),
        ("scaling", ["--model", "resnet"], "argument --model: unknown model 'resnet'"),
        pytest.param("speedrun", ["--data", "none.npz"], "speedrun: file: none.npz", marks=needs_torch),
        pytest.param("step_time", ["--models", "lenet5"], "step_time: models: ", marks=needs_torch),
    ],
)
def test_a_mistake_is_one_line(name, options, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    *usage, last = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and message in last
    assert not usage or usage[0].startswith("usage: ") and "argument" in last  # argparse's own come with it


@pytest.mark.parametrize(
    "name", ["augment_time", "compile_time", "kernel_time", "loss_time", "operation_time", "speedrun", "step_time", "update_time"]
)
def test_without_pytorch_a_comparison_says_so_before_it_measures(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "argv", [name, *(["--data", "none.npz"] if name == "speedrun" else [])])
    reference.torchvision.cache_clear()
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and line.startswith(f"{name}: ") and "PyTorch" in line


@pytest.mark.slow
def test_sides_that_differ_and_a_process_that_fails_are_one_line(tmp_path, capsys):
    def differ():
        side_by_side.check_equal({"x": 1.0}, {"x": 2.0}, bound=1e-3, what="trial")

    def fail():
        compile_time.in_a_process("vit_tiny_patch16_224", 2, 100, str(tmp_path))

    for main, message in ((differ, "trial: x differs by 5.00e-01"), (fail, "exit code 2: compile_time: image: ")):
        with pytest.raises(SystemExit) as left:
            command.run(main)
        (line,) = capsys.readouterr().err.splitlines()
        assert left.value.code == 2 and message in line


def test_what_needs_eight_devices_begins_anew_with_them(monkeypatch):
    begun = []
    monkeypatch.setattr(os, "execve", lambda *given: begun.append(given))
    monkeypatch.setattr(sys, "argv", ["trial", "--steps", "3"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_other=1")
    command.run_on_eight_devices("trial", lambda: None)
    ((program, arguments, environment),) = begun
    assert program == sys.executable and arguments == [sys.executable, "-m", "benchmarks.trial", "--steps", "3"]
    assert environment["XLA_FLAGS"] == "--xla_other=1 --xla_force_host_platform_device_count=8"
    monkeypatch.setenv("XLA_FLAGS", environment["XLA_FLAGS"])
    command.run_on_eight_devices("trial", lambda: begun.append("here"))
    assert begun[1:] == ["here"]


def test_a_mistake_in_the_program_is_no_line(monkeypatch):
    def broken():
        raise TypeError("a mistake of ours")

    with pytest.raises(TypeError, match="a mistake of ours"):
        command.run(broken)
    monkeypatch.setenv("JAXVISION_TRACEBACK", "1")
    with pytest.raises(side_by_side.Disagreement, match="x differs"):
        command.run(lambda: side_by_side.check_equal({"x": 1.0}, {"x": 2.0}, bound=1e-3, what="trial"))


@pytest.mark.slow
@needs_torch
def test_what_was_measured_before_ctrl_c_stays(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    monkeypatch.setattr(side_by_side, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(step_time, "forms", lambda: ["eager"])
    compare, seen = step_time.compare, []

    def interrupted(name, **options):
        if seen:
            raise KeyboardInterrupt
        seen.append(name)
        return compare(name, **options)

    monkeypatch.setattr(step_time, "compare", interrupted)
    options = ["--models", "resnet18", "resnet34", "--mode", "infer", "--batch", "2", "--size", "32", "--turns", "1"]
    monkeypatch.setattr(sys, "argv", ["step_time", *options])
    with pytest.raises(SystemExit) as left:
        command.run(step_time.main)
    assert left.value.code == 130 and capsys.readouterr().err.strip() == "step_time: stopped"
    (table,) = tmp_path.glob("*.csv")
    assert [(row["model"], row["side"]) for row in side_by_side.read(table)] == [("resnet18", "jaxvision"), ("resnet18", "PyTorch eager")]


@pytest.mark.slow
@needs_torch
def test_a_benchmark_needs_only_the_core_packages_and_pytorch_s(tmp_path):
    """PyTorch's own libraries need two of the others."""
    code = without(set(OPTIONAL) - {"PIL", "safetensors"}) + (
        "import sys, pathlib\n"
        "from benchmarks import side_by_side, step_time\n"
        f"side_by_side.RESULTS, side_by_side.PAUSE_SECONDS = pathlib.Path({str(tmp_path)!r}), 0\n"
        "step_time.forms = lambda: ['eager']\n"
        "sys.argv = ['step_time', '--models', 'resnet18', '--mode', 'infer', '--batch', '2', '--size', '32', '--turns', '1']\n"
        "step_time.main()\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert "matplotlib" in found.stdout
    assert found.stdout.splitlines()[-1].startswith("ratio ours/PyTorch ") and [path.suffix for path in tmp_path.iterdir()] == [".csv"]


def test_a_benchmark_without_another_side_needs_no_pytorch(monkeypatch, tmp_path):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    path = side_by_side.write("trial", [{"seconds": 1}], named_by=("seconds",))
    assert "torch" not in path.name and [row["torch"] for row in side_by_side.read(path)] == ["none"]
