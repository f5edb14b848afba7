"""The loop: what a run writes, selects, refuses and prints."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.train import logging
from jaxvision.train.sharding import check_batch_size
from tests.marks import slow
from tests.train.divided import divided
from tests.train.linear import Linear


def experiment_of(count: int = 96, **changes) -> jv.train.Experiment:
    """A run of a second: a linear classifier on bright and dark synthetic images."""
    source = jv.data.synthetic(count, image_shape=(8, 8, 1), num_classes=3)
    model = Linear()
    options = {
        "epochs": 3,
        "batch_size": 16,
        "test": jv.data.synthetic(40, image_shape=(8, 8, 1), num_classes=3, seed=1),
    } | changes
    optimizer = options.pop("optimizer", jv.train.sgd(0.01))
    return jv.train.Experiment(model, jv.objectives.supervised(model), optimizer, source, **options)


def trained(folder, **changes) -> jv.train.TrainState:
    """A run of ``experiment_of``, which logs every second step."""
    fields, options = divided({"log_every": 2} | changes)
    return jv.train.run(experiment_of(**fields), folder, options)


def rows_of(folder, split):
    return [row for row in logging.rows_of(folder) if row["split"] == split]


@pytest.mark.pictures
def test_a_run_leaves_everything_in_its_folder(tmp_path, capsys):
    experiment = experiment_of()
    state = jv.train.run(experiment, tmp_path, jv.train.RunOptions(log_every=2))
    printed = capsys.readouterr().out
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
    for words in ("Train epoch 3: loss: ", "Eval epoch 3: loss: ", "top-1 accuracy: ", str(tmp_path), "effective batch 16", "0.01"):
        assert words in printed


def test_epoch_rows_are_means_over_the_epochs_steps(tmp_path):
    trained(tmp_path, log_every=1)
    steps = rows_of(tmp_path, "train")
    for number, row in enumerate(rows_of(tmp_path, "train_epoch")):
        part = steps[6 * number : 6 * number + 6]
        np.testing.assert_allclose(row["loss"], np.mean([step["loss"] for step in part]), rtol=1e-6)
        np.testing.assert_allclose(row["top1"], np.mean([step["top1"] for step in part]), rtol=1e-6)


def scripted(name, values):
    """An evaluation that returns prepared values of one metric, one a call."""
    remaining = iter(values)
    return lambda infer, source: {name: next(remaining)}


@pytest.mark.parametrize("steps_per_call", [1, slow(4)])
def test_overfitting_is_seen_on_validation_and_the_best_epoch_is_taken(tmp_path, steps_per_call):
    """A case of overfitting: training loss falls throughout, validation loss falls, then rises."""
    validation = jv.data.synthetic(16, image_shape=(8, 8, 1), num_classes=3, seed=2)
    losses = [0.9, 0.5, 0.4, 0.6, 0.7, 0.8]
    options = {"best": "loss", "patience": 2, "keep": 1, "save_every": 8, "steps_per_call": steps_per_call}
    state = trained(tmp_path, epochs=6, validation=validation, evaluate=scripted("loss", [*losses[:5], 0.45]), **options)
    assert int(state.step) == 18, "the third epoch's weights"
    assert [row["loss"] for row in rows_of(tmp_path, "validation")] == losses[:5], "stopped two epochs after the best"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["best_epoch"], summary["best_step"], summary["steps"], summary["loss"]) == (3, 18, 30, 0.45)
    assert len(rows_of(tmp_path, "test")) == 1, "test data are evaluated once, at the end"


@pytest.mark.parametrize(
    ("name", "options", "epoch"),
    [
        ("rmse", {}, 2),
        ("rmse", {"best": "rmse"}, 2),
        ("rmse", {"best": "rmse", "mode": "max"}, 3),
        ("accuracy", {}, 3),
        ("accuracy", {"mode": "min"}, 2),
        ("depth/mae", {}, 2),
    ],
)
def test_a_metric_has_a_direction(tmp_path, capsys, name, options, epoch):
    validation = jv.data.synthetic(16, image_shape=(8, 8, 1), num_classes=3, seed=2)
    trained(tmp_path, validation=validation, test=None, evaluate=scripted(name, [0.5, 0.2, 0.8]), **options)
    assert json.loads((tmp_path / "summary.json").read_text())["best_epoch"] == epoch
    direction = "lower is better" if options.get("mode", "max" if name == "accuracy" else "min") == "min" else "higher is better"
    assert f"{name}, {direction}" in capsys.readouterr().out


def test_a_metric_that_evaluation_does_not_give_cannot_select(tmp_path):
    validation = experiment_of().test
    with pytest.raises(ValueError, match="^best: .*'rmse'.*loss, top1"):
        trained(tmp_path, validation=validation, best="rmse")


def test_a_run_is_evaluated_as_often_as_asked_and_at_its_end(tmp_path):
    """A function is called once an evaluation, and never before training."""
    seen = []

    def evaluate(infer, source):
        seen.append(sum(len(batch["index"]) for _, batch in infer(source)))
        return {"loss": 0.5 - 0.1 * len(seen)}

    trained(tmp_path, epochs=5, evaluate_every=2, evaluate=evaluate)
    assert [(row["epoch"], row["loss"]) for row in rows_of(tmp_path, "test")] == [(2, 0.4), (4, 0.3), (5, 0.5 - 0.1 * 3)]
    assert [row["epoch"] for row in rows_of(tmp_path, "train_epoch")] == [1, 2, 3, 4, 5]
    assert json.loads((tmp_path / "summary.json").read_text())["loss"] == 0.5 - 0.1 * 3
    assert seen == [40, 40, 40]


def test_without_validation_nothing_is_selected(tmp_path):
    state = trained(tmp_path, evaluate=scripted("loss", [0.1, 0.2, 0.3]), best="loss")
    assert int(state.step) == 18 and int(state.best.step) == -1


def test_the_same_run_again_is_complete_and_another_is_refused(tmp_path):
    first = trained(tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_text()
    again = trained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    assert (tmp_path / "metrics.jsonl").read_text() == rows
    with pytest.raises(ValueError, match="seed=0.*seed=1"):
        trained(tmp_path, seed=1)
    trained(tmp_path, driver="pmap")  # the same numbers: no other run
    config = json.loads((tmp_path / "config.json").read_text())
    del config["settings"]["evaluate_every"]  # of a version that did not have the option
    config["settings"] |= {"driver": "pmap", "log_every": 99, "keep": 5}  # of one that had run options among the settings
    (tmp_path / "config.json").write_text(json.dumps(config))
    trained(tmp_path)
    with pytest.raises(ValueError, match="evaluate_every=1.*evaluate_every=2"):
        trained(tmp_path, evaluate_every=2)


@pytest.mark.parametrize("driver", [slow("shard_map"), "pmap"])
def test_every_driver_trains_the_same_run(tmp_path, driver):
    trained(tmp_path / "jit")
    trained(tmp_path / driver, driver=driver)
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


@pytest.mark.parametrize("steps_per_call", [1, slow(4)])
def test_updates_that_are_not_finite_stop_the_run_and_name_the_examples(tmp_path, steps_per_call):
    experiment = dataclasses.replace(experiment_of(epochs=4), train=Poisoned(experiment_of().train))
    with pytest.raises(jv.train.NotFinite, match="steps 1 to 5;.* step 1: ") as error:
        jv.train.run(experiment, tmp_path, jv.train.RunOptions(steps_per_call=steps_per_call))
    index, _ = jv.data.positions(96, 4 * 16, 16, seed=0)
    assert str(error.value).endswith(f"step 5: {', '.join(map(str, index))}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 12}, "^batch_size: .*12.* 16"),
        ({"batch_size": 16, "accumulate": 4}, "^batch_size: 16 .*8.*4"),
        ({"epochs": 0}, "^epochs: found 0"),
        ({"patience": 2}, "^patience: "),
        ({"mode": "lower"}, "^mode: found 'lower'"),
        ({"evaluate": 3}, "^evaluate: found int"),
        ({"evaluate": {"a": max}}, "^evaluate: found 'a'"),
        ({"evaluated": "critic"}, "^evaluated: .*'critic'.*model"),
        ({"optimizer": jv.train.sgd(0.0)}, "^optimizer: none of the 18 updates"),
        ({"optimizer": jv.train.sgd(lambda count: 0.0 * count)}, "^optimizer: none of the 18 updates"),
        ({"optimizer": optax.MultiSteps(jv.train.sgd(0.1), 19)}, "^optimizer: none of the 18 updates"),
        ({"driver": "gpu"}, "^driver: found 'gpu'"),
        ({"driver": "pmap", "fsdp": True}, "^fsdp: "),
        ({"log_every": 0}, "^log_every: found 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        trained(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_an_option_of_the_run_in_an_experiment_is_sent_to_run_options():
    with pytest.raises(TypeError, match=r"^driver, keep: .*RunOptions\(driver=..., keep=...\)"):
        experiment_of(driver="pmap", keep=3)
    with pytest.raises(TypeError, match="^log_every: .*RunOptions"):
        dataclasses.replace(experiment_of(), log_every=3)


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="workdir: .*file"):
            trained(folder)


def test_sources_that_cannot_work_are_refused(tmp_path):
    source = experiment_of().train
    for train, words in (
        (jv.data.arrays(np.zeros((8, 8, 8, 1), np.uint8), np.zeros(8, int)), "^train: "),
        (jv.data.arrays(np.zeros((8, 8, 8, 1), np.uint8), np.arange(8)), "^train: "),
        (jv.data.subset(source, []), "^train: "),
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
    with pytest.raises(ValueError, match="run_folder: "):
        jv.train.load(tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        jv.train.load(tmp_path / "nowhere")


def counted(objective: jv.Objective, calls: list) -> jv.Objective:
    """An objective that counts how often its parameters are computed, not how often they are traced."""

    def init(key, batch, given={}):
        jax.debug.callback(lambda: calls.append(1))
        return objective.init(key, batch, given)

    return objective._replace(init=init)


def test_a_model_is_initialised_once_and_not_at_all_where_a_checkpoint_is_restored(tmp_path):
    calls = []
    experiment = experiment_of()
    experiment = dataclasses.replace(experiment, objective=counted(experiment.objective, calls))
    stopped = dataclasses.replace(experiment, evaluate=lambda infer, source: [][0])
    with pytest.raises(IndexError):
        jv.train.run(stopped, tmp_path, jv.train.RunOptions(save_every=2))
    jax.effects_barrier()
    assert len(calls) == 1
    jv.train.run(experiment, tmp_path)
    jv.train.run(experiment, tmp_path)
    jv.train.restore(experiment, tmp_path)
    jax.effects_barrier()
    assert len(calls) == 1


class Generator(nn.Module):
    """Pixels from noise."""

    @nn.compact
    def __call__(self, noise, *, train=False):
        return nn.Dense(64, name="stem")(noise).reshape(-1, 8, 8, 1)


def adversarial() -> tuple[nn.Module, jv.Objective]:
    """(generator, objective) of two players with one loss each; ``stop_gradient`` separates them."""
    generator, critic = Generator(), Linear(1)

    def init(key, batch, given={}):
        made = generator.init(key, jnp.zeros((1, 4)))["params"]
        return {"generator": made, "critic": critic.init(key, jv.typing.to_float(batch["image"]))["params"]}, jv.Carry({}, {})

    def loss(params, carry, batch, *, key, step):
        noise = jax.vmap(lambda index: jax.random.normal(jax.random.fold_in(key, index), (4,)))(batch["index"])
        made = generator.apply({"params": params["generator"]}, noise)
        score = lambda params, image: critic.apply({"params": params}, image).mean()  # noqa: E731
        still = jax.lax.stop_gradient
        critics = score(params["critic"], still(made)) - score(params["critic"], batch["image"])
        makers = -score(still(params["critic"]), made)
        return critics + makers, jv.Aux(carry, {"critic": critics})

    return generator, jv.Objective(init, loss, lambda params, carry, step: carry)


def test_modules_have_any_names(tmp_path):
    generator, objective = adversarial()
    source = jv.data.synthetic(64, image_shape=(8, 8, 1), num_classes=3)
    experiment = jv.train.Experiment(generator, objective, jv.train.adam(1e-3), source, epochs=2, batch_size=16)
    whole = jv.train.run(experiment, tmp_path / "whole")
    assert set(whole.params) == {"generator", "critic"} and set(jv.train.variables(whole, "critic")["params"]) == {"head"}
    evaluated = dataclasses.replace(experiment, test=source, reads=("label",), evaluate=scripted("fid", [3.0, 2.0]))
    with pytest.raises(ValueError, match="^evaluated: .*critic, generator"):
        jv.train.run(evaluated, tmp_path / "refused")
    named = dataclasses.replace(evaluated, evaluated="generator")
    with pytest.raises(StopIteration):
        jv.train.run(dataclasses.replace(named, evaluate=scripted("fid", [3.0])), tmp_path / "part", jv.train.RunOptions(save_every=2))
    resumed = jv.train.run(dataclasses.replace(named, evaluate=scripted("fid", [2.0])), tmp_path / "part")
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    assert json.loads((tmp_path / "part" / "summary.json").read_text())["fid"] == 2.0
