"""Few labels, transfer and robustness: the draws, the stages, and amounts that change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from tests.evaluate.test_knn import clouds

TRAIN, TEST = clouds(400, noise=0.7), clouds(200, noise=0.7, seed=1)
DIGITS = {split: jv.data.subset(jv.data.digits(split), range(count)) for split, count in (("train", 300), ("test", 150))}


@pytest.fixture(scope="module")
def lenet():
    """A LeNet-5 with random convolutions whose head is a linear probe."""
    model = jv.create_model("cifarnet", num_classes=10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    features, labels = jv.evaluate.features(model, variables, DIGITS["train"])
    means = np.stack([features[labels == label].mean(0) for label in range(10)])
    head = {"kernel": jnp.asarray(means.T), "bias": jnp.asarray(-0.5 * np.square(means).sum(1))}  # nearest class mean
    params = variables["params"]
    place = next(name for name in params["head"]) if "kernel" not in params["head"] else None
    return model, {"params": params | {"head": {place: head} if place else head}}


def test_few_labels_draws_by_class_and_returns_mean_and_std():
    rows = jv.evaluate.few_labels(*TRAIN, *TEST, shares=(0.05, 0.5, 3), seeds=4)
    assert [row["share"] for row in rows] == [0.05, 0.5, 3] and rows[2]["labels"] == 12 and rows[0]["seeds"] == 4
    assert rows[0]["top1"] < rows[1]["top1"] and rows[0]["std"] > 0
    source = jv.data.arrays(np.zeros((400, 1, 1), np.uint8), TRAIN[1])
    found = []
    for seed in range(4):
        part = jv.data.few_labels(source, 0.05, seed=seed).indices
        assert len(part) == rows[0]["labels"]
        found.append(jv.evaluate.linear_probe(TRAIN[0][part], TRAIN[1][part], *TEST, regularization=0.1)["top1"])
    assert rows[0]["top1"] == pytest.approx(np.mean(found)) and rows[0]["std"] == pytest.approx(np.std(found, ddof=1))


def test_few_labels_takes_another_probe_and_refuses_zero_seeds():
    near = lambda *pairs: jv.evaluate.knn(*pairs, k=1)  # noqa: E731
    (row,) = jv.evaluate.few_labels(*TRAIN, *TEST, shares=(1.0,), seeds=1, probe=near)
    assert row["top1"] == jv.evaluate.knn(*TRAIN, *TEST, k=1)["top1"] and row["std"] == 0
    with pytest.raises(ValueError, match="seeds"):
        jv.evaluate.few_labels(*TRAIN, *TEST, seeds=0)
    with pytest.raises(ValueError, match="amount"):
        jv.evaluate.few_labels(*TRAIN, *TEST, shares=(1.5,))


def test_the_four_pieces_of_advice_differ():
    assert len({jv.evaluate.advice(near=near, much=much) for near in (True, False) for much in (True, False)}) == 4
    assert "linear" in jv.evaluate.advice(near=True, much=False) and "earlier" in jv.evaluate.advice(near=False, much=False)
    assert "few" in jv.evaluate.advice(near=True, much=True) and "many" in jv.evaluate.advice(near=False, much=True)


def test_stages_of_a_convolutional_network(lenet):
    model, variables = lenet
    found, labels = jv.evaluate.stage_features(model, variables, DIGITS["test"], batch_size=64)
    assert {name: rows.shape for name, rows in found.items()} == {"stride1": (150, 6), "stride2": (150, 16), "pooled": (150, 84)}
    assert list(found)[-1] == "pooled"
    image = jv.evaluate.prepared(np.stack([DIGITS["test"][i]["image"] for i in range(150)]), None)
    features = model.apply(variables, image, method="features")
    np.testing.assert_allclose(found["stride2"], features.maps["stride2"].mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(found["pooled"], features.pooled, atol=1e-5)
    np.testing.assert_array_equal(labels, DIGITS["test"].labels)


@pytest.mark.slow
def test_stages_of_a_transformer_are_its_blocks():
    model = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=16, num_classes=0)
    image = jnp.zeros((1, 32, 32, 3))
    variables = model.init(jax.random.key(0), image, method="features")
    source = jv.data.synthetic(3, image_shape=(32, 32, 3), num_classes=3)
    found, _ = jv.evaluate.stage_features(model, variables, source, batch_size=3)
    assert list(found) == [f"block{index + 1}" for index in range(12)] + ["pooled"]
    assert all(rows.shape == (3, 192) for rows in found.values())


def test_transfer_marks_the_best_stage(lenet):
    rows = jv.evaluate.transfer(*lenet, DIGITS["train"], DIGITS["test"], amounts=(2, 1.0))
    assert [(row["amount"], row["labels"], row["stage"]) for row in rows] == [
        (amount, labels, stage) for amount, labels in ((2, 20), (1.0, 300)) for stage in ("stride1", "stride2", "pooled")
    ]
    for amount in (2, 1.0):
        (best,) = [row for row in rows if row["amount"] == amount and row["best"]]
        assert best["top1"] == max(row["top1"] for row in rows if row["amount"] == amount)
    assert rows[-1]["top1"] > rows[2]["top1"] > 0.2


def test_a_neutral_amount_gives_the_plain_accuracy(lenet):
    model, variables = lenet
    images = np.stack([DIGITS["test"][i]["image"] for i in range(150)])
    plain = float(np.mean(jv.evaluate.predict(model, variables, images).argmax(1) == DIGITS["test"].labels))
    rows = jv.evaluate.robustness(model, variables, DIGITS["test"], batch_size=64)
    table = {(row["kind"], row["amount"]): row["top1"] for row in rows}
    assert {kind for kind, _ in table} == {"shift", "rotation", "brightness", "occlusion"} and plain > 0.5
    for place in (("shift", 0), ("rotation", 0), ("brightness", 1.0), ("occlusion", 0)):
        assert table[place] == plain
    for kind, amount in (("shift", 8), ("rotation", 90), ("brightness", 0.25), ("occlusion", 0.25)):
        assert table[kind, amount] < plain - 0.05, kind


class Recorder(nn.Module):
    """A classifier that records the images that it is given, and how often it is traced."""

    def __call__(self, image):
        jax.debug.callback(lambda values: RECORDED.append(np.asarray(values)), image)
        TRACES.append(image.shape)
        return jnp.zeros((len(image), 2))


RECORDED, TRACES = [], []


def test_images_are_changed_as_documented():
    image = np.random.default_rng(0).random((8, 8, 1), np.float32)
    source = jv.data.arrays(image[None], np.array([0]))
    options = {"shifts": (2,), "rotations": (90,), "brightness": (0.5,), "occlusions": (0.25, 1)}
    jv.evaluate.robustness(Recorder(), {}, source, **options)
    jax.effects_barrier()
    shifted, rotated, darker, occluded, gray = (images[0] for images in RECORDED)
    np.testing.assert_array_equal(shifted[:, 2:], image[:, :-2])
    np.testing.assert_array_equal(shifted[:, :2], 0)
    np.testing.assert_allclose(rotated, np.rot90(image), atol=1e-4)
    np.testing.assert_allclose(darker, 0.5 * image, atol=1e-6)
    np.testing.assert_array_equal(occluded[2:6, 2:6], 0.5)
    assert int((occluded != image).sum()) == 16
    np.testing.assert_array_equal(gray, 0.5)
    assert len(TRACES) == 4  # one program for each kind


@pytest.mark.parametrize(
    "change,named",
    [
        ({"occlusions": (1.5,)}, "occlusion"),
        ({"brightness": (-1,)}, "brightness"),
        ({"shifts": (np.inf,)}, "shift"),
    ],
)
def test_impossible_amounts_are_refused(lenet, change, named):
    with pytest.raises(ValueError, match=named):
        jv.evaluate.robustness(*lenet, DIGITS["test"], **change)
