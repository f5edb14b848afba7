"""The benchmarks' own promises: nothing is compared that is not equal, and the result is a ratio with its range."""

import csv
import inspect
import sys

import jax
import numpy as np
import pytest

import jaxvision as jv
from benchmarks import (
    compile_time,
    functions,
    kernel_time,
    loss_time,
    operation_time,
    reference,
    scaling,
    side_by_side,
    speedrun,
    ssl_step_time,
    step_time,
    update_time,
)
from benchmarks.side_by_side import Disagreement, Pace, Ratio, Side
from experiments import speedrun_cifar10
from jaxvision import kernels
from tests.conftest import HAS_TORCH
from tests.marks import split

needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: the benchmark's two sides are NOT compared")


@pytest.fixture(autouse=True)
def without_a_pause(monkeypatch):
    """Nothing here is about time."""
    monkeypatch.setattr(side_by_side, "PAUSE_SECONDS", 0)


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(step_time, "forms", lambda: ["eager"])


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_both_sides_compute_the_same_step(eager, name, mode):
    size = 224 if name.startswith("vit") else 64
    found, worst = step_time.compare(name, mode=mode, batch=2, size=size, turns=2)
    assert list(found) == ["jaxvision", "PyTorch eager"] and 0 < worst < 1e-4
    assert all(len(pace.turns) == 2 and (pace.turns > 0).all() for pace in found.values())
    assert found["jaxvision"].first > found["jaxvision"].compiling > 0 == found["PyTorch eager"].compiling


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_a_sabotaged_padding_is_refused_before_anything_is_timed(eager, monkeypatch, mode, capsys):
    def sabotaged(image, kernel, *, padding=0, **options):
        ours = kernels.plain_conv2d(image, kernel, padding=padding, **options)
        return ours.at[:, 0].set(0) if padding else ours

    monkeypatch.setattr(kernels, "conv2d", sabotaged)
    monkeypatch.setattr(side_by_side, "ratio", lambda *_: pytest.fail("a ratio of unequal sides"))
    monkeypatch.setattr(sys, "argv", ["step_time", "--models", "resnet18", "--mode", mode, "--batch", "2", "--size", "32", "--turns", "1"])
    with pytest.raises(Disagreement, match=f"resnet18, {mode}, PyTorch eager"):
        step_time.main()
    assert "ratio" not in capsys.readouterr().out


@needs_torch
def test_a_table_keeps_the_rows_that_were_not_measured_again(monkeypatch, tmp_path):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    epoch = lambda run, number, seconds: {"run": run, "epoch": number, "seconds": seconds}  # noqa: E731
    side_by_side.write("trial", [epoch(1, 1, 3.0), epoch(1, 2, 5.0), epoch(2, 1, 4.0)], named_by=("run",))
    path = side_by_side.write("trial", [epoch(3, 1, 6.0), epoch(1, 1, 2.0)], named_by=("run",))
    found = [(row["run"], row["epoch"], row["seconds"]) for row in side_by_side.read(path)]
    assert found == [("1", "1", "2.0"), ("2", "1", "4.0"), ("3", "1", "6.0")]
    here = side_by_side.machine()
    monkeypatch.setattr(side_by_side, "machine", lambda: here | {"device": "another"})
    side_by_side.write("trial", [epoch(1, 1, 1.0)], named_by=("run",))
    assert [row["seconds"] for row in side_by_side.read(path)] == ["2.0", "4.0", "6.0", "1.0"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    path = side_by_side.write("trial", [{"run": 1, "minutes": 1}], named_by=("run",))
    assert [row["minutes"] for row in side_by_side.read(path)] == ["1"]  # other columns: another table


def test_a_ratio_is_read_as_it_is_written():
    assert Ratio.of(str(Ratio(0.42, 0.4, 1.44, 6))) == Ratio(0.42, 0.4, 1.44, 6)


@pytest.mark.slow
@needs_torch
def test_the_table_says_on_what_and_the_last_line_is_the_ratio(eager, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["step_time", "--models", "resnet18", "--mode", "infer", "--batch", "2", "--size", "32", "--turns", "3"]
    )
    step_time.main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("ratio ours/PyTorch ")
    (table,) = tmp_path.glob("step_time-cpu-jax*-torch*.csv")
    ours, theirs = csv.DictReader(table.open())
    assert ours["side"] == "jaxvision" and theirs["side"] == "PyTorch eager" and ours["cores"] and ours["torch"]
    convolutions = (1_814_073_344 - 512_000) // 49  # ResNet-18 at 224 pixels without its head, over 7 x 7
    assert float(ours["model_flops"]) == pytest.approx(2 * 2 * (convolutions + 512_000), rel=1e-3)
    most, seconds = (float(theirs[name].split()[0]) for name in ("peak_flops_per_second", "median_seconds"))
    assert float(theirs["mfu"]) == pytest.approx(float(theirs["model_flops"]) / seconds / most, abs=2e-3)
    assert table.with_suffix(".png").stat().st_size > 1000


def test_a_ratio_is_the_median_of_the_turns_not_of_the_sides():
    ours, theirs = (Pace(1.0, 0.0, np.array(turns), 0.0) for turns in ([1.0, 2.0, 9.0], [2.0, 1.0, 10.0]))
    assert side_by_side.ratio(ours, theirs) == Ratio(0.9, 0.7, 1.45, 3)
    assert str(Ratio(0.871, 0.849, 0.9, 20)) == "0.87 (0.85-0.90, n 20)"


def test_sides_take_turns_and_are_checked_first():
    seen = []
    sides = {name: Side(lambda name=name: seen.append(name), dict) for name in ("a", "b")}
    found = side_by_side.paces(sides, lambda: seen.append("check"), turns=3, warmup=1)
    assert seen == ["a", "b", "check", "a", "b", *["a", "b"] * 4] and len(found["a"].turns) == 3


@pytest.mark.parametrize(
    "theirs, message",
    [
        ({"x": np.ones(3) + 1e-3}, r"trial: x .*9\.99e-04.*1e-04"),
        ({"x": np.full(3, np.nan)}, "trial: x .*nan"),
        ({"x": np.ones(4)}, r"trial: .*'x': \(\(3,\), \(4,\)\)"),
        ({"y": np.ones(3)}, "trial: .*x, y"),
    ],
)
def test_what_differs_is_named(theirs, message):
    with pytest.raises(Disagreement, match=message):
        side_by_side.check_equal({"x": np.ones(3)}, theirs, bound=1e-4, what="trial")


@needs_torch
@pytest.mark.parametrize("name", split(loss_time.LOSSES, {"nt_xent"}))
def test_losses_and_their_plain_writing_are_the_same(name):
    found = loss_time.compare(loss_time.LOSSES[name], 3, turns=1)
    assert list(found) == ["ours", "PyTorch"]


@pytest.mark.slow
def test_the_largest_batch_within_a_memory_is_the_last_that_fits():
    loss = loss_time.LOSSES["nt_xent"]
    found = loss_time.largest_within(loss, 4.0, start=64)
    assert found > 64 and loss_time.set_aside(loss, found) <= 4.0 < loss_time.set_aside(loss, 2 * found)


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("average", [False, True])
def test_an_update_changes_every_weight_as_pytorch_s_does(average, monkeypatch):
    sides = list(update_time.compare("mobilenet_v3_small", average=average, turns=1))
    assert sides == ["ours", "chain", "PyTorch", "PyTorch fused"]
    plain = update_time.theirs
    monkeypatch.setattr(update_time, "theirs", lambda *given, **options: plain(*given, **options | {"eps": 1e-2}))
    with pytest.raises(Disagreement, match="mobilenet_v3_small, PyTorch: "):
        update_time.compare("mobilenet_v3_small", average=average, turns=1)


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("kind", operation_time.KINDS)
def test_operations_equal_pytorch_and_their_reference(kind):
    operation = next(iter(operation_time.operations()[kind].values()))
    small = operation._replace(shapes=tuple((2, *shape[1:]) if len(shape) > 2 else shape for shape in operation.shapes))
    for backward in (False, True):
        assert len(operation_time.compare(small, backward=backward, turns=1)) == 2 + (operation.reference is not None)


@pytest.mark.slow
def test_drivers_on_some_devices_make_the_same_step():
    found = scaling.compare("lenet5", drivers=("jit", "pmap"), devices=(1, 2), size=32, batch=4, turns=1)
    assert list(found) == ["jit, 1", "jit, 2", "pmap, 1", "pmap, 2"]


def test_memory_is_what_a_program_needs_beside_its_arguments():
    given = np.ones(2**18, np.float32)
    assert side_by_side.needed(jax.jit(lambda x: x + 1), given) == 1.0
    assert side_by_side.needed(jax.jit(lambda x: x + 1, donate_argnums=0), given) == 0.0
    found = side_by_side.paces({"a": Side(lambda: None, dict, lambda: 7.0)}, lambda: None, turns=1)
    assert found["a"].mebibytes == 7.0


def test_an_accelerator_is_asked_for_one_program_s_memory(monkeypatch):
    program, given = jax.jit(lambda x: x + 1), jax.numpy.ones(2**18)
    assert side_by_side.memory_of(program, given) is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    memory = side_by_side.memory_of(program, given)
    given.delete()
    assert memory() == 1.0


@needs_torch
def test_pytorch_computes_where_it_is_told(monkeypatch):
    import torch

    where, seen = torch.device("meta"), []
    monkeypatch.setattr(reference, "device", lambda: where)

    def watched(*tensors):
        seen.extend(tensor.device for tensor in tensors)
        return tensors[0].sum()

    functions.theirs(watched, [np.ones(3, np.float32)] * 2, (0,), np.ones((), np.float32)).run()
    layer = kernel_time.LAYERS["few"]["LeNet-5 second"]
    monkeypatch.setattr(torch, "conv2d", lambda image, kernel, *_: watched(image, kernel))
    kernel_time.theirs(layer, kernel_time.arrays(layer), "forward", pooling=False).run()
    assert seen == [where] * 4


@pytest.mark.slow
def test_a_full_cache_compiles_faster():
    empty, full = compile_time.compare("resnet20", batch=2, size=32, times=1, alone=True)
    assert empty["PyTorch_seconds"] == full["ratio_over_PyTorch"] == ""
    assert (empty["cache"], full["cache"]) == ("empty", "full")
    assert float(full["compile_seconds"]) < float(empty["compile_seconds"])


TINY = {
    "simclr": ssl_step_time.Setting(4, 32),
    "mae": ssl_step_time.Setting(2, 32),
    "dino": ssl_step_time.Setting(2, 64, crops=1, prototypes=64),
}


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("method", TINY)
def test_methods_and_their_plain_writing_learn_the_same(method):
    found, worst = ssl_step_time.compare(method, TINY[method], turns=1)
    assert list(found) == ["jaxvision", "PyTorch"] and worst < 1e-3


@pytest.mark.slow
@needs_torch
def test_a_method_that_is_not_the_plain_one_is_refused(monkeypatch):
    simclr = jv.objectives.simclr
    monkeypatch.setattr(jv.objectives, "simclr", lambda encoder: simclr(encoder, temperature=0.4))
    with pytest.raises(Disagreement, match="simclr, loss"):
        ssl_step_time.compare("simclr", TINY["simclr"], turns=1)


@pytest.mark.slow
@needs_torch
def test_the_speed_run_and_its_plain_writing_make_the_same_step(monkeypatch, capsys):
    from benchmarks import plain_speedrun

    experiment = speedrun_cifar10.config(smoke=True)
    options = {name: option.default for name, option in inspect.signature(speedrun_cifar10.config).parameters.items()}
    ours = speedrun.Ours(experiment)
    initial = jax.tree.map(np.array, ours.state.params["model"])
    images = experiment.test.take(np.arange(8))["image"]
    with monkeypatch.context() as sabotage, pytest.raises(Disagreement, match="after one step: stage1/conv"):
        sabotage.setattr(plain_speedrun, "orthogonal", lambda matrix: matrix / matrix.norm())
        speedrun.check(ours, speedrun.Theirs(experiment, initial, options), images)
    ours.begin()
    speedrun.check(ours, speedrun.Theirs(experiment, initial, options), images)
    ours.begin()
    table, quotient = speedrun.run({"jaxvision": ours, "PyTorch": speedrun.Theirs(experiment, initial, options)}, experiment)
    assert [row["epoch"] for row in table] == [1] and quotient.count == 1 and table[-1]["time_PyTorch"] == 1
    assert "epoch 1: jaxvision" in capsys.readouterr().out
