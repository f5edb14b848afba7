"""Methods through the whole loop, with the sources that they name."""

import json

import jax
import numpy as np

import jaxvision as jv
from jaxvision.models.lenet import LeNet5

FLIP = jv.augment.random_horizontal_flip()


def source(count: int = 32):
    return jv.data.synthetic(count, image_shape=(32, 32, 3), num_classes=3)


def deviation(infer, source) -> dict:
    """The standard deviation of the features of a source."""
    return {"deviation": float(np.std(jv.evaluate.collect(infer(source))[0]))}


def test_an_encoder_is_trained_evaluated_and_restored(tmp_path):
    encoder = LeNet5("relu", num_classes=0)
    experiment = jv.train.Experiment(
        encoder,
        jv.objectives.byol(encoder, hidden=16, projection=8, momentum=jv.train.cosine(0.9, 1.0, 4)),
        jv.train.adamw(1e-3, weight_decay=jv.train.cosine(0.04, 0.4, 4)),
        source(),
        test=source(8),
        epochs=2,
        batch_size=16,
        augment=jv.augment.views(FLIP, FLIP),
        evaluate=deviation,
    )
    jv.train.run(experiment, tmp_path, jv.train.RunOptions(log_every=1))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["teacher_distance"] for row in rows if row["split"] == "train"][0] == 0
    assert json.loads((tmp_path / "summary.json").read_text())["deviation"] > 0
    state = jv.train.restore(experiment, tmp_path)
    assert int(state.step) == 4 and set(state.carry.memory) == {"teacher", "stats"}
    assert set(jv.train.variables(state)["params"]) == {"stem", "stage1", "stage2", "stage3"}
    assert encoder.apply(jv.train.variables(state), np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 84)


def test_two_streams_become_pseudo_labels():
    model = LeNet5("relu", num_classes=3)
    objective, optimizer = jv.objectives.pseudo_label(model, threshold=0.0), jv.train.sgd(0.01)
    weak, strong = FLIP, jv.augment.chain(FLIP, jv.augment.cutout(8))
    augment = jv.augment.chain(jv.augment.each(weak), jv.augment.on("unlabelled", jv.augment.views(weak, strong)))
    batch = next(iter(jv.data.batches(jv.data.together(source(), unlabelled=(source(40), 1.5)), 8, steps=1, threads=0)))
    key = jax.random.key(0)
    state = jv.train.init(objective, optimizer, batch, key=key, augment=augment)
    state, metrics = jax.jit(jv.train.make_step(objective, optimizer, augment=augment))(state, batch, key)
    assert batch["unlabelled"]["image"].shape[0] == 12 and float(metrics["confident"]) == 1 and np.isfinite(metrics["pseudo"])
