"""Evaluation in a run: metrics over all devices, several at once, functions of ``infer``, outputs that are any pytree."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from tests.marks import slow


class Dense(nn.Module):
    """A prediction for every pixel, and one for the image."""

    @nn.compact
    def __call__(self, image, *, train=False):
        depth = nn.Conv(1, (1, 1), name="stem")(image)[..., 0]  # [B, H, W]
        return {"depth": depth, "label": nn.Dense(3, name="head")(image.reshape(len(image), -1))}

    def twice(self, image):
        return 2 * self(image)["depth"]


class Scenes:
    """Images with a depth for each pixel; example 3 cannot be read."""

    classes = ["a", "b", "c"]

    def __init__(self, count: int = 21, *, broken: int | None = None):
        draw = np.random.default_rng(0)
        self.images = draw.random((count, 4, 4, 3), np.float32)
        self.depths, self.labels, self.broken = draw.random((count, 4, 4), np.float32), draw.integers(0, 3, count), broken

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        if i == self.broken:
            raise jv.data.BrokenImage(f"{i}.png", "empty")
        return {"image": self.images[i], "depth": self.depths[i], "label": int(self.labels[i])}


def squared_errors(outputs, batch):
    """[B]: the squared error of each image's pixels, 0 for rows that do not count."""
    return jnp.where(batch["valid"], jnp.square(outputs["depth"] - batch["depth"]).sum((1, 2)), 0)


RMSE = jv.evaluate.Metric(
    init=lambda: {"sum": jnp.zeros(()), "pixels": jnp.zeros((), jnp.int32)},
    update=lambda state, outputs, batch: {
        "sum": state["sum"] + squared_errors(outputs, batch).sum(),
        "pixels": state["pixels"] + 16 * batch["valid"].sum(),
    },
    compute=lambda state: {"rmse": (state["sum"] / state["pixels"]) ** 0.5},
)
CLASSES = jv.evaluate.classification._replace(
    update=lambda state, outputs, batch: jv.evaluate.classification.update(state, outputs["label"], batch)
)


def objective_of(model) -> jv.Objective:
    def init(key, batch, given={}):
        return {"model": model.init(key, batch["image"])["params"]}, jv.Carry({}, {})

    def loss(params, carry, batch, *, key, step):
        outputs = model.apply({"params": params["model"]}, batch["image"])
        return jnp.square(outputs["depth"] - batch["depth"]).mean(), jv.Aux(carry, {})

    return jv.Objective(init, loss, lambda params, carry, step: carry)


def experiment_of(test, evaluate, **options) -> jv.train.Experiment:
    model = Dense()
    sizes = {"epochs": 1, "batch_size": 16, "test": test, "evaluate": evaluate} | options
    return jv.train.Experiment(model, objective_of(model), jv.train.sgd(0.1), Scenes(32), **sizes)


def expected(state, source) -> tuple[float, np.ndarray]:
    """(RMSE of the depth, logits of the labels) of the readable examples."""
    rows = [index for index in range(len(source)) if index != source.broken]
    outputs = jax.device_get(Dense().apply(jv.train.variables(state), source.images[rows]))
    return float(np.sqrt(np.square(outputs["depth"] - source.depths[rows]).mean())), outputs["label"]


@pytest.mark.parametrize("broken", [None, 3])
def test_metrics_are_summed_over_batches_and_devices(tmp_path, broken, capsys):
    """21 examples on 8 devices in batches of 16: the last batch is padded; a broken example does not count."""
    source = Scenes(broken=broken)
    experiment = experiment_of(source, {"depth": RMSE, "kind": CLASSES})
    state = jv.train.run(experiment, tmp_path, jv.train.RunOptions(broken_share=0.1))
    summary, (rmse, logits) = json.loads((tmp_path / "summary.json").read_text()), expected(state, source)
    assert summary["depth"] == pytest.approx(rmse, rel=1e-5)
    labels = np.delete(source.labels, [] if broken is None else broken)
    scores = jv.evaluate.scores(logits, labels)
    assert summary["kind/loss"] == pytest.approx(scores["loss"], rel=1e-5) and summary["kind/top1"] == scores["top1"]
    assert "depth: " in capsys.readouterr().out


def test_infer_yields_outputs_of_any_form_without_padding(tmp_path):
    source, seen = Scenes(broken=3), []

    def evaluate(infer, source):
        for outputs, batch in infer(source):
            assert len(outputs["depth"]) == len(batch["depth"]) == len(batch["index"]) and batch["valid"].all()
            assert isinstance(outputs["label"], np.ndarray) and isinstance(batch["image"], np.ndarray)
            seen.extend(batch["index"].tolist())
        for twice, batch in infer(source, "twice"):
            np.testing.assert_allclose(twice.shape, batch["depth"].shape)
        errors = [np.square(outputs["depth"] - batch["depth"]).mean((1, 2)) for outputs, batch in infer(source)]
        return {"rmse": np.sqrt(np.concatenate(errors).mean())}

    state = jv.train.run(experiment_of(source, evaluate), tmp_path, jv.train.RunOptions(broken_share=0.1))
    assert seen == [index for index in range(21) if index != 3]
    assert json.loads((tmp_path / "summary.json").read_text())["rmse"] == pytest.approx(expected(state, source)[0], rel=1e-5)


def test_a_metric_selects_the_best_epoch_in_its_direction(tmp_path):
    validation = Scenes()
    experiment = experiment_of(None, RMSE, validation=validation, epochs=3, best="rmse")
    state = jv.train.run(experiment, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = [row["rmse"] for row in rows if row["split"] == "validation"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(found) == 3 and summary["best_epoch"] == 1 + int(np.argmin(found)) and summary["validation"] == np.float32(min(found))
    assert expected(state, validation)[0] == pytest.approx(min(found), rel=1e-5)


@pytest.mark.parametrize("metrics", [{"epoch": 1.0}, {"rows": np.zeros(3)}, {}])
def test_metrics_that_no_row_can_hold_are_refused(tmp_path, metrics):
    with pytest.raises(ValueError, match="^evaluate: "):
        jv.train.run(experiment_of(Scenes(), lambda infer, source: metrics), tmp_path)


@pytest.mark.parametrize("driver", [slow("shard_map"), "pmap"])
def test_metrics_are_the_same_under_every_driver(tmp_path, driver):
    experiment, found = experiment_of(Scenes(), RMSE), []
    for name in ("jit", driver):
        jv.train.run(dataclasses.replace(experiment), tmp_path / name, jv.train.RunOptions(driver=name))
        found.append(json.loads((tmp_path / name / "summary.json").read_text())["rmse"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
