"""The contract of every recipe in experiments/, in smoke mode, found by glob: what is not run here does not count as a recipe."""

import importlib
import re
import sys
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
import jaxvision as jv
from tests.marks import split
from tests.recipes import IMAGENET_FORMS, RECIPES, RUN, TRACED, TRACED_FAST

STILL = {  # leaves that get no gradient on purpose
    "fcmae_convnextv2_atto_cifar10": r"encoder/norm/",  # of what is pooled, which the decoder does not see
    "linear_probe": r"model/(?!head)",
    "mae_vit_b16_imagenet": r"encoder/stem/position",
    "mae_vit_tiny_cifar10": r"encoder/stem/position",
}
OTHERS = (*IMAGENET_FORMS, "compare_objectives", "few_labels")  # whose steps are those of other recipes


class Prepared:
    """A recipe's experiment, its first batch, its state and its step compiled for one device; made once a recipe."""

    def __init__(self, name: str):
        self.name = f"experiments.{name}"
        self.experiment = importlib.import_module(self.name).config(smoke=True)
        self.key = jax.random.key(self.experiment.seed)
        size = min(self.experiment.batch_size, 16)
        self.batch = next(jv.data.batches(self.experiment.train, size, steps=1, threads=0))
        self.pure = jv.train.make_step(
            self.experiment.objective,
            self.experiment.optimizer,
            augment=self.experiment.augment,
            accumulate=self.experiment.accumulate,
            ema=self.experiment.ema,
        )
        self.step = jv.train.compile_step(self.pure, devices=jax.devices()[:1])

    @cached_property
    def initial(self) -> jv.train.TrainState:
        return self.fresh()

    def begin(self) -> jv.train.TrainState:
        """The initial state as training makes it."""
        return jv.train.init(
            self.experiment.objective,
            self.experiment.optimizer,
            self.batch,
            key=self.key,
            augment=self.experiment.augment,
            ema=self.experiment.ema,
        )

    def fresh(self) -> jv.train.TrainState:
        """The initial state on one device, to be donated."""
        return jv.train.place(self.begin(), devices=jax.devices()[:1])


@pytest.fixture(scope="module", params=split([name for name in RECIPES if name not in OTHERS], RUN))
def recipe(request) -> Prepared:
    return Prepared(request.param)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_every_recipe_is_found_and_states_its_results():
    assert {"lenet_digits", "lenet_mnist", "resnet18_cifar10", "resnet50_imagenet", "vit_s16_imagenet"} <= set(RECIPES)
    for name in RECIPES:
        documentation = importlib.import_module(f"experiments.{name}").__doc__
        assert f"python -m experiments.{name}" in documentation
        expected = re.search(r"Expected: (.+)", documentation, re.DOTALL)
        assert expected and len(expected.group(1)) > 40, f"{name}: say what figure to expect on what hardware, or that it was not run"


def test_the_loss_is_finite_and_a_function_of_the_key(recipe):
    state, metrics = recipe.step(recipe.fresh(), recipe.batch, recipe.key)
    assert metrics["loss"].dtype == jnp.float32 and np.isfinite(metrics["loss"])
    again, metrics_again = recipe.step(recipe.fresh(), recipe.batch, recipe.key)
    assert float(metrics["loss"]) == float(metrics_again["loss"])
    shape = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), recipe.initial)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == shape
    for ours, theirs in zip(leaves(state), leaves(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_gradient_reaches_every_leaf_and_the_loss_falls_on_one_batch(recipe):
    """Twenty steps of the recipe's own on one batch, whose augmentation stays the same: it is that of its epoch and index.

    What moves the goal is put back before every step: the step's number, which draws masks and puzzles and tells schedules, a teacher
    and its centre.
    """
    state, losses = recipe.fresh(), []
    first = jax.tree.map(jnp.copy, (state.step, state.carry.memory))
    for number in range(20):
        if number == 3:  # a block that begins as its shortcut gets its first gradients after the first updates
            assert_gradients_everywhere(recipe, state)
        step, memory = jax.tree.map(jnp.copy, first)
        state = state._replace(step=step, carry=state.carry._replace(memory=memory))
        state, metrics = recipe.step(state, recipe.batch, recipe.key)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-3:]) < losses[0]


@pytest.mark.parametrize("name", split((*TRACED, *OTHERS), TRACED_FAST))
def test_a_step_keeps_the_structure_of_the_state(name):
    traced = Prepared(name)
    state = jax.eval_shape(traced.begin)
    after, metrics = jax.eval_shape(traced.pure, state, traced.batch, traced.key)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert metrics["loss"].shape == () and metrics["loss"].dtype == jnp.float32


def assert_gradients_everywhere(recipe: Prepared, state: jv.train.TrainState) -> None:
    """No leaf whose gradient is zero everywhere; weight decay cannot stand in for it."""
    experiment = recipe.experiment
    views = experiment.augment(recipe.key, recipe.batch) if experiment.augment else recipe.batch
    loss = lambda params: experiment.objective.loss(params, state.carry, views, key=recipe.key, step=state.step)[0]  # noqa: E731
    still = STILL.get(recipe.name.rpartition(".")[2], "never")
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(state.params)):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.any(np.asarray(leaf) != 0) != bool(re.match(still, name)), f"no gradient reaches {name}, or one that must not"


def test_eight_devices_are_one(recipe):
    """Loss, statistics and what the optimizer collected of the gradient (an adaptive optimizer's first step turns rounding into signs).

    The bound leaves room for a unit at the very kink of its ReLU, which rounding switches on or off; test_drivers.py has the close one.
    """
    one, metrics_one = recipe.step(recipe.fresh(), recipe.batch, recipe.key)
    step = jv.train.compile_step(recipe.pure, driver="shard_map", devices=jax.devices()[:8])
    eight, metrics_eight = step(jv.train.place(jax.tree.map(jnp.copy, recipe.initial)), recipe.batch, recipe.key)
    np.testing.assert_allclose(metrics_eight["loss"], metrics_one["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics_eight["gradient_norm"], metrics_one["gradient_norm"], rtol=1e-3)
    collected = [leaf.ndim > 0 for leaf in jax.tree.leaves(one.opt_state)]
    trees = ("carry", "opt_state") if any(collected) else ("carry", "params")
    for ours, theirs in zip((leaves(getattr(eight, tree)) for tree in trees), (leaves(getattr(one, tree)) for tree in trees), strict=True):
        largest = max((np.abs(leaf).max() for leaf in theirs), default=0)
        for our, their in zip(ours, theirs, strict=True):
            assert np.abs(our - their).max() <= 1e-2 * largest


def test_save_restore_step_is_an_uninterrupted_step(recipe, tmp_path):
    state, _ = recipe.step(recipe.fresh(), recipe.batch, recipe.key)
    checkpoints = jv.train.Checkpoints(tmp_path)
    checkpoints.save(state, step=1)
    checkpoints.wait()
    restored = checkpoints.restore(1, recipe.initial)
    checkpoints.close()
    after, _ = recipe.step(state, recipe.batch, recipe.key)
    resumed, _ = recipe.step(restored, recipe.batch, recipe.key)
    for ours, theirs in zip(leaves(resumed), leaves(after), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_network_of_a_comparison_has_a_folder_of_its_own(monkeypatch, tmp_path):
    comparison, folders = importlib.import_module("experiments.plain_vs_residual_cifar10"), []

    def main(_, arguments, *, options):
        folders.append(arguments[arguments.index("--workdir") + 1])
        Path(folders[-1]).mkdir(parents=True)
        (Path(folders[-1]) / "summary.json").write_text("{}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jv.train, "main", main)
    for arguments in (["--model", "plain20"], ["--model", "plain56"], [], ["--model=plain20", "--workdir", "own"]):
        monkeypatch.setattr(sys, "argv", ["program", "--smoke", *arguments])
        runs = {name: ["--model", name] for name in comparison.NETWORKS}
        experiments.run_each(comparison.config, runs, "model", lambda workdir, options: folders.append(str(workdir)))
    assert len(set(folders)) == len(folders) == 8 and folders[-1] == "own"
    assert folders[:2] == ["runs/plain_vs_residual_cifar10-plain20-smoke", "runs/plain_vs_residual_cifar10-plain56-smoke"]


@pytest.mark.parametrize("given", [["--seed", "1"], ["--seed=1"]])
def test_the_option_that_differs_between_runs_cannot_be_given_to_all(monkeypatch, given):
    monkeypatch.setattr(jv.train, "main", lambda *_, **options: pytest.fail("a run of another seed than its name says"))
    monkeypatch.setattr(sys, "argv", ["program", *given])
    config = importlib.import_module("experiments.few_labels").config
    with pytest.raises(SystemExit, match="few_labels: .*--seed.*--only"):
        experiments.run_each(config, {"a-0": ["--only", "a", "--seed", "0"]}, "only", lambda *_: None)


def test_a_comparison_whose_runs_is_not_finished_makes_no_table(monkeypatch, tmp_path):
    monkeypatch.setattr(jv.train, "main", lambda *_, **options: None)
    monkeypatch.setattr(sys, "argv", ["program", "--workdir", str(tmp_path)])
    config = importlib.import_module("experiments.few_labels").config
    with pytest.raises(SystemExit, match="few_labels: first, second"):
        experiments.run_each(config, {"first": [], "second": []}, "only", lambda *_: pytest.fail("a table of nothing"))


@pytest.mark.slow
def test_the_speed_run_s_first_layer_whitens_and_stays_and_its_kernels_keep_their_norm():
    speedrun = importlib.import_module("experiments.speedrun_cifar10")
    experiment = speedrun.config(smoke=True)
    shown = jv.evaluate.prepared(experiment.train.take(np.arange(64))["image"], experiment.recipe)
    prepared = Prepared("speedrun_cifar10")
    assert repr(prepared.experiment.model) == repr(experiment.model)  # or a run could not go on in another process
    state = prepared.fresh()
    before = jax.tree.map(np.array, state.params["model"])
    out = jv.kernels.conv2d(shown, before["stem"]["kernel"]).reshape(-1, 24)
    np.testing.assert_allclose(np.cov(out[:, :12], rowvar=False), np.eye(12), atol=0.02)  # the least variances meet the epsilon
    np.testing.assert_allclose(out[:, 12:], -out[:, :12], atol=1e-6)
    updates, _ = experiment.optimizer.update(jax.tree.map(jnp.ones_like, state.params), state.opt_state, state.params)
    after = jax.tree.map(np.add, before, updates["model"])
    np.testing.assert_array_equal(after["stem"]["kernel"], before["stem"]["kernel"])
    np.testing.assert_array_equal(after["stage2"]["norm1"]["scale"], before["stage2"]["norm1"]["scale"])
    assert np.any(after["stem"]["bias"] != 0) and np.any(after["head"]["kernel"] != before["head"]["kernel"])
    for stage, width in zip(("stage1", "stage2", "stage3"), speedrun.WIDTHS, strict=True):
        assert np.linalg.norm(after[stage]["conv2"]["kernel"]) == pytest.approx(width**0.5, rel=1e-4)
