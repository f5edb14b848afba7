"""A run that is killed goes on as if nothing had happened: parameters, optimizer, averages and rows bit for bit."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvision as jv
from benchmarks.two_processes import free_address
from jaxvision.train.logging import rows_of
from tests.compilation import EIGHT_DEVICES, ONE_DEVICE
from tests.train import killed_run

ROOT = Path(__file__).parents[2]
SAVE_EVERY = 20


def start(workdir: Path, *options: str, flags: str = ONE_DEVICE) -> subprocess.Popen:
    """The run in a process of its own, on one device; its output goes to a file."""
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tests.train.killed_run", "--workdir", str(workdir), "--save-every", str(SAVE_EVERY), *options]
    log = workdir.with_suffix(".log").open("a")
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def output(workdir: Path) -> str:
    return workdir.with_suffix(".log").read_text()


def saved_steps(workdir: Path) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> bool:
    """Poll until the condition holds; False when the process ended first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    raise TimeoutError(output)


def kill(workdir: Path, moment: str, draw: random.Random) -> tuple[int, int] | None:
    """Start the run, SIGKILL it at a moment, and return (newest checkpoint, last logged step); None when it was over before."""
    before = saved_steps(workdir)
    newest = before[-1] if before else 0
    rows = len(rows_of(workdir))
    process = start(workdir)
    if moment == "early":
        wait_for(lambda: (workdir / "config.json").exists(), process)
        time.sleep(draw.uniform(0, 1.0))
    elif moment == "save":
        wait_for(lambda: len(rows_of(workdir)) != rows, process)
        wait_for(lambda: any((workdir / "checkpoints").glob("unfinished-*")), process)
    else:
        if not wait_for(lambda: (saved_steps(workdir) or [0])[-1] > newest, process):
            return None
        time.sleep(draw.uniform(0, 0.4))
    if process.poll() is not None:
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps, logged = saved_steps(workdir), [row["step"] for row in rows_of(workdir)]
    return (steps[-1] if steps else 0), max(logged, default=0)


def assert_same_run(a: Path, b: Path, **settings) -> None:
    """Final states equal bit for bit, rows equal but for wall-clock figures, each once."""
    experiment = killed_run.config(**settings)
    steps = saved_steps(a)[-1]
    assert saved_steps(b)[-1] == steps == experiment.steps
    states = [jv.train.restore(experiment, folder, step=steps) for folder in (a, b)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for ours, theirs in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1]), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()

    def rows(folder: Path) -> list[dict]:
        clock = ("_seconds", "_per_second")
        return [{name: value for name, value in row.items() if not name.endswith(clock)} for row in rows_of(folder)]

    assert rows(a) == rows(b)
    steps_logged = [row["step"] for row in rows(b) if row["split"] == "train"]
    assert steps_logged == list(range(1, experiment.steps + 1))


def uninterrupted(folder: Path) -> Path:
    assert start(folder).wait(300) == 0, output(folder)
    return folder


def killed(folder: Path, moments: list[str], *, seed: int = 0) -> list[tuple[int, int]]:
    """Run, kill at each moment, then run to the end; checks what every restart says. Returns (checkpoint, logged step) of each kill."""
    draw, kills = random.Random(seed), []
    for moment in moments:
        found = kill(folder, moment, draw)
        assert found is not None, f"the run was over before all kills: {output(folder)}"
        kills.append(found)
        if found[0]:
            assert found[1] - found[0] <= SAVE_EVERY, found
    assert start(folder).wait(300) == 0, output(folder)
    resumed = re.findall(r"resumed at step (\d+) of \d+ \(epoch \d+\)\D+(\d+)\D+(\d+)", output(folder))
    for step, repeated, interval in resumed:
        assert int(step) > 0 and int(repeated) <= int(interval) == SAVE_EVERY
    assert len(resumed) >= sum(checkpoint > 0 for checkpoint, _ in kills)
    return kills


SMALL, LOGGED = ["--epochs", "2", "--linear"], jv.train.RunOptions(log_every=1, save_every=SAVE_EVERY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A small run in this process, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    jv.train.main(killed_run.config, ["--workdir", str(folder), *SMALL], options=LOGGED)
    return folder


def test_a_killed_process_goes_on_bit_for_bit(whole, tmp_path):
    process = start(tmp_path / "killed", *SMALL, flags=EIGHT_DEVICES)
    assert wait_for(lambda: saved_steps(tmp_path / "killed"), process), output(tmp_path / "killed")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < saved_steps(tmp_path / "killed")[-1] < killed_run.config(epochs=2).steps
    jv.train.main(killed_run.config, ["--workdir", str(tmp_path / "killed"), *SMALL], options=LOGGED)
    assert_same_run(whole, tmp_path / "killed", epochs=2, linear=True)


@pytest.mark.slow
def test_a_killed_run_ends_as_the_uninterrupted_one(tmp_path):
    whole = uninterrupted(tmp_path / "whole")
    killed(tmp_path / "killed", ["later", "save"])
    assert_same_run(whole, tmp_path / "killed")
    rows = rows_of(tmp_path / "killed")
    again = start(tmp_path / "killed")
    assert again.wait(120) == 0 and rows_of(tmp_path / "killed") == rows
    other = start(tmp_path / "killed", "--epochs", "13")
    assert other.wait(120) == 2 and re.search("epochs=12.*epochs=13", output(tmp_path / "killed"))


def test_a_signal_stops_the_run_after_the_step_and_saves_it(tmp_path):
    """A scheduler's request in the middle of an epoch, sent by the experiment to its own process."""

    class Stopping:
        """Images one by one; the 40th sends the signal."""

        source, read = jv.data.synthetic(96, image_shape=(32, 32, 1)), 0
        labels, classes = source.labels, source.classes

        def __len__(self):
            return 96

        def __getitem__(self, i):
            Stopping.read += 1
            if Stopping.read == 40:
                os.kill(os.getpid(), signal.SIGTERM)
            return self.source[i]

    model = jv.create_model("lenet5", num_classes=len(Stopping.classes))
    settings = {"epochs": 2, "batch_size": 16}
    experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.01), Stopping(), **settings)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        jv.train.run(experiment, tmp_path)
    assert left.value.code == jv.train.EXIT_CODE and signal.getsignal(signal.SIGTERM) == handler
    (step,) = saved_steps(tmp_path)
    assert 0 < step < 12
    assert int(jv.train.run(experiment, tmp_path).step) == 12


@pytest.mark.slow
@pytest.mark.parametrize(("number", "steps_per_call"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGTERM, 7)])
def test_a_request_to_stop_saves_and_says_so(tmp_path, number, steps_per_call):
    folder = tmp_path / "run"
    process = start(folder, "--steps-per-call", str(steps_per_call))
    assert wait_for(lambda: len(rows_of(folder)) > 5, process)
    process.send_signal(number)
    assert process.wait(60) == jv.train.EXIT_CODE, output(folder)
    steps = saved_steps(folder)
    assert f"step {steps[-1]} of" in output(folder)
    assert max(row["step"] for row in rows_of(folder)) == steps[-1]
    assert not list((folder / "checkpoints").glob("unfinished-*"))


def start_two(folder: Path, *options: str) -> list[subprocess.Popen]:
    """The run in two processes that work together."""
    shared = ["--coordinator", free_address(), "--processes", "2"]
    return [start(folder, *options, *shared, "--process", str(process)) for process in range(2)]


@pytest.mark.slow
def test_two_processes_train_evaluate_draw_and_resume_together(tmp_path):
    """The whole run over two processes, stopped once by a signal to one of them: both stop at the same step, and go on together.

    The first half takes several steps in a call.
    """
    folder, last = tmp_path / "run", killed_run.config(epochs=8).steps
    for codes, steps_per_call in (({jv.train.EXIT_CODE}, "3"), ({0}, "1")):
        workers = start_two(folder, "--epochs", "8", "--broken", "6", "--steps-per-call", steps_per_call)
        if codes == {jv.train.EXIT_CODE}:
            assert wait_for(lambda: len(rows_of(folder)) > 5, workers[0]), output(folder)
            workers[1].send_signal(signal.SIGTERM)
        assert {worker.wait(120) for worker in workers} == codes, output(folder)
        if codes == {jv.train.EXIT_CODE}:
            assert saved_steps(folder)[-1] < last, "stopped before its end"
    assert (folder / "plots" / "predictions.png").is_file()
    assert json.loads((folder / "summary.json").read_text())["broken"] == {"train": {"empty": 6}}
    steps = [row["step"] for row in rows_of(folder) if row["split"] == "train"]
    assert steps == list(range(1, last + 1))


@pytest.mark.slow
def test_what_two_processes_cannot_read_is_summed(tmp_path):
    """14 broken examples are more than 1 % of them; each process has met less than that by the time that both stop."""
    folder = tmp_path / "run"
    workers = start_two(folder, "--epochs", "4", "--broken", "14")
    assert all(worker.wait(120) not in (0, jv.train.EXIT_CODE) for worker in workers), output(folder)
    assert output(folder).count("killed_run: train: 1") == 2
    assert max(row["step"] for row in rows_of(folder)) <= 20


def test_a_second_request_leaves_at_once():
    code = """
import os, signal, time
from jaxvision.train.signals import Interruption
with Interruption() as interruption:
    os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.requested == "SIGTERM"
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 128 + signal.SIGINT
