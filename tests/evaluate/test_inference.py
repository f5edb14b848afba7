"""Running a model: padding is removed, every example counts once, recipes and test-time augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3)).astype(np.uint8)
LABELS = np.arange(10) % 7
SOURCE = jv.data.arrays(IMAGES, LABELS)


class Linear(nn.Module):
    """Flattened pixels as features, a dense layer on them."""

    num_classes: int = 7

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="head")(image.reshape(len(image), -1)).astype(jnp.bfloat16)  # [B, H * W * C]

    def features(self, image, *, train=False):
        return jv.typing.Features(image.reshape(len(image), -1).astype(jnp.bfloat16), None, {})  # [B, H * W * C]


MODEL = Linear()
VARIABLES = MODEL.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


def expected(images: np.ndarray) -> np.ndarray:
    """Probabilities in numpy, of logits rounded to bfloat16 as the model's are."""
    head = VARIABLES["params"]["head"]
    logits = images.reshape(len(images), -1) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    powers = np.exp(np.asarray(jnp.asarray(logits, jnp.bfloat16), np.float64))
    return powers / powers.sum(1, keepdims=True)


def flip(image):
    return image[:, ::-1]


def same(image):
    return image


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 64])
def test_predict_gives_a_row_an_image_whatever_the_batch_size(batch_size):
    found = jv.evaluate.predict(MODEL, VARIABLES, IMAGES, batch_size=batch_size)
    assert found.dtype == np.float32 and found.shape == (10, 7)
    np.testing.assert_allclose(found, expected(IMAGES / 255), atol=4e-3)  # a bfloat16 logit may round the other way
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_predict_takes_bytes_and_floats():
    floats = jv.evaluate.predict(MODEL, VARIABLES, IMAGES / 255)
    np.testing.assert_allclose(floats, jv.evaluate.predict(MODEL, VARIABLES, IMAGES), atol=4e-3)


def test_test_time_augmentation_is_the_mean_of_the_probabilities():
    plain = jv.evaluate.predict(MODEL, VARIABLES, IMAGES)
    flipped = jv.evaluate.predict(MODEL, VARIABLES, IMAGES[:, :, ::-1])
    both = jv.evaluate.predict(MODEL, VARIABLES, IMAGES, transforms=[same, flip])
    assert np.abs(plain - flipped).max() > 0.01
    np.testing.assert_allclose(both, (plain + flipped) / 2, atol=1e-6)
    np.testing.assert_allclose(jv.evaluate.predict(MODEL, VARIABLES, IMAGES, transforms=(same,)), plain, atol=1e-6)


def test_the_recipe_is_applied_to_floats_without_a_key_and_compiled_once():
    seen = []

    def darker(key, image):
        seen.append((key, image.dtype, image.shape))
        return image / 2

    for _ in range(2):
        found = jv.evaluate.predict(MODEL, VARIABLES, IMAGES, recipe=darker, batch_size=4)
    np.testing.assert_allclose(found, expected(IMAGES / 510), atol=4e-3)
    assert seen == [(None, jnp.float32, (4, 4, 3))]


def test_predict_refuses_what_is_no_batch_of_images():
    for images in (IMAGES[0], IMAGES[:0]):
        with pytest.raises(ValueError, match="images: "):
            jv.evaluate.predict(MODEL, VARIABLES, images)


def test_features_of_every_example_in_order():
    pooled, labels = jv.evaluate.features(MODEL, VARIABLES, SOURCE, recipe=lambda key, image: 1 - image, batch_size=4)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, 1 - IMAGES.reshape(10, -1) / 255, atol=4e-3)  # [N, D]
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 32])
def test_outputs_are_those_of_exactly_n_examples(batch_size):
    seen = []

    def forward(batch):
        seen.append(batch)
        return batch["image"].astype(np.float32).sum((1, 2)), batch["valid"]

    found, labels = jv.evaluate.outputs(forward, SOURCE, batch_size=batch_size)
    np.testing.assert_array_equal(found, IMAGES.astype(np.float32).sum((1, 2)))
    np.testing.assert_array_equal(labels, LABELS)
    assert {len(batch["image"]) for batch in seen} == {batch_size} and sum(int(batch["valid"].sum()) for batch in seen) == 10


def test_each_of_two_processes_reads_its_rows():
    halves = [[], []]
    for process, rows in enumerate([(0, 2), (2, 4)]):

        def forward(batch):
            halves[process].append(batch["index"])
            return np.zeros((4, 1)), np.arange(4 * (len(halves[process]) - 1), 4 * len(halves[process])) < 10

        jv.evaluate.outputs(forward, SOURCE, batch_size=4, rows=rows)
    joined = np.concatenate([np.concatenate(pair) for pair in zip(*halves, strict=True)])
    np.testing.assert_array_equal(joined[:10], np.arange(10))


def test_multilabel_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(3)
    logits, labels = draw.standard_normal((40, 5)).astype(np.float32), draw.integers(0, 2, (40, 5))
    batches = [(logits[part], {"label": labels[part]}) for part in (slice(0, 30), slice(30, 40))]
    found = jv.evaluate.multilabel(lambda source: batches, None)
    assert list(found) == ["loss", "map"]
    assert found["map"] == pytest.approx(metrics.average_precision_score(labels, logits, average="macro"), rel=1e-5)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found["loss"] == pytest.approx(-np.log(np.where(labels == 1, probabilities, 1 - probabilities)).mean(), rel=1e-5)
