"""Prefetching: resident images, broken files, further streams, the time that the devices wait."""

import dataclasses
import json
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from experiments import transformer_characters
from jaxvision.train import sharding
from jaxvision.train.logging import rows_of
from jaxvision.train.prefetch import Feed
from tests.marks import slow
from tests.train.divided import divided
from tests.train.linear import Linear

IMAGES = np.stack([jv.data.synthetic(96, image_shape=(8, 8, 1), num_classes=3)[i]["image"] for i in range(96)])
MEMORY = jv.data.arrays(IMAGES, np.arange(96) % 3)


class Files:
    """The same images one by one, some of them broken, some of them slow."""

    classes, labels = MEMORY.classes, MEMORY.labels

    def __init__(self, broken=(), seconds: float = 0.0):
        self.broken, self.seconds = set(broken), seconds

    def __len__(self):
        return 96

    def __getitem__(self, i):
        if i in self.broken:
            raise jv.data.BrokenImage(f"{i}.jpg", "empty")
        time.sleep(self.seconds)
        return MEMORY[i]


def experiment_of(train=MEMORY, **changes) -> jv.train.Experiment:
    model = Linear()
    options = {"epochs": 2, "batch_size": 16, "test": MEMORY} | changes
    return jv.train.Experiment(model, options.pop("objective", jv.objectives.supervised(model)), jv.train.sgd(0.01), train, **options)


def trained(folder, *source, **changes) -> jv.train.TrainState:
    """A run of ``experiment_of``, which logs every step."""
    fields, options = divided({"log_every": 1} | changes)
    return jv.train.run(experiment_of(*source, **fields), folder, options)


def same(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


@pytest.mark.parametrize("driver", ["jit", slow("shard_map"), slow("pmap")])
def test_resident_images_change_no_number(tmp_path, driver):
    options = {"driver": driver, "augment": jv.augment.each(jv.augment.random_crop(8, padding=1))}
    travelling = trained(tmp_path / "travelling", **options)
    resident = trained(tmp_path / "resident", resident=True, **options)
    same(travelling, resident)


@pytest.mark.slow
def test_a_run_resumes_with_resident_images(tmp_path):
    whole = trained(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="enough"):
        trained(tmp_path / "part", save_every=2, evaluate=_stop)
    same(whole, trained(tmp_path / "part", save_every=2, resident=True))


def _stop(infer, source):
    raise RuntimeError("enough")


def alike(one, other) -> None:
    """Up to the last digits: another program is compiled."""
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7), one.params, other.params)


def train_rows(folder) -> list[dict]:
    return [row for row in rows_of(folder) if row["split"] == "train"]


OTHER_CALLS = (("jit", 5, False), ("shard_map", 4, False), ("pmap", 100, False))


@pytest.mark.parametrize("driver, steps, fsdp", [("jit", 4, True), *(slow(*row) for row in OTHER_CALLS)])
def test_several_steps_in_one_call_change_no_number(tmp_path, driver, steps, fsdp, monkeypatch):
    honest, seen = Feed.calls, []
    monkeypatch.setattr(Feed, "calls", lambda feed, start: (seen.append(call[:2]) or call for call in honest(feed, start)))
    monkeypatch.setattr(sharding, "_SMALLEST_SHARDED", 1)
    options = {"driver": driver, "fsdp": fsdp, "augment": jv.augment.each(jv.augment.random_horizontal_flip())}
    single = trained(tmp_path / "single", **options)
    assert seen == [(step, step) for step in range(1, 13)]
    seen.clear()
    several = trained(tmp_path / "several", steps_per_call=steps, resident=steps == 4, **options)
    assert seen == {4: [(1, 4), (5, 6), (7, 10), (11, 12)], 5: [(1, 5), (6, 6), (7, 11), (12, 12)], 100: [(1, 6), (7, 12)]}[steps]
    alike(single, several)
    assert all(run.params["model"]["head"]["kernel"].sharding.is_fully_replicated != fsdp for run in (single, several))
    rates = {row["step"]: row["images_per_second"] for row in train_rows(tmp_path / "several")}
    assert rates[2] == pytest.approx(rates[1], rel=0.5) and rates[4] == pytest.approx(rates[1], rel=0.5)  # of one call
    for one, other in zip(train_rows(tmp_path / "single"), train_rows(tmp_path / "several"), strict=True):
        assert one["step"] == other["step"] and one["epoch"] == other["epoch"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_calls_end_with_epochs_and_the_run():
    experiment, options = experiment_of(batch_size=20), jv.train.RunOptions(steps_per_call=3)  # 96 images: epochs end after steps 5, 10
    assert list(options.calls(experiment, 0)) == [(1, 3), (4, 5), (6, 8), (9, 10)]
    assert list(options.calls(experiment, 6)) == [(7, 9), (10, 10)]
    assert list(options.calls(experiment, 10)) == []
    often = dataclasses.replace(options, save_every=4)  # a save that is being written does not count: there are two in an interval
    assert list(often.calls(experiment, 0)) == [(1, 2), (3, 4), (5, 5), (6, 7), (8, 9), (10, 10)]


def test_a_run_resumes_with_calls_of_another_length(tmp_path, capsys):
    whole = trained(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="enough"):
        trained(tmp_path / "part", steps_per_call=4, save_every=8, evaluate=_stop)  # calls end after steps 4 and 6
    alike(whole, trained(tmp_path / "part", steps_per_call=6, save_every=8))
    assert "4 of 12" in capsys.readouterr().out


def test_only_arrays_in_memory_can_be_resident(tmp_path):
    with pytest.raises(ValueError, match="^resident: "):
        trained(tmp_path, Files(), resident=True)


def test_data_without_images_cannot_be_resident(tmp_path):
    experiment = transformer_characters.config(smoke=True)
    with pytest.raises(ValueError, match="^resident: "):
        jv.train.run(experiment, tmp_path, jv.train.RunOptions(resident=True))


@pytest.mark.pictures
def test_broken_files_are_reported_counted_and_replaced(tmp_path, capsys):
    source = Files(broken={5, 17})
    state = trained(tmp_path, source, test=source, broken_share=0.05)
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"train: .*\b(\d+)\.jpg", printed)) == ["17", "5"]
    assert "2 of 96" in printed
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert sum(summary["broken"]["train"].values()) == 2
    logits = Linear().apply(jv.train.variables(state), jnp.float32(IMAGES) / 255)
    readable = np.setdiff1d(np.arange(96), [5, 17])
    assert summary["top1"] == pytest.approx(np.mean(np.argmax(logits, 1)[readable] == MEMORY.labels[readable]))


def test_a_broken_first_file_does_not_stop_a_run(tmp_path):
    trained(tmp_path, Files(broken={0}), broken_share=0.02)


def test_too_many_broken_files_stop_the_run(tmp_path):
    with pytest.raises(jv.data.TooManyBroken, match="^train: 1 of 96"):
        trained(tmp_path, Files(broken={17}), test=None)
    with pytest.raises(ValueError, match="^broken_share"):
        trained(tmp_path / "other", broken_share=2)


@pytest.mark.slow
def test_rows_hold_the_time_that_the_devices_waited(tmp_path):
    trained(tmp_path, Files(seconds=0.01), threads=1)  # 16 images of 10 ms for a step of well under 1 ms
    rows = [row for row in rows_of(tmp_path) if row["split"] == "train_epoch"]
    assert all(0 < row["input_wait_seconds"] <= row["training_seconds"] for row in rows)
    assert rows[1]["input_wait_seconds"] > 0.5  # six steps of 0.16 s, less what is read while the epoch is evaluated
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["input_wait_seconds"] == pytest.approx(sum(row["input_wait_seconds"] for row in rows))


@pytest.mark.slow
def test_a_slow_step_does_not_count_as_waiting(tmp_path):
    def long_loss(params, carry, batch, *, key, step):
        loss, aux = jv.objectives.supervised(Linear()).loss(params, carry, batch, key=key, step=step)
        work = jax.lax.fori_loop(0, 20, lambda _, square: jnp.tanh(square @ square), jnp.ones((300, 300)) * loss)
        return loss + 0 * jax.lax.stop_gradient(work).sum(), aux

    objective = jv.objectives.supervised(Linear())._replace(loss=long_loss)
    trained(tmp_path, Files(seconds=0.0005), objective=objective, test=None)
    second = [row for row in rows_of(tmp_path) if row["split"] == "train_epoch"][1]
    assert second["input_wait_seconds"] < 0.2 * second["training_seconds"]


@pytest.mark.parametrize("driver", [slow("jit"), "shard_map", slow("pmap")])
def test_a_further_stream_reaches_the_objective(tmp_path, driver):
    def both(params, carry, batch, *, key, step):
        loss, aux = jv.objectives.supervised(Linear()).loss(params, carry, batch, key=key, step=step)
        unlabelled = batch["unlabelled"]
        assert unlabelled["image"].shape[0] == 2 * batch["image"].shape[0]
        bright = jnp.mean(jnp.asarray(unlabelled["image"], jnp.float32)) / 255
        return loss, aux._replace(metrics=aux.metrics | {"bright": bright})

    objective = jv.objectives.supervised(Linear())._replace(loss=both)
    source = jv.data.together(MEMORY, unlabelled=(Files(), 2))
    trained(tmp_path, source, objective=objective, driver=driver, epochs=1)
    rows = [row for row in rows_of(tmp_path) if row["split"] == "train"]
    expected = [batch["unlabelled"]["image"].mean() / 255 for batch in jv.data.batches(source, 16, steps=6)]
    np.testing.assert_allclose([row["bright"] for row in rows], expected, rtol=1e-5)


def test_broken_files_of_a_further_stream_count_by_the_same_share(tmp_path, capsys):
    source = jv.data.together(MEMORY, unlabelled=(Files(broken={5, 17}), 2))
    trained(tmp_path / "few", source, broken_share=0.05, epochs=1)
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"train\.unlabelled: .*\b(\d+)\.jpg", printed)) == ["17", "5"]
    assert json.loads((tmp_path / "few" / "summary.json").read_text())["broken"] == {"train.unlabelled": {"empty": 2}}
    with pytest.raises(jv.data.TooManyBroken, match=r"^train\.unlabelled: \d of 96"):
        trained(tmp_path / "many", source, epochs=1)
