"""The loop: what a run writes, selects, refuses and says."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.train.journal import Journal
from jaxvision.train.sharding import check_batch_size


class Linear(nn.Module):
    """The least classifier there is."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="head")(image.reshape(len(image), -1))


def experiment_of(count: int = 96, **changes) -> jv.train.Experiment:
    """A run of a second: a linear classifier on bright and dark synthetic images."""
    source = jv.data.synthetic(count, image_shape=(8, 8, 1), num_classes=3)
    model = Linear()
    options = {
        "epochs": 3,
        "batch_size": 16,
        "test": jv.data.synthetic(40, image_shape=(8, 8, 1), num_classes=3, seed=1),
        "log_every": 2,
    } | changes
    optimizer = options.pop("optimizer", jv.train.sgd(0.01))
    return jv.train.Experiment(model, jv.objectives.supervised(model), optimizer, source, **options)


def rows_of(folder, split):
    return [row for row in Journal.rows(folder) if row["split"] == split]


def test_a_run_leaves_everything_in_its_folder(tmp_path, capsys):
    experiment = experiment_of()
    state = jv.train.run(experiment, tmp_path)
    said = capsys.readouterr().out
    assert int(state.step) == experiment.steps == 18
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "plots", "summary.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"curves.png", "confusion.png", "predictions.png"}
    train = rows_of(tmp_path, "train")
    assert [row["step"] for row in train] == list(range(2, 19, 2)) and list(train[0])[:3] == ["step", "epoch", "split"]
    assert all(row["learning_rate"] == np.float32(0.01) and row["gradient_norm"] > 0 for row in train)
    assert [(row["step"], row["epoch"]) for row in rows_of(tmp_path, "train_epoch")] == [(6, 1), (12, 2), (18, 3)]
    summary = json.loads((tmp_path / "summary.json").read_text())
    probabilities = jv.evaluate.predict(experiment.model, jv.train.variables(state), [experiment.test[i]["image"] for i in range(40)])
    assert summary["top1"] == np.mean(probabilities.argmax(1) == experiment.test.labels) == rows_of(tmp_path, "test")[-1]["top1"]
    for words in (
        "Train epoch 3: loss: ",
        "Eval epoch 3: loss: ",
        "top-1 accuracy: ",
        f"run folder: {tmp_path}",
        "effective batch 16",
        "0.01",
    ):
        assert words in said


def test_epoch_rows_are_means_over_the_epochs_steps(tmp_path):
    jv.train.run(experiment_of(log_every=1), tmp_path)
    steps = rows_of(tmp_path, "train")
    for number, row in enumerate(rows_of(tmp_path, "train_epoch")):
        part = steps[6 * number : 6 * number + 6]
        np.testing.assert_allclose(row["loss"], np.mean([step["loss"] for step in part]), rtol=1e-6)
        np.testing.assert_allclose(row["top1"], np.mean([step["top1"] for step in part]), rtol=1e-6)


def scripted(figures):
    """An evaluation that returns prepared losses, one a call."""
    remaining = iter(figures)
    return lambda infer, source: {"loss": next(remaining)}


@pytest.mark.parametrize("steps_per_call", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_overfitting_is_seen_on_validation_and_the_best_epoch_is_taken(tmp_path, capsys, steps_per_call):
    """The lecture's case: training loss falls throughout, validation loss falls, then rises."""
    validation = jv.data.synthetic(16, image_shape=(8, 8, 1), num_classes=3, seed=2)
    losses = [0.9, 0.5, 0.4, 0.6, 0.7, 0.8]
    options = {"best": "loss", "patience": 2, "keep": 1, "save_every": 8, "steps_per_call": steps_per_call}
    experiment = experiment_of(epochs=6, validation=validation, evaluate=scripted([*losses[:5], 0.45]), **options)
    state = jv.train.run(experiment, tmp_path)
    assert int(state.step) == 18, "the third epoch's weights"
    assert [row["loss"] for row in rows_of(tmp_path, "validation")] == losses[:5], "stopped two epochs after the best"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["best_epoch"], summary["best_step"], summary["steps"], summary["loss"]) == (3, 18, 30, 0.45)
    assert len(rows_of(tmp_path, "test")) == 1, "test data are judged once, at the end"
    assert "best epoch 3 on validation" in capsys.readouterr().out


def test_a_run_is_judged_as_often_as_asked_and_at_its_end(tmp_path):
    jv.train.run(experiment_of(epochs=5, evaluate_every=2, evaluate=scripted([0.3, 0.2, 0.1, 0.1])), tmp_path)
    assert [(row["epoch"], row["loss"]) for row in rows_of(tmp_path, "test")] == [(2, 0.3), (4, 0.2), (5, 0.1)]
    assert [row["epoch"] for row in rows_of(tmp_path, "train_epoch")] == [1, 2, 3, 4, 5]
    assert json.loads((tmp_path / "summary.json").read_text())["loss"] == 0.1


def test_without_validation_nothing_is_selected(tmp_path):
    state = jv.train.run(experiment_of(evaluate=scripted([0.1, 0.2, 0.3, 0.3]), best="loss"), tmp_path)
    assert int(state.step) == 18 and int(state.best.step) == -1


def test_the_same_run_again_is_complete_and_another_is_refused(tmp_path, capsys):
    first = jv.train.run(experiment_of(), tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_text()
    again = jv.train.run(experiment_of(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    assert (tmp_path / "metrics.jsonl").read_text() == rows and "this run is complete" in capsys.readouterr().out
    with pytest.raises(ValueError, match="was started with seed=0, now seed=1"):
        jv.train.run(experiment_of(seed=1), tmp_path)
    jv.train.run(experiment_of(driver="pmap"), tmp_path)  # the same numbers: no other run
    config = json.loads((tmp_path / "config.json").read_text())
    del config["settings"]["evaluate_every"]  # of a version that did not have the option
    (tmp_path / "config.json").write_text(json.dumps(config))
    jv.train.run(experiment_of(), tmp_path)
    with pytest.raises(ValueError, match="was started with evaluate_every=1, now evaluate_every=2"):
        jv.train.run(experiment_of(evaluate_every=2), tmp_path)


@pytest.mark.parametrize("driver", [pytest.param("shard_map", marks=pytest.mark.slow), "pmap"])
def test_every_driver_trains_the_same_run(tmp_path, driver):
    jv.train.run(experiment_of(), tmp_path / "jit")
    jv.train.run(experiment_of(driver=driver), tmp_path / driver)
    for ours, theirs in zip(rows_of(tmp_path / driver, "train"), rows_of(tmp_path / "jit", "train"), strict=True):
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)


class Poisoned:
    """A source whose second half is not a number."""

    def __init__(self, source):
        self.source, self.classes, self.labels = source, source.classes, source.labels

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        example = self.source[index]
        return example | {"image": example["image"].astype(np.float32) / 255 * (np.nan if self.poisoned else 1)}

    poisoned = True


@pytest.mark.parametrize("steps_per_call", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_updates_that_are_not_finite_stop_the_run_and_name_the_examples(tmp_path, steps_per_call):
    experiment = dataclasses.replace(experiment_of(epochs=4, steps_per_call=steps_per_call), train=Poisoned(experiment_of().train))
    with pytest.raises(jv.train.NotFinite, match="5 updates in a row, steps 1 to 5;.*Training examples: step 1: ") as error:
        jv.train.run(experiment, tmp_path)
    index, _ = jv.data.positions(96, 4 * 16, 16, seed=0)
    assert str(error.value).endswith(f"step 5: {', '.join(map(str, index))}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 12}, "batch_size: 12 does not split evenly over 8 devices; the nearest that does is 16"),
        ({"batch_size": 16, "accumulate": 4}, "16 does not split evenly over 8 devices x 4 micro-batches"),
        ({"epochs": 0}, "epochs: found 0, expected at least 1"),
        ({"patience": 2}, "patience: early stopping judges validation data and there are none"),
        ({"optimizer": jv.train.sgd(0.0)}, "none of the 18 updates of this run would change any parameter"),
        ({"optimizer": jv.train.sgd(lambda count: 0.0 * count)}, "none of the 18 updates"),
        ({"driver": "gpu"}, "driver: found 'gpu'"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        jv.train.run(experiment_of(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_accumulation_longer_than_the_run_is_refused(tmp_path):
    import optax

    with pytest.raises(ValueError, match="none of the 18 updates"):
        jv.train.run(experiment_of(optimizer=optax.MultiSteps(jv.train.sgd(0.1), 19)), tmp_path)


def test_sources_that_cannot_work_are_refused(tmp_path):
    source = experiment_of().train
    for train, words in (
        (jv.data.arrays(np.zeros((8, 8, 8, 1), np.uint8), np.zeros(8, int)), "all 8 labels are 0"),
        (jv.data.arrays(np.zeros((8, 8, 8, 1), np.uint8), np.arange(8)), "labels out of range"),
        (jv.data.subset(source, []), "empty"),
    ):
        with pytest.raises(ValueError, match=words):
            jv.train.run(dataclasses.replace(experiment_of(), train=train), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batch_sizes_that_split():
    check_batch_size(64, 2)
    check_batch_size(3, 1, devices=jax.devices()[:3])


def test_frozen_layers_stay_bit_for_bit(tmp_path):
    model = jv.create_model("lenet5", num_classes=3)
    source = jv.data.synthetic(32, image_shape=(32, 32, 1), num_classes=3)
    optimizer = jv.train.freeze(jv.train.adamw(0.01), train="head")
    experiment = jv.train.Experiment(model, jv.objectives.supervised(model), optimizer, source, epochs=2, batch_size=16)
    before = jv.train.init(experiment.objective, optimizer, next(jv.data.batches(source, 2, steps=1)), key=jax.random.key(0))
    after = jv.train.run(experiment, tmp_path)
    for part, ours in after.params["model"].items():
        same = all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(before.params["model"][part]), strict=True))
        assert same == (part != "head")


def test_a_run_from_python_is_restored_with_its_experiment(tmp_path):
    experiment = experiment_of()
    state = jv.train.run(experiment, tmp_path)
    restored = jv.train.restore(experiment, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, restored.params, state.params)
    with pytest.raises(ValueError, match="not made by an experiment file"):
        jv.train.load(tmp_path)
    with pytest.raises(ValueError, match="not a run folder"):
        jv.train.load(tmp_path / "nowhere")
