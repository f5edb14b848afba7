"""The collapse guard on synthetic metrics, on toy runs that collapse, on healthy runs, and in the training loop."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from benchmarks import collapse_table
from tests.marks import split

LN_K, CHANCE = float(np.log(64)), float(np.log(63))
SHARED = {"gradient_norm": 1.0, "learning_rate": 0.1}
HEALTHY = {
    "dino": {"loss": 3.2, "uniform_loss": LN_K, "teacher_entropy": 2.5, "teacher_distance": 0.05, "rank": 8.0},
    "simclr": {"loss": 3.0, "chance_loss": CHANCE, "rank": 8.0},
    "byol": {"loss": 1.0, "teacher_distance": 0.01, "rank": 8.0},
}


def reported(rows) -> list[tuple[int, str, str]]:
    """(step, term, name) of all findings of the guard in a run."""
    watch, found = jv.evaluate.guard_init(), []
    for step, row in enumerate(rows, 1):
        watch, findings = jv.evaluate.guard(watch, row, step)
        found += [(finding.step, finding.term, finding.name) for finding in findings]
    return found


def of(method: str, **changes) -> dict[str, float]:
    return SHARED | HEALTHY[method] | changes


@pytest.mark.parametrize("method", HEALTHY)
def test_healthy_and_unrelated_metrics_are_not_reported(method):
    assert reported([of(method)] * 200) == []
    assert reported([{"loss": 2.3, "top1": 0.1}] * 200) == reported([{}] * 200) == []


@pytest.mark.parametrize(
    "row,step,name",
    [
        (of("dino", loss=LN_K, teacher_entropy=LN_K - 1e-4), 20, "uniform output"),
        (of("dino", loss=LN_K * 1.05, teacher_entropy=LN_K), 20, "uniform output"),
        (of("dino", loss=0.01, teacher_entropy=0.001), 25, "one dimension dominates"),
        (of("simclr", loss=CHANCE), 40, "contrastive chance"),
        (of("simclr", loss=CHANCE - 0.01), 40, "contrastive chance"),
        (of("simclr", loss=CHANCE, rank=0.0), 30, "dead features"),
        (of("dino", loss=LN_K, teacher_entropy=LN_K, rank=1.0), 30, "dead features"),
        (of("byol", rank=1.01), 30, "dead features"),
        (of("byol", teacher_distance=0.0), 10, "student and teacher identical"),
        (of("dino", teacher_distance=0.0, loss=0.01, teacher_entropy=0.0), 10, "student and teacher identical"),
    ],
)
def test_each_collapse_is_reported_first_and_once(row, step, name):
    found = reported([row] * 300)
    assert found[0] == (step, "", name)
    assert len({symptom for _, _, symptom in found}) == len(found)
    after = reported([HEALTHY | SHARED | {"loss": 3.0}] * 100 + [row] * 60)
    assert after[0] == (100 + step, "", name)


@pytest.mark.parametrize(
    "row",
    [
        of("dino", loss=LN_K, teacher_entropy=0.95 * LN_K),  # the start of DINO: the loss at ln K, the teacher sharpened
        of("dino", loss=LN_K, teacher_entropy=LN_K * (1 - 5e-4)),  # as at a temperature of 0.04
        of("dino", loss=0.3, teacher_entropy=0.01),  # a certain teacher that selects different prototypes for different images
        of("simclr", loss=0.98 * CHANCE),
        of("byol", rank=1.2),
    ],
)
def test_healthy_metrics_that_resemble_a_collapse_are_not_reported(row):
    assert reported([row] * 300) == []


def test_an_interruption_restarts_the_count():
    bad, good = of("simclr", loss=CHANCE), of("simclr")
    assert reported(([bad] * 39 + [good]) * 5) == []
    assert reported([of("simclr", loss=float("nan"))] * 100) == []


def test_warm_up_counts_as_a_tenth_and_a_learning_rate_of_zero_not_at_all():
    rising = [of("simclr", loss=CHANCE, learning_rate=1e-3 * step) for step in range(300)]
    assert reported(rising) == [] and reported(rising + [of("simclr", loss=CHANCE)] * 50)[0][0] > 300
    assert reported([of("dino", teacher_distance=0.0, learning_rate=0.0)] * 50) == []
    assert reported([of("dino", teacher_distance=0.0)] * 2 + [of("dino")] * 50) == []
    hidden = {name: value for name, value in of("dino", teacher_distance=0.0).items() if name != "learning_rate"}
    assert reported([hidden] * 50) == [(10, "", "student and teacher identical")]


def test_terms_of_a_combined_objective_are_watched_by_name():
    row = SHARED | {"loss": 9.0} | {f"contrast/{name}": value for name, value in HEALTHY["simclr"].items()}
    row |= {f"distil/{name}": value for name, value in (HEALTHY["dino"] | {"teacher_distance": 0.0}).items()} | {"contrast/loss": CHANCE}
    assert reported([row] * 60) == [(10, "distil", "student and teacher identical"), (40, "contrast", "contrastive chance")]


def test_the_state_is_immutable():
    start = jv.evaluate.guard_init()
    once, _ = jv.evaluate.guard(start, of("simclr", loss=CHANCE), 1)
    again, _ = jv.evaluate.guard(start, of("simclr", loss=CHANCE), 1)
    assert start == jv.evaluate.guard_init() and once == again != start


PROVOKED = [name for name, case in collapse_table.CASES.items() if case.expected]
FEW = ("identical",)


@pytest.mark.parametrize("name", split(PROVOKED, FEW))
def test_a_provoked_collapse_is_named_within_fifty_steps(name):
    findings, _ = collapse_table.watched(collapse_table.CASES[name], 50)
    assert findings and findings[0].name == collapse_table.CASES[name].expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "dino_slow"])
def test_the_first_steps_are_not_reported(name):
    findings, _ = collapse_table.watched(collapse_table.CASES[name], 100)
    assert not findings


class Linear(nn.Module):
    """A minimal encoder."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(4, name="stem")(image.reshape(len(image), -1))  # [B, 4]


def scripted(model) -> jv.core.Objective:
    """An objective with the metrics of a contrastive run whose loss does not change."""

    def init(key, batch, given={}):
        return {"model": model.init(key, jv.typing.to_float(batch["image"]))["params"]}, jv.core.Carry({}, {})

    def loss(params, carry, batch, *, key, step):
        value = jnp.mean(jnp.square(model.apply({"params": params["model"]}, batch["image"])))
        metrics = {"loss": jnp.float32(CHANCE), "chance_loss": jnp.float32(CHANCE), "rank": jnp.float32(3)}
        return CHANCE + 1e-6 * value, jv.core.Aux(carry, metrics)

    return jv.core.Objective(init, loss, jv.core.unchanged)


@pytest.mark.parametrize("guard", [True, False])
def test_a_run_reports_a_collapse_once_and_goes_on(tmp_path, capsys, guard):
    source = jv.data.synthetic(64, image_shape=(4, 4, 1), num_classes=3)
    model = Linear()
    options = {"epochs": 15, "batch_size": 16}
    experiment = jv.train.Experiment(model, scripted(model), jv.train.sgd(0.01), source, **options)
    state = jv.train.run(experiment, tmp_path, jv.train.RunOptions(guard=guard))
    output, summary = capsys.readouterr().out, json.loads((tmp_path / "summary.json").read_text())
    assert int(state.step) == 60
    assert output.count("collapse at step 40: contrastive chance") == (1 if guard else 0)
    assert summary.get("collapse") == ([{"step": 40, "term": "", "name": "contrastive chance"}] if guard else None)
